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
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    HistoryEvent,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
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
        "idle",
        "next_task_id",
        "now_us",
        "open_work",
        "pending",
        "started",
        "status",
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
        self._timers: list[tuple[int, int]] = []

    @property
    def suspended(self) -> bool:
        """Whether events are kept from the code."""
        return self.status is OrchestrationRuntimeStatus.Suspended

    @property
    def wake_at(self) -> int | None:
        """When a turn is due although no message came."""
        if self.completed is not None or self.started is None:
            return None
        if self.idle and not self.suspended:
            return self.now_us  # at once: what arrived meanwhile waits for an app that has the code
        if not self.begun and not self.suspended and self.started.start_at is not None:
            return self.started.start_at
        timers = self._timers
        if not timers:
            return None
        while timers and timers[0][1] not in self.open_work:
            heappop(timers)  # fired or cancelled
        return timers[0][0] if timers else None

    def due_timers(self, now_us: int) -> list[TimerFired]:
        """The timers whose time has come, earliest first. Does not fold them."""
        timers = self._timers
        due: list[TimerFired] = []
        while timers and timers[0][0] <= now_us:
            task_id = heappop(timers)[1]
            if task_id in self.open_work:
                due.append(TimerFired(task_id))
        return due

    def is_open(self, event: AnyEvent) -> bool:
        """Whether a completion (or cancellation) is for work that is still open and of its kind."""
        work = self.open_work.get(event.task_id)  # type: ignore[union-attr]
        return work is not None and work.__class__ is _ASKED_FOR_BY[event.__class__]

    def fold(self, event: AnyEvent) -> None:
        """Takes one event of the past, or of the turn in progress, into account."""
        # By table: this runs for every event of every turn and replay, and ``match`` would try the classes one by one.
        self._FOLDS[event.__class__](self, event)

    def _turn_began(self, event: OrchestratorStarted) -> None:
        self.now_us = event.at
        self.idle = event.idle
        if not self.begun:
            self._begin_if_ready()

    def _created(self, event: ExecutionStarted) -> None:
        self.started = event
        self.status = next_status(self.status, Cause.CREATED)
        self._begin_if_ready()

    def _activity_ended(self, event: TaskCompleted | TaskFailed) -> None:
        del self.open_work[event.task_id]
        self.pending -= 1

    def _work_ended(
        self,
        event: TimerFired
        | TimerCanceled
        | SubOrchestrationInstanceCompleted
        | SubOrchestrationInstanceFailed
        | EntityOperationCompleted
        | EntityOperationFailed
        | EntityLockGranted,
    ) -> None:
        del self.open_work[event.task_id]

    def _activity_opened(self, event: TaskScheduled) -> None:
        self.open_work[event.task_id] = event
        self.next_task_id = event.task_id + 1
        self.pending += 1

    def _timer_opened(self, event: TimerCreated) -> None:
        self.open_work[event.task_id] = event
        self.next_task_id = event.task_id + 1
        heappush(self._timers, (event.fire_at, event.task_id))

    def _child_opened(self, event: SubOrchestrationInstanceCreated | EntityOperationCalled) -> None:
        self.open_work[event.task_id] = event
        self.next_task_id = event.task_id + 1

    def _lock_opened(self, event: EntityLockRequested) -> None:
        self.open_work[event.task_id] = event
        self.next_task_id = event.task_id + 1
        self.critical_section = event

    def _unlocked(self, event: EntityUnlockSent) -> None:
        self.next_task_id = event.task_id + 1
        section = self.critical_section
        if section is not None:
            self.open_work.pop(section.task_id, None)  # given up before it was granted
            self.critical_section = None

    def _signaled(self, event: EntityOperationSignaled) -> None:
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
        ExecutionStarted: _created,
        TaskScheduled: _activity_opened,
        TaskCompleted: _activity_ended,
        TaskFailed: _activity_ended,
        TimerCreated: _timer_opened,
        TimerFired: _work_ended,
        TimerCanceled: _work_ended,
        SubOrchestrationInstanceCreated: _child_opened,
        SubOrchestrationInstanceCompleted: _work_ended,
        SubOrchestrationInstanceFailed: _work_ended,
        EntityOperationSignaled: _signaled,
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
