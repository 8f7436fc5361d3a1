"""Critical sections: an orchestration has several entities to itself until it leaves the block."""

from types import TracebackType
from typing import TYPE_CHECKING, Any

from perdure.core.errors import PerdureError
from perdure.core.events import EntityUnlockSent
from perdure.core.tasks import LeafTask, Task

if TYPE_CHECKING:
    from perdure.core.recorder import Recorder


class CriticalSectionError(PerdureError):
    """The orchestrator did something that a critical section forbids. Raised at that call; nothing was sent."""

    code = "PD1108"


class CriticalSection:
    """Entities that belong to one orchestration for a while. Leaving the ``with`` block releases them; so does any end."""

    __slots__ = ("_recorder", "calls", "entities", "granted", "released", "section_id")

    def __init__(self, recorder: "Recorder", section_id: str, entities: tuple[str, ...]) -> None:
        self._recorder = recorder
        self.section_id = section_id
        self.entities = entities
        self.granted = False
        self.released = False
        self.calls: dict[str, Task[Any]] = {}
        """The last call of each entity; another one has to wait for it."""

    def __enter__(self) -> "CriticalSection":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    async def __aenter__(self) -> "CriticalSection":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def release(self) -> None:
        """Gives the entities back. A second time does nothing."""
        if self.released:
            return
        recorder = self._recorder
        # Before the grant the release follows the request from entity to entity, wherever that is.
        unlocks = [(entity, ()) for entity in self.entities] if self.granted else [(self.entities[0], self.entities[1:])]
        for entity, following in unlocks:
            recorder.add(EntityUnlockSent(entity, self.section_id, recorder.next_task_id, following))
            recorder.next_task_id += 1
        self.released = True


class LockTask(LeafTask[CriticalSection]):
    """The wait for a critical section: ``async with`` it, or ``with (yield ...)`` it in a generator."""

    __slots__ = ("section",)

    def __init__(self, task_id: int, section: CriticalSection) -> None:
        super().__init__(task_id, "lock", None)
        self.section = section

    def cancel(self) -> None:
        """Gives up the wait; entities that are locked already are released.

        Raises:
            ValueError: all of them are; leave the critical section instead.
        """
        if self.is_completed:
            raise ValueError("cannot cancel a lock that has been granted: leave its 'with' block, or call release()")
        self.section.release()

    def __enter__(self) -> CriticalSection:
        raise CriticalSectionError(
            "the lock has only been asked for. Wait for it: 'async with context.lock_entities(...)' in an async def, "
            "'with (yield context.lock_entities(...))' in a generator."
        )

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Never reached; it is here because Python looks for it before it enters."""

    async def __aenter__(self) -> CriticalSection:
        return await self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.section.release()
