"""What a running activity can ask about itself: which attempt it is, its idempotency key, whether it should stop."""

import asyncio
from _thread import LockType, allocate_lock
from contextlib import suppress
from contextvars import ContextVar

import msgspec

from perdure.engine.activities.errors import ActivityCancelledError, ActivityContextError


class CancellationToken:
    """Tells a running activity, once and for good, that nobody waits for its result any more.

    Safe to cancel from any thread and from a signal handler: no lock guards its state, so an interrupted holder can't block it.
    """

    __slots__ = ("_cancelled", "_gates")

    def __init__(self) -> None:
        self._cancelled = False
        self._gates: list[LockType] = []
        """One held lock per waiting thread; releasing it lets the thread go on."""

    @property
    def is_cancelled(self) -> bool:
        """Whether the activity should stop."""
        return self._cancelled

    def raise_if_cancelled(self) -> None:
        """Returns while the activity may go on.

        Raises:
            ActivityCancelledError: it should stop.
        """
        if self._cancelled:
            raise ActivityCancelledError("the activity was cancelled or ran out of time; let this exception through to end it")

    def wait(self, timeout: float | None = None) -> bool:
        """Blocks until the token is cancelled (``True``) or ``timeout`` seconds have passed (``False``).

        Raises:
            ActivityContextError: called on an event loop, which it would block.
        """
        if _on_event_loop():
            raise ActivityContextError(
                "CancellationToken.wait() would block the event loop; await asyncio.sleep() instead: "
                "an async activity is cancelled at an await"
            )
        gate = allocate_lock()
        gate.acquire()
        self._gates.append(gate)
        # Looking at the flag after having queued up: either this sees it set, or cancel() sees the gate.
        if not self._cancelled:
            gate.acquire(timeout=-1 if timeout is None else max(timeout, 0))
        with suppress(ValueError):
            self._gates.remove(gate)
        return self._cancelled

    def cancel(self) -> None:
        """Sets the token and wakes whoever waits for it. Doing it twice changes nothing."""
        self._cancelled = True
        with suppress(IndexError):
            while True:
                self._gates.pop().release()


class ActivityContext(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The identity of the running activity, and its token."""

    name: str
    instance_id: str
    """The orchestration that called it."""
    task_id: int
    attempt: int
    """1 for the first try; counts up with the retries of a retry policy, not with re-runs after a crash."""
    idempotency_key: str
    """The same for every run of this call, a re-run after a crash included: hand it to services that deduplicate."""
    cancellation: CancellationToken


current: ContextVar[ActivityContext] = ContextVar("perdure_activity")
"""Set by whatever runs an activity, in a context of that activity's own."""


def activity_context() -> ActivityContext:
    """The context of the activity that calls this, from any depth: ``def``, ``async def`` and process activities alike.

    Raises:
        ActivityContextError: no activity is running here.
    """
    try:
        return current.get()
    except LookupError:
        raise ActivityContextError(
            "activity_context() was called outside of an activity; a thread that the activity started itself needs it "
            "handed over (contextvars.copy_context().run)"
        ) from None


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
