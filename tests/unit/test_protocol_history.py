"""Histories on the wire: what SDK workers and clients read of them."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

pb = pytest.importorskip("durabletask.internal.orchestrator_service_pb2")

from durabletask import history as sdk  # noqa: E402 - without the extra these tests are skipped

from perdure.core.events import (  # noqa: E402
    AnyEvent,
    EntityBacklogExtended,
    EntityLockGranted,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    EntityOperationSignaled,
    EntityStateSaved,
    EntityUnlockSent,
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    OrchestratorDecided,
    OrchestratorStarted,
    ParentLink,
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
    TraceContext,
)
from perdure.core.failures import FailureDetails  # noqa: E402
from perdure.protocol.failures import failure_of, failure_value  # noqa: E402
from perdure.protocol.history import HistoryWriter  # noqa: E402
from perdure.protocol.states import execution_id_value  # noqa: E402

NOON = 1_893_456_000_000_000
FAILURE = FailureDetails("E", "m", "trace", FailureDetails("Root", "r", properties={"a": [1.0, None]}), True, {"code": "x"})
TRACE = TraceContext("00-1-2-01", "a=b", "2")
FULL_START = ExecutionStarted(
    "n", "e", 0, "1", "v", {"t": "u"}, ParentLink("p", "pe", 0, 7), NOON + 5, features=("f",), trace=TRACE
)
# Each event with the field of HistoryEvent that it becomes, its id, and what an SDK reads.
EVENTS: list[tuple[Any, str, int, dict[str, Any]]] = [
    (
        FULL_START,
        "executionStarted",
        -1,
        {
            "name": "n",
            "input": "1",
            "version": "v",
            "tags": {"t": "u"},
            "parent_trace_context": sdk.TraceContext("00-1-2-01", "2", "a=b"),
        },
    ),
    (TaskCompleted(1, "2"), "taskCompleted", -1, {"task_scheduled_id": 1, "result": "2"}),
    (TaskFailed(1, FAILURE), "taskFailed", -1, {"task_scheduled_id": 1}),
    (SubOrchestrationInstanceCompleted(1, ""), "subOrchestrationInstanceCompleted", -1, {"task_scheduled_id": 1, "result": ""}),
    (SubOrchestrationInstanceFailed(1, FAILURE), "subOrchestrationInstanceFailed", -1, {"task_scheduled_id": 1}),
    (TimerFired(3), "timerFired", -1, {"timer_id": 3}),
    (EventRaised("n", None), "eventRaised", -1, {"name": "n", "input": None}),
    (ExecutionSuspended("r"), "executionSuspended", -1, {"input": "r"}),
    (ExecutionResumed(None), "executionResumed", -1, {"input": None}),
    (ExecutionTerminated("r", True), "executionTerminated", -1, {"input": "r", "recurse": True}),
    (ExecutionTerminated(output='"o"'), "executionTerminated", -1, {"input": '"o"', "recurse": False}),
    (ExecutionRewound("r"), "executionRewound", -1, {"reason": "r"}),
    (EntityOperationCompleted(4, "2"), "entityOperationCompleted", -1, {"output": "2"}),
    (EntityOperationFailed(4, FAILURE), "entityOperationFailed", -1, {}),
    (EntityLockGranted(5, "c", ("@e@a",)), "entityLockGranted", -1, {"critical_section_id": "c"}),
    (
        TaskScheduled(1, "n", "2", version="v", tags={"t": "u"}, trace=TRACE),
        "taskScheduled",
        1,
        {"name": "n", "input": "2", "version": "v", "tags": {"t": "u"}},
    ),
    (TimerCreated(3, NOON + 7), "timerCreated", 3, {}),
    (
        SubOrchestrationInstanceCreated(2, "n", "child", None, "v", {"t": "u"}, TRACE),
        "subOrchestrationInstanceCreated",
        2,
        {"name": "n", "instance_id": "child", "input": None, "version": "v", "tags": {"t": "u"}},
    ),
    (EventSent(6, "other", "n", "1"), "eventSent", 6, {"instance_id": "other", "name": "n", "input": "1"}),
    (
        EntityOperationSignaled("@e@a", "add", 7, "1", NOON),
        "entityOperationSignaled",
        7,
        {"operation": "add", "input": "1", "target_instance_id": "@e@a"},
    ),
    (
        EntityOperationCalled("@e@a", "add", 4, "1", request_id="mine"),
        "entityOperationCalled",
        4,
        {"operation": "add", "request_id": "mine", "input": "1", "target_instance_id": "@e@a", "parent_instance_id": "i"},
    ),
    (
        EntityLockRequested(5, "c", ("@e@a", "@e@b")),
        "entityLockRequested",
        5,
        {"critical_section_id": "c", "lock_set": ["@e@a", "@e@b"], "position": 0, "parent_instance_id": "i"},
    ),
    (
        EntityUnlockSent("@e@a", "c", 8),
        "entityUnlockSent",
        8,
        {"critical_section_id": "c", "target_instance_id": "@e@a", "parent_instance_id": "i"},
    ),
]
UNKNOWN_TO_THE_PROTOCOL = {TimerCanceled, TerminationSent, EntityStateSaved, EntityBacklogExtended, OrchestratorDecided}
WRITTEN_OTHERWISE = {OrchestratorStarted, ExecutionCompleted}


def kinds(events: list[Any]) -> list[str | None]:
    return [event.WhichOneof("eventType") for event in events]


def writer(*, for_workers: bool = False) -> HistoryWriter:
    return HistoryWriter("i", for_workers=for_workers)


@pytest.mark.parametrize(("event", "kind", "event_id", "fields"), EVENTS, ids=lambda value: type(value).__name__)
def test_every_event_reads_the_same_in_the_sdk(event: AnyEvent, kind: str, event_id: int, fields: dict[str, Any]):
    opening, written, closing = writer().turns([OrchestratorStarted(NOON), event])
    assert (kinds([opening, written, closing])) == ["orchestratorStarted", kind, "orchestratorCompleted"]
    assert written.eventId == event_id
    assert written.timestamp.ToMicroseconds() == NOON
    read = sdk._from_protobuf(pb.HistoryEvent.FromString(written.SerializeToString()))  # noqa: SLF001 - as its client does
    assert {name: getattr(read, name) for name in fields} == fields


def test_no_event_is_left_out_above():
    assert {type(event) for event, *_ in EVENTS} == set(get_args(AnyEvent)) - UNKNOWN_TO_THE_PROTOCOL - WRITTEN_OTHERWISE


def test_what_the_protocol_does_not_know_is_left_out():
    assert kinds(writer().turns([OrchestratorStarted(NOON), TimerCanceled(1), TerminationSent("other", 2)])) == [
        "orchestratorStarted",
        "orchestratorCompleted",
    ]


def test_the_end_comes_last():
    events = [OrchestratorStarted(NOON), TaskCompleted(1), TaskScheduled(2, "n"), ExecutionCompleted("Failed", None, FAILURE)]
    written = writer().turns(events)
    assert kinds(written) == [
        "orchestratorStarted",
        "taskCompleted",
        "taskScheduled",
        "orchestratorCompleted",
        "executionCompleted",
    ]
    assert written[-1].executionCompleted.orchestrationStatus == pb.ORCHESTRATION_STATUS_FAILED
    assert failure_of(written[-1].executionCompleted.failureDetails) == FAILURE


def test_turns_written_one_by_one_are_those_written_at_once():
    turns: list[list[AnyEvent]] = [
        [OrchestratorStarted(NOON), FULL_START, TimerCreated(1, NOON + 9), EntityOperationCalled("@e@a", "get", 2)],
        [OrchestratorStarted(NOON + 1), EntityOperationCompleted(2, "1"), TaskScheduled(3, "n")],
        [OrchestratorStarted(NOON + 2), TimerFired(1), TaskCompleted(3), ExecutionCompleted("Completed", "1")],
    ]
    one_by_one = writer()
    at_once = writer().turns([event for turn in turns for event in turn])
    assert [event for turn in turns for event in one_by_one.turns(turn)] == at_once


def test_a_fired_timer_says_when_it_was_due_also_before_it_is_among_the_turns():
    sut = writer(for_workers=True)
    sut.turns([OrchestratorStarted(NOON), FULL_START, TimerCreated(1, NOON + 9)])
    for written in (
        sut.arrivals(NOON + 20, [TimerFired(1)]),
        sut.arrivals(NOON + 30, [TimerFired(1)]),
        sut.turns([OrchestratorStarted(NOON + 30), TimerFired(1)]),
    ):
        assert kinds(written)[:2] == ["orchestratorStarted", "timerFired"]
        assert written[1].timerFired.fireAt.ToMicroseconds() == NOON + 9


@pytest.mark.parametrize("own", ["mine", None])
def test_an_entity_call_and_its_outcome_have_one_request_id(own: str | None):
    sut = writer()
    written = sut.turns([OrchestratorStarted(NOON), FULL_START, EntityOperationCalled("@e@a", "get", 2, request_id=own)])
    called = written[2].entityOperationCalled.requestId
    assert called == own if own else len(called) == 36
    outcome = sut.arrivals(NOON + 1, [EntityOperationFailed(2, FAILURE)])[1].entityOperationFailed
    assert outcome.requestId == called
    assert failure_of(outcome.failureDetails) == FAILURE


def test_workers_are_not_asked_to_rewind():
    events: list[AnyEvent] = [OrchestratorStarted(NOON), ExecutionRewound("r"), EventRaised("n")]
    assert kinds(writer(for_workers=True).turns(events)) == ["orchestratorStarted", "eventRaised", "orchestratorCompleted"]
    assert kinds(writer().turns(events))[1] == "executionRewound"


def test_a_child_knows_its_caller_and_its_own_execution():
    started = writer().turns([OrchestratorStarted(NOON), FULL_START])[1].executionStarted
    parent = started.parentInstance
    assert (parent.taskScheduledId, parent.orchestrationInstance.instanceId) == (7, "p")
    assert parent.orchestrationInstance.executionId.value == "pe"
    assert (started.orchestrationInstance.instanceId, started.orchestrationInstance.executionId.value) == ("i", "e")
    assert started.scheduledStartTimestamp.ToMicroseconds() == NOON + 5


def test_every_generation_has_an_execution_id_of_its_own():
    ids = {execution_id_value("0" * 32, generation) for generation in range(5)}
    assert len(ids) == 5
    assert all(len(execution_id) == 32 for execution_id in ids)
    assert execution_id_value("mine~0123456789abcdef", 0) == "mine"


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_json = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=5,
)
_properties = st.none() | st.dictionaries(_texts, _json, min_size=1, max_size=3)
_links = st.lists(
    st.builds(
        FailureDetails,
        type=_texts,
        message=_texts,
        traceback=st.none() | _texts,
        non_retriable=st.booleans(),
        properties=_properties,
    ),
    min_size=1,
    max_size=5,
)


@given(_links)
def test_a_failure_comes_back_whole(links: list[FailureDetails]):
    import msgspec

    failure: FailureDetails | None = None
    for link in reversed(links):
        failure = msgspec.structs.replace(link, cause=failure)
    assert failure is not None
    assert failure_of(pb.TaskFailureDetails.FromString(failure_value(failure).SerializeToString())) == failure


def test_a_chain_of_causes_without_end_is_cut():
    details = pb.TaskFailureDetails(errorType="E0", errorMessage="m")
    for number in range(1, 60):
        details = pb.TaskFailureDetails(errorType=f"E{number}", errorMessage="m", innerFailure=details)
    assert [link.type for link in failure_of(details).chain()] == [f"E{number}" for number in range(59, 27, -1)]
