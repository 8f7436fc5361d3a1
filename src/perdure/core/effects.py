"""Effects: what the engine must do because of a turn, once the turn is durable.

They come out of a turn sealed. Only the receipt of the commit that holds the turn opens them, so that dispatching an
activity or answering a caller too early is a type error rather than a review comment (rule 10 of the engine).
"""

from typing import Generic, TypeVar

import msgspec

from perdure.core.errors import EngineInvariantError

T = TypeVar("T")


class CommitReceipt:
    """Proof that a commit is durable. Only stores make one, when ``commit`` returns; each serves the seals bound to it."""

    __slots__ = ("commit",)

    def __init__(self, commit: object) -> None:
        self.commit = commit
        """The very ``Commit`` value that is durable now."""


class Sealed(Generic[T]):
    """A value that nobody may look at before its commit is durable."""

    __slots__ = ("_commit", "_value")

    def __init__(self, value: T) -> None:
        self._value = value
        self._commit: object = None

    def bind(self, commit: object) -> None:
        """Ties the seal to the commit value that carries its turn."""
        self._commit = commit

    def open(self, receipt: CommitReceipt) -> T:
        """The value, given the receipt of its own commit.

        Raises:
            EngineInvariantError: the receipt is of another commit, or the seal was never bound to one.
        """
        if self._commit is None or receipt.commit is not self._commit:
            raise EngineInvariantError("an effect was about to be released with the receipt of another commit")
        return self._value


class DispatchActivity(msgspec.Struct, frozen=True, gc=False):
    """Run an activity and send its outcome to ``instance_id``."""

    instance_id: str
    execution_id: str
    generation: int
    task_id: int
    name: str
    input: str | None
    attempt: int
    idempotency_key: str


class CancelActivities(msgspec.Struct, frozen=True, gc=False):
    """Stop the running activities of an instance: nobody will read their outcomes."""

    instance_id: str


class InstanceEnded(msgspec.Struct, frozen=True, gc=False):
    """Wake those who wait for the instance to reach a terminal status."""

    instance_id: str
    name: str
    status: str
    error: str | None
    """Of a failed instance: exception type and message."""


class EntityOperationLost(msgspec.Struct, frozen=True, gc=False):
    """Report that a signaled operation failed: its sender waits for no answer, so nobody else will learn of it."""

    instance_id: str
    operation: str
    error: str
    """Exception type and message."""
    traceback: str | None


Effect = DispatchActivity | CancelActivities | InstanceEnded | EntityOperationLost
