"""Effects: what the engine must do because of a turn, once the turn is durable.

They come out of a turn sealed. Only the receipt of the commit that holds the turn opens them, so that dispatching an
activity or answering a caller too early is a type error rather than a review comment (rule 10 of the engine).
"""

from typing import Generic, TypeVar

import msgspec

from perdure.core.answers import Ticket
from perdure.core.errors import EngineInvariantError
from perdure.core.events import TraceContext

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
    version: str | None = None
    tags: dict[str, str] = {}
    trace: TraceContext | None = None
    elsewhere: bool = False
    """Whether the code that wants it is in another process, where the activity may be, too."""


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


class OfferWork(msgspec.Struct, frozen=True, gc=False):
    """Ask a worker for a decision: code in another process is to take in what has arrived.

    Not an effect, and not sealed: deciding does nothing, wherever the code is. What it decides is applied by a turn of its own,
    behind this one, and void if this one fails to become durable.
    """

    instance_id: str
    ticket: Ticket
    count: int
    """How many events (of an entity: operations) wait for the decision."""
    name: str
    version: str | None = None


class WithdrawWork(msgspec.Struct, frozen=True, gc=False):
    """No decision is wanted now; one that a worker is making still counts."""

    instance_id: str


Asked = OfferWork | WithdrawWork

Effect = DispatchActivity | CancelActivities | InstanceEnded | EntityOperationLost
