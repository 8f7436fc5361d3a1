"""What the engine tells the outside about its life, in plain values. ``observability`` implements it."""


class EngineHooks:
    """Base of all hooks: does nothing. Methods are called on the engine's thread (``blocked`` on another)."""

    def instance_ended(self, instance_id: str, name: str, status: str, error: str | None) -> None:
        """An instance reached a terminal status, durably."""

    def orchestrator_missing(self, instance_id: str, name: str) -> None:
        """An instance was hydrated whose function isn't registered; what arrives for it is recorded, nothing is run."""

    def start_refused(self, instance_id: str, name: str, error: str) -> None:
        """A start that nobody waits for (written in a user's transaction, or sent by an entity) was refused: its id is taken."""

    def entity_operation_lost(self, instance_id: str, operation: str, error: str, traceback: str | None) -> None:
        """An operation failed that was signaled to an entity, so that nobody waits for its outcome. What it did is undone."""

    def blocked(self, instance_id: str, name: str, seconds: float, stack: str) -> None:
        """An orchestrator's turn takes so long that it holds everybody up; ``stack`` shows where it stands."""

    def work_unwanted(self, kind: str, name: str, count: int, workers: int) -> None:
        """Work items wait that none of the connected workers takes. ``kind`` is ``orchestrator``, ``activity`` or ``entity``."""

    def recovering(self, error: BaseException, attempt: int) -> None:
        """The store failed; speculative state was dropped and the engine starts again from what is stored."""

    def out_of_touch(self, error: BaseException) -> None:
        """The store of a shared hub doesn't answer. It is asked again and again; other engines may take over meanwhile."""

    def in_touch(self) -> None:
        """It answers again."""

    def stopped(self, error: BaseException) -> None:
        """The engine gave up: it lost its partitions, or found a bug in Perdure."""
