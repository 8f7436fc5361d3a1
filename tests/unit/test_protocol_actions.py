"""What workers decide, read as events; and refused where it can't be carried out."""

from typing import Any

import pytest

pb = pytest.importorskip("durabletask.internal.orchestrator_service_pb2")

from datetime import UTC, datetime  # noqa: E402 - without the extra these tests are skipped

from durabletask.internal import helpers  # noqa: E402
from google.protobuf.timestamp_pb2 import Timestamp  # noqa: E402
from google.protobuf.wrappers_pb2 import Int32Value, StringValue  # noqa: E402

from perdure.core.answers import Continuation, OrchestratorAnswer  # noqa: E402
from perdure.core.events import (  # noqa: E402
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationSignaled,
    EntityUnlockSent,
    EventRaised,
    EventSent,
    ExecutionCompleted,
    OrchestratorStarted,
    SubOrchestrationInstanceCreated,
    TaskScheduled,
    TerminationSent,
    TimerCreated,
    TraceContext,
    WorkerSpan,
)
from perdure.core.failures import FailureDetails  # noqa: E402
from perdure.protocol.actions import read_answer  # noqa: E402
from perdure.protocol.errors import InvalidDecisionError  # noqa: E402
from perdure.protocol.history import HistoryWriter  # noqa: E402

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
NOON_US = int(NOON.timestamp()) * 1_000_000
AT_NOON = Timestamp(seconds=NOON_US // 1_000_000)
TRACE = pb.TraceContext(traceParent="00-1-2-01", spanID="2")


def text(value: str) -> StringValue:
    return StringValue(value=value)


def read(*actions: Any, **response: Any) -> OrchestratorAnswer:
    return read_answer(pb.OrchestratorResponse(instanceId="i", actions=actions, **response))


def entity(**message: Any) -> Any:
    return pb.OrchestratorAction(id=4, sendEntityMessage=pb.SendEntityMessageAction(**message))


ACTIONS: list[tuple[Any, Any]] = [
    (
        helpers.new_schedule_task_action(1, "n", "2", {"t": "u"}, TRACE),
        TaskScheduled(1, "n", "2", tags={"t": "u"}, trace=TraceContext("00-1-2-01", None, "2")),
    ),
    (
        pb.OrchestratorAction(id=1, scheduleTask=pb.ScheduleTaskAction(name="n", version=text(""))),
        TaskScheduled(1, "n", version=""),
    ),
    (helpers.new_create_timer_action(2, NOON), TimerCreated(2, NOON_US)),
    (
        pb.OrchestratorAction(
            id=3,
            createSubOrchestration=pb.CreateSubOrchestrationAction(
                name="n", instanceId="child", input=text("1"), version=text("v"), tags={"t": "u"}, parentTraceContext=TRACE
            ),
        ),
        SubOrchestrationInstanceCreated(3, "n", "child", "1", "v", {"t": "u"}, TraceContext("00-1-2-01", None, "2")),
    ),
    (helpers.new_send_event_action(5, "other", "n", "1"), EventSent(5, "other", "n", "1")),
    (
        pb.OrchestratorAction(
            id=6, terminateOrchestration=pb.TerminateOrchestrationAction(instanceId="other", reason=text('"r"'), recurse=True)
        ),
        TerminationSent("other", 6, '"r"', True),
    ),
    (
        entity(
            entityOperationSignaled=pb.EntityOperationSignaledEvent(
                requestId="r", operation="add", input=text("1"), targetInstanceId=text("@Counter@A"), scheduledTime=AT_NOON
            )
        ),
        EntityOperationSignaled("@Counter@A", "add", 4, "1", NOON_US),
    ),
    (
        entity(
            entityOperationCalled=pb.EntityOperationCalledEvent(requestId="r", operation="get", targetInstanceId=text("@c@a"))
        ),
        EntityOperationCalled("@c@a", "get", 4, request_id="r"),
    ),
    (
        entity(entityLockRequested=pb.EntityLockRequestedEvent(criticalSectionId="s", lockSet=["@c@b", "@C@a", "@c@b"])),
        EntityLockRequested(4, "s", ("@c@b", "@C@a", "@c@b")),
    ),
    (
        entity(entityUnlockSent=pb.EntityUnlockSentEvent(criticalSectionId="s", targetInstanceId=text("@c@a"))),
        EntityUnlockSent("@c@a", "s", 4),
    ),
    (helpers.new_complete_orchestration_action(9, pb.ORCHESTRATION_STATUS_COMPLETED, ""), ExecutionCompleted("Completed", "")),
    (
        helpers.new_complete_orchestration_action(9, pb.ORCHESTRATION_STATUS_TERMINATED, "1"),
        ExecutionCompleted("Terminated", "1"),
    ),
    (
        helpers.new_complete_orchestration_action(
            9, pb.ORCHESTRATION_STATUS_FAILED, failure_details=pb.TaskFailureDetails(errorType="E", errorMessage="m")
        ),
        ExecutionCompleted("Failed", None, FailureDetails("E", "m")),
    ),
]


@pytest.mark.parametrize(("action", "event"), ACTIONS, ids=lambda value: type(value).__name__)
def test_every_action_becomes_the_event_that_records_it(action: Any, event: Any):
    assert read(action) == OrchestratorAnswer((event,))


def test_no_kind_of_action_is_left_out_above():
    shown = {action.WhichOneof("orchestratorActionType") for action, _ in ACTIONS}
    kinds = {field.name for field in pb.OrchestratorAction.DESCRIPTOR.oneofs_by_name["orchestratorActionType"].fields}
    assert kinds - shown == {"rewindOrchestration"}  # Perdure rewinds by itself


@pytest.mark.parametrize(
    ("action", "kind"), [(ACTIONS[0][0], "taskScheduled"), (ACTIONS[2][0], "timerCreated"), (ACTIONS[4][0], "eventSent")]
)
def test_an_action_is_in_the_history_under_its_own_id(action: Any, kind: str):
    written = HistoryWriter("i", for_workers=True).turns([OrchestratorStarted(NOON_US), *read(action).actions])[1]
    assert (written.eventId, written.WhichOneof("eventType")) == (action.id, kind)


def test_continuing_as_new_carries_events_over():
    raised = helpers.new_event_raised_event("n", "1")
    again = helpers.new_complete_orchestration_action(
        3, pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW, "2", carryover_events=[raised], new_version="v2"
    )
    answer = read(helpers.new_schedule_task_action(1, "n", None, None), again)
    assert answer.actions == (TaskScheduled(1, "n"),)
    assert answer.continuation == Continuation("2", "v2", (EventRaised("n", "1"),))


def test_what_stands_beside_the_actions():
    span = pb.OrchestrationTraceContext(spanID=text("s"), spanStartTime=Timestamp(seconds=NOON_US // 1_000_000))
    answer = read(customStatus=text("1"), numEventsProcessed=Int32Value(value=3), orchestrationTraceContext=span)
    assert answer == OrchestratorAnswer((), "1", None, 2, WorkerSpan("s", NOON_US))


def test_a_child_without_an_id_gets_a_new_one():
    def child() -> str:
        (event,) = read(pb.OrchestratorAction(createSubOrchestration=pb.CreateSubOrchestrationAction(name="n"))).actions
        assert isinstance(event, SubOrchestrationInstanceCreated)
        return event.instance_id

    assert len(child()) == 32
    assert child() != child()


BAD: list[tuple[Any, str]] = [
    (pb.OrchestratorAction(id=7), "action 7 .* is of a kind that this server doesn't know"),
    (pb.OrchestratorAction(rewindOrchestration=pb.RewindOrchestrationAction()), "kind that this server doesn't know .rewind"),
    (helpers.new_schedule_task_action(1, "", None, None), r"action 1 \(scheduleTask\).*'name' is empty"),
    (pb.OrchestratorAction(createTimer=pb.CreateTimerAction()), "'fireAt' is missing"),
    (pb.OrchestratorAction(createTimer=pb.CreateTimerAction(fireAt=Timestamp(seconds=1 << 60))), "'fireAt' is no moment"),
    (helpers.new_send_event_action(5, "@a@b", "n", None), "can't be sent to '@a@b'"),
    (helpers.new_send_event_action(5, "", "n", None), "'instance' is empty"),
    (pb.OrchestratorAction(terminateOrchestration=pb.TerminateOrchestrationAction()), "'instanceId' is empty"),
    (entity(), "holds no message to an entity"),
    (pb.OrchestratorAction(completeOrchestration={"orchestrationStatus": 77}), "status 77"),
    (
        helpers.new_complete_orchestration_action(
            3, pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW, carryover_events=[helpers.new_task_completed_event(1)]
        ),
        "'carryoverEvents' has a taskCompleted",
    ),
]


@pytest.mark.parametrize(("action", "reason"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_carried_out_is_refused(action: Any, reason: str):
    with pytest.raises(InvalidDecisionError, match=reason):
        read(action)


def test_an_orchestration_continues_as_new_once():
    again = helpers.new_complete_orchestration_action(1, pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW)
    with pytest.raises(InvalidDecisionError, match="continues as new with an earlier action"):
        read(again, again)


def test_a_failure_without_details_is_one_nevertheless():
    (event,) = read(helpers.new_complete_orchestration_action(1, pb.ORCHESTRATION_STATUS_FAILED)).actions
    assert isinstance(event, ExecutionCompleted)
    assert event.failure is not None
