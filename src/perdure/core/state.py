"""The fold of a history: everything about an instance that can be known without running its code.

``InstanceState.fold`` is the only thing that changes it, live and from stored bytes alike; so a rebuilt state equals
the live one, which the replay checker asserts in tests.
"""

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Any, ClassVar

from perdure.core.codec import decode_segment
from perdure.core.events import (
    AnyEvent,
    EntityLockGranted,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    EntityOperationSignaled,
    EntityUnlockSent,
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    HistoryEvent,
    OrchestratorDecided,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TerminationSent,
    TimerCanceled,
    TimerCreated,
    TimerFired,
)
from perdure.core.status import Cause, OrchestrationRuntimeStatus, next_status

Work = TaskScheduled | TimerCreated | SubOrchestrationInstanceCreated | EntityOperationCalled | EntityLockRequested

_ASKED_FOR_BY: dict[type[HistoryEvent], type[HistoryEvent]] = {
    TaskCompleted: TaskScheduled,
    TaskFailed: TaskScheduled,
    TimerFired: TimerCreated,
    TimerCanceled: TimerCreated,
    SubOrchestrationInstanceCompleted: SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed: SubOrchestrationInstanceCreated,
    EntityOperationCompleted: EntityOperationCalled,
    EntityOperationFailed: EntityOperationCalled,
    EntityLockGranted: EntityLockRequested,
}
_END_CAUSES: dict[str, Cause] = {
    OrchestrationRuntimeStatus.Completed: Cause.COMPLETED,
    OrchestrationRuntimeStatus.Failed: Cause.FAILED,
    OrchestrationRuntimeStatus.Terminated: Cause.TERMINATED,
}


class InstanceState:
    """What one generation's history says. ``open_work`` maps task ids to the actions that have no completion yet."""

    __slots__ = (
        "_timers",
        "begun",
        "completed",
        "critical_section",
        "elsewhere",
        "idle",
        "next_task_id",
        "now_us",
        "open_work",
        "pending",
        "started",
        "status",
        "unseen",
    )

    def __init__(self) -> None:
        self.started: ExecutionStarted | None = None
        self.completed: ExecutionCompleted | None = None
        self.status: OrchestrationRuntimeStatus | None = None
        self.begun = False
        """Whether the code has been entered."""
        self.idle = False
        """Whether the turn in progress runs no code, because the app lacks the orchestrator."""
        self.now_us = 0
        self.open_work: dict[int, Work] = {}
        self.next_task_id = 0
        self.pending = 0
        """Open activities."""
        self.critical_section: EntityLockRequested | None = None
        """The entities that this generation has to itself, or waits for."""
        self.unseen = 0
        """Events that are kept for code in another process, which hasn't decided since."""
        self.elsewhere = False
        """Whether code in another process has decided."""
        self._timers: list[tuple[int, int]] = []

    @property
    def undecided(self) -> bool:
        """Whether code in another process may decide now, as far as only the clock could forbid it."""
        return self.unseen > 0 and self.completed is None and not self.suspended

    @property
    def outstanding(self) -> int:
        """Open activities, and one more where a worker has to decide: what has to get going again after a restart."""
        if self.completed is not None:
            return 0
        started = self.started
        # Before a scheduled start, it is the wake-up that sees to that.
        waits = self.undecided and (self.begun or started is None or started.start_at is None)
        return self.pending + 1 if waits else self.pending

    @property
    def suspended(self) -> bool:
        """Whether events are kept from the code."""
        return self.status is OrchestrationRuntimeStatus.Suspended

    @property
    def wake_at(self) -> int | None:
        """When a turn is due although no message came."""
        if self.completed is not None or self.started is None:
            return None
        if self.idle and not self.suspended and not self.unseen:
            return self.now_us  # at once: what arrived meanwhile waits for an app that has the code
        if not self.begun and not self.suspended and self.started.start_at is not None:
            return self.started.start_at
        timers = self._timers
        if not timers:
            return None
        while timers and not self._runs(*timers[0]):
            heappop(timers)  # fired or cancelled
        return timers[0][0] if timers else None

    def due_timers(self, now_us: int) -> list[TimerFired]:
        """The timers whose time has come, earliest first. Does not fold them."""
        timers = self._timers
        due: list[TimerFired] = []
        while timers and timers[0][0] <= now_us:
            fire_at, task_id = heappop(timers)
            if self._runs(fire_at, task_id) and TimerFired(task_id) not in due[-1:]:
                due.append(TimerFired(task_id))
        return due

    def _runs(self, fire_at: int, task_id: int) -> bool:
        """Whether a timer is neither fired nor cancelled; code in another process may have used its id again since."""
        work = self.open_work.get(task_id)
        return work.__class__ is TimerCreated and work.fire_at == fire_at  # type: ignore[union-attr]

    def is_open(self, event: AnyEvent) -> bool:
        """Whether a completion (or cancellation) is for work that is still open and of its kind."""
        work = self.open_work.get(event.task_id)  # type: ignore[union-attr]
        return work is not None and work.__class__ is _ASKED_FOR_BY[event.__class__]

    def waits_for(self, section: EntityLockRequested) -> bool:
        """Whether the lock hasn't been granted. Code in another process may have used its id for something else since."""
        return self.open_work.get(section.task_id) is section

    def fold(self, event: AnyEvent) -> None:
        """Takes one event of the past, or of the turn in progress, into account."""
        # By table: this runs for every event of every turn and replay, and ``match`` would try the classes one by one.
        self._FOLDS[event.__class__](self, event)

    def _turn_began(self, event: OrchestratorStarted) -> None:
        self.now_us = event.at
        self.idle = event.idle
        self.unseen = self.unseen + event.kept if event.idle else event.kept
        if not self.begun:
            self._begin_if_ready()

    def _decided(self, event: OrchestratorDecided) -> None:
        self.idle = False
        self.elsewhere = True
        self.unseen = max(self.unseen - event.seen, 0)
        self.begun = True
        if self.status is OrchestrationRuntimeStatus.Pending:
            self.status = next_status(self.status, Cause.BEGUN)

    def _created(self, event: ExecutionStarted) -> None:
        self.started = event
        self.status = next_status(self.status, Cause.CREATED)
        self._begin_if_ready()

    def _activity_ended(self, event: TaskCompleted | TaskFailed) -> None:
        del self.open_work[event.task_id]
        self.pending -= 1

    def _work_ended(
        self,
        event: SubOrchestrationInstanceCompleted
        | SubOrchestrationInstanceFailed
        | EntityOperationCompleted
        | EntityOperationFailed
        | EntityLockGranted,
    ) -> None:
        del self.open_work[event.task_id]

    def _timer_ended(self, event: TimerFired | TimerCanceled) -> None:
        self.open_work.pop(event.task_id, None)  # code in another process may cancel one before it sees that it has fired

    def _activity_opened(self, event: TaskScheduled) -> None:
        self.open_work[event.task_id] = event
        if event.task_id >= self.next_task_id:  # code in another process may use one again
            self.next_task_id = event.task_id + 1
        self.pending += 1

    def _timer_opened(self, event: TimerCreated) -> None:
        self.open_work[event.task_id] = event
        if event.task_id >= self.next_task_id:  # code in another process may use one again
            self.next_task_id = event.task_id + 1
        heappush(self._timers, (event.fire_at, event.task_id))

    def _child_opened(self, event: SubOrchestrationInstanceCreated | EntityOperationCalled) -> None:
        self.open_work[event.task_id] = event
        if event.task_id >= self.next_task_id:  # code in another process may use one again
            self.next_task_id = event.task_id + 1

    def _lock_opened(self, event: EntityLockRequested) -> None:
        self.open_work[event.task_id] = event
        if event.task_id >= self.next_task_id:  # code in another process may use one again
            self.next_task_id = event.task_id + 1
        self.critical_section = event

    def _unlocked(self, event: EntityUnlockSent) -> None:
        if event.task_id >= self.next_task_id:  # code in another process may use one again
            self.next_task_id = event.task_id + 1
        section = self.critical_section
        if section is not None:
            if self.waits_for(section):
                del self.open_work[section.task_id]  # given up before it was granted
            self.critical_section = None

    def _sent(self, event: EntityOperationSignaled | EventSent | TerminationSent) -> None:
        if event.task_id >= self.next_task_id:  # code in another process may use one again
            self.next_task_id = event.task_id + 1

    def _suspended(self, event: ExecutionSuspended) -> None:
        self.status = next_status(self.status, Cause.SUSPENDED)

    def _resumed(self, event: ExecutionResumed) -> None:
        self.status = next_status(self.status, Cause.RESUMED)
        if self.begun:
            self.status = next_status(self.status, Cause.BEGUN)
        else:
            self._begin_if_ready()

    def _ended(self, event: ExecutionCompleted) -> None:
        self.completed = event
        self.status = next_status(self.status, _END_CAUSES[event.status])

    def _rewound(self, event: ExecutionRewound) -> None:
        self.next_task_id = max(self.next_task_id, event.next_task_id)

    def _nothing(self, event: EventRaised | ExecutionTerminated) -> None:
        """Only the code cares."""

    def _begin_if_ready(self) -> None:
        if self.begun or self.idle or self.started is None or self.status is not OrchestrationRuntimeStatus.Pending:
            return
        if self.started.start_at is None or self.started.start_at <= self.now_us:
            self.begun = True
            self.status = next_status(self.status, Cause.BEGUN)

    _FOLDS: ClassVar[dict[type[HistoryEvent], Callable[[Any, Any], None]]] = {
        OrchestratorStarted: _turn_began,
        OrchestratorDecided: _decided,
        ExecutionStarted: _created,
        TaskScheduled: _activity_opened,
        TaskCompleted: _activity_ended,
        TaskFailed: _activity_ended,
        TimerCreated: _timer_opened,
        TimerFired: _timer_ended,
        TimerCanceled: _timer_ended,
        SubOrchestrationInstanceCreated: _child_opened,
        SubOrchestrationInstanceCompleted: _work_ended,
        SubOrchestrationInstanceFailed: _work_ended,
        EventSent: _sent,
        TerminationSent: _sent,
        EntityOperationSignaled: _sent,
        EntityOperationCalled: _child_opened,
        EntityOperationCompleted: _work_ended,
        EntityOperationFailed: _work_ended,
        EntityLockRequested: _lock_opened,
        EntityLockGranted: _work_ended,
        EntityUnlockSent: _unlocked,
        EventRaised: _nothing,
        ExecutionSuspended: _suspended,
        ExecutionResumed: _resumed,
        ExecutionTerminated: _nothing,
        ExecutionRewound: _rewound,
        ExecutionCompleted: _ended,
    }


def fold_segments(segments: Iterable[bytes]) -> InstanceState:
    """The state that stored segments add up to, without running any code."""
    state = InstanceState()
    for data in segments:
        for event in decode_segment(data):
            state.fold(event)
    return state
