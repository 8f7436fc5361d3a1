"""The fold of a history: open work, wake-ups, status."""

from typing import Any

import pytest

from perdure.core.codec import encode_segment
from perdure.core.errors import EngineInvariantError
from perdure.core.events import (
    EventRaised,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
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
from perdure.core.failures import FailureDetails
from perdure.core.outbound import open_activities
from perdure.core.state import InstanceState, fold_segments

FAILURE = FailureDetails("ValueError", "no")
STARTED = ExecutionStarted("n", "e", generation=3)


def folded(*events: Any) -> InstanceState:
    state = InstanceState()
    for event in events:
        state.fold(event)
    return state


def running(*events: Any) -> InstanceState:
    return folded(OrchestratorStarted(100), STARTED, *events)


def test_an_instance_that_does_not_exist_yet():
    state = InstanceState()
    assert (state.started, state.status, state.wake_at, state.suspended) == (None, None, None, False)


def test_work_is_open_from_its_action_to_its_completion():
    opened = [TaskScheduled(0, "a"), TimerCreated(1, 500), SubOrchestrationInstanceCreated(2, "n", "c"), TaskScheduled(3, "b")]
    state = running(*opened)
    assert state.open_work == dict(enumerate(opened))
    assert (state.pending, state.next_task_id, state.wake_at) == (2, 4, 500)
    for event, left in [
        (TaskCompleted(0), [1, 2, 3]),
        (TaskFailed(3, FAILURE), [1, 2]),
        (TimerFired(1), [2]),
        (SubOrchestrationInstanceFailed(2, FAILURE), []),
    ]:
        assert state.is_open(event)
        state.fold(event)
        assert not state.is_open(event)
        assert list(state.open_work) == left
    assert (state.pending, state.next_task_id, state.wake_at) == (0, 4, None)


COMPLETIONS = [
    TaskCompleted(0),
    TaskFailed(0, FAILURE),
    TimerFired(0),
    TimerCanceled(0),
    SubOrchestrationInstanceCompleted(0),
    SubOrchestrationInstanceFailed(0, FAILURE),
]


@pytest.mark.parametrize(
    ("work", "fitting"),
    [
        (TaskScheduled(0, "a"), (TaskCompleted, TaskFailed)),
        (TimerCreated(0, 5), (TimerFired, TimerCanceled)),
        (SubOrchestrationInstanceCreated(0, "n", "c"), (SubOrchestrationInstanceCompleted, SubOrchestrationInstanceFailed)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_completion_fits_only_work_of_its_kind(work: Any, fitting: tuple[type, ...]):
    state = running(work)
    assert [event for event in COMPLETIONS if state.is_open(event)] == [
        event for event in COMPLETIONS if isinstance(event, fitting)
    ]


def test_the_earliest_open_timer_is_the_next_wake_up():
    state = running(TimerCreated(0, 700), TimerCreated(1, 500), TimerCreated(2, 600))
    assert state.wake_at == 500
    state.fold(TimerCanceled(1))
    assert state.wake_at == 600
    assert state.due_timers(599) == []
    assert state.due_timers(700) == [TimerFired(2), TimerFired(0)]


def test_an_id_that_is_used_again_has_nothing_of_the_timer_before():
    for then, due in (
        ((TimerFired(0), TaskScheduled(0, "a")), []),
        ((TimerCanceled(0), TaskScheduled(0, "a")), []),
        ((TimerCanceled(0), TimerCreated(0, 900)), [TimerFired(0)]),
        ((TimerCanceled(0), TimerCreated(0, 500)), [TimerFired(0)]),
    ):
        state = running(TimerCreated(0, 500), *then)
        new = state.open_work[0]
        assert state.wake_at == (new.fire_at if isinstance(new, TimerCreated) else None)
        assert state.due_timers(1000) == due
        early = running(TimerCreated(0, 500), *then)
        assert early.due_timers(600) == ([TimerFired(0)] if early.open_work[0] == TimerCreated(0, 500) else [])


def test_due_timers_are_in_the_order_of_their_times_then_of_their_ids_without_cancelled_ones():
    state = running(*(TimerCreated(number, at) for number, at in enumerate([5, 3, 3, 4])), TimerCanceled(3))
    assert state.due_timers(5) == [TimerFired(1), TimerFired(2), TimerFired(0)]


def test_an_instance_that_has_ended_never_wakes():
    state = running(TimerCreated(0, 500), ExecutionCompleted("Completed"))
    assert state.wake_at is None


# --- the beginning ----------------------------------------------------------------------------------------------------

LATER = ExecutionStarted("n", "e", start_at=200)


def test_code_begins_with_the_start_or_at_its_time():
    assert (running().status, running().begun) == ("Running", True)
    state = folded(OrchestratorStarted(100), LATER)
    assert (state.status, state.begun, state.wake_at) == ("Pending", False, 200)
    state.fold(OrchestratorStarted(199))
    assert not state.begun
    state.fold(OrchestratorStarted(200))
    assert (state.status, state.begun, state.wake_at) == ("Running", True, None)


def test_a_start_time_that_has_passed_is_now():
    assert folded(OrchestratorStarted(200), LATER).status == "Running"


def test_no_code_begins_in_a_turn_without_orchestrator():
    state = folded(OrchestratorStarted(100), LATER, OrchestratorStarted(300, idle=True))
    assert (state.status, state.begun, state.wake_at) == ("Pending", False, 300)
    state.fold(OrchestratorStarted(400))
    assert state.status == "Running"


def test_what_arrived_without_orchestrator_wants_to_be_looked_at_at_once_unless_suspended():
    state = running(TimerCreated(0, 500), OrchestratorStarted(200, idle=True), EventRaised("n"))
    assert state.wake_at == 200
    state.fold(ExecutionSuspended())
    assert state.wake_at == 500
    state.fold(ExecutionResumed())
    state.fold(OrchestratorStarted(300))
    assert state.wake_at == 500


@pytest.mark.parametrize(
    ("events", "status", "begun", "wake_at"),
    [
        ([], "Suspended", False, None),
        ([OrchestratorStarted(300)], "Suspended", False, None),
        ([ExecutionResumed()], "Pending", False, 200),
        ([OrchestratorStarted(300), ExecutionResumed()], "Running", True, None),
        ([OrchestratorStarted(300, idle=True), ExecutionResumed()], "Pending", False, 300),
    ],
    ids=["suspended", "suspended past its time", "resumed in time", "resumed too late", "resumed without orchestrator"],
)
def test_suspending_before_the_start_time(events: list[Any], status: str, begun: bool, wake_at: int | None):
    state = folded(OrchestratorStarted(100), LATER, ExecutionSuspended(), *events)
    assert (state.status, state.begun, state.wake_at) == (status, begun, wake_at)


def test_suspending_and_resuming_running_code():
    state = running(ExecutionSuspended())
    assert (state.status, state.suspended, state.begun) == ("Suspended", True, True)
    state.fold(ExecutionResumed())
    assert (state.status, state.suspended) == ("Running", False)


@pytest.mark.parametrize("status", ["Completed", "Failed", "Terminated"])
def test_the_end(status: str):
    end = ExecutionCompleted(status)
    state = running(end)
    assert (state.status, state.completed) == (status, end)


@pytest.mark.parametrize("event", [EventRaised("n"), ExecutionTerminated()], ids=lambda event: type(event).__name__)
def test_events_that_only_the_code_cares_about(event: Any):
    before, after = running(), running(event)
    assert (before.status, before.open_work, before.wake_at) == (after.status, after.open_work, after.wake_at)


@pytest.mark.parametrize(
    "events",
    [
        [STARTED],
        [ExecutionResumed()],
        [ExecutionSuspended(), ExecutionSuspended()],
        [ExecutionCompleted("Completed"), ExecutionCompleted("Failed")],
    ],
    ids=["starts twice", "resumes unsuspended", "suspends twice", "ends twice"],
)
def test_what_no_history_can_say(events: list[Any]):
    with pytest.raises(EngineInvariantError, match="an instance in status"):
        running(*events)


# --- from bytes -------------------------------------------------------------------------------------------------------


def test_stored_segments_fold_to_the_same():
    events = [TaskScheduled(0, "a", "1"), TimerCreated(1, 500)]
    state = fold_segments(
        [encode_segment([OrchestratorStarted(100), STARTED, *events]), encode_segment([OrchestratorStarted(200)])]
    )
    assert state.open_work == dict(enumerate(events))
    assert (state.now_us, state.started) == (200, STARTED)


def test_open_activities_are_those_without_a_completion_each_with_the_key_of_its_first_attempt():
    state = running(
        TaskScheduled(0, "a", "1"), TaskScheduled(1, "b"), TimerCreated(2, 5), TaskScheduled(3, "b", None, 2, 1), TaskCompleted(0)
    )
    state.fold(TaskFailed(1, FAILURE))
    (job,) = open_activities("i", state)
    assert (job.instance_id, job.execution_id, job.generation, job.task_id) == ("i", "e", 3, 3)
    assert (job.name, job.input, job.attempt, job.idempotency_key) == ("b", None, 2, "e-3-1")
    state.fold(ExecutionCompleted("Failed", None, FAILURE))
    assert open_activities("i", state) == []
    assert open_activities("i", InstanceState()) == []
