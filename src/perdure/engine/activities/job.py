"""One activity on its way through the executor."""

from asyncio import Task, TimerHandle
from enum import IntEnum

import msgspec

from perdure.core.effects import DispatchActivity
from perdure.core.failures import FailureDetails, failure_from_exception
from perdure.core.functions import ActivityFunction
from perdure.engine.activities.context import ActivityContext
from perdure.store.errors import StoreUnavailableError


class ActivityOutcome(msgspec.Struct, frozen=True):
    """What an activity came to: a result (JSON text, ``None`` for none) or a failure."""

    work: DispatchActivity
    result: str | None = None
    failure: FailureDetails | None = None


class Settlement(msgspec.Struct, frozen=True):
    """How the commit of a transactional activity ended, if not with a failure of the user's: by default it is durable."""

    refused: bool = False
    """It was undone, since the activity wasn't this engine's to run any more."""
    unknown: StoreUnavailableError | None = None
    """Whether it is durable isn't known, because of this."""


class Phase(IntEnum):
    """How far a job has come. Only the loop thread changes it."""

    QUEUED = 0
    RUNNING = 1
    ENDED = 2
    """Its slot is free. Whatever still comes from it is dropped."""


class Job(msgspec.Struct, eq=False):
    """A dispatched activity: what to run, how far it is, and what came out.

    ``result``, ``failure``, ``started``, ``committing`` and ``settlement`` are written by whoever runs it, before it is handed
    back; the rest belongs to the loop thread.
    """

    work: DispatchActivity
    function: ActivityFunction
    order: int
    """Place in the one queue that the backlogs of all pools form together."""
    context: ActivityContext
    phase: Phase = Phase.QUEUED
    wanted: bool = True
    """Whether anybody waits for the outcome: nobody does once its instance is cancelled."""
    expired: bool = False
    """It was stopped because it ran longer than its timeout."""
    result: str | None = None
    failure: FailureDetails | None = None
    started: float | None = None
    """``time.monotonic()`` when user code began; ``None`` while it hasn't."""
    committing: bool = False
    """Its transaction is being committed: it was claimed for that, and can't be stopped any more."""
    settlement: Settlement | None = None
    """How that ended; there is no other outcome then."""
    task: Task[None] | None = None
    timer: TimerHandle | None = None
    _claim: list[bool] = msgspec.field(default_factory=lambda: [True])

    def claim(self) -> bool:
        """Whether the caller is the first to decide how it ends: whoever runs it by finishing it, or the loop by giving it up."""
        try:
            # Atomic, unlike testing and setting a flag.
            return self._claim.pop()
        except IndexError:
            return False

    def drop_timer(self) -> None:
        """Cancels the timer, if one is set."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def timeout_failure(self) -> FailureDetails:
        """The failure of an activity that ran longer than its timeout."""
        return failure_from_exception(
            TimeoutError(f"activity '{self.function.name}' ran longer than its timeout of {self.function.timeout}")
        )


def describe(job: Job) -> str:
    """Names a job in log messages."""
    return f"activity '{job.function.name}' (instance '{job.work.instance_id}', task {job.work.task_id})"
