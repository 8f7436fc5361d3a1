"""The stored form of history: JSON that reads back the same, and never changes."""

import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.codec import decode_segment, encode_segment
from perdure.core.errors import EngineInvariantError
from perdure.core.events import (
    ACTIONS,
    COMPLETIONS,
    AnyEvent,
    EntityBacklogExtended,
    EntityLock,
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
    HistoryEvent,
    IncomingEvent,
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
    WorkerSpan,
)
from perdure.core.failures import FailureDetails
from perdure.core.messages import Message, ReusePolicy, decode_message, encode_message

FAILURE = FailureDetails(
    "ValueError", "no", "Traceback", FailureDetails("KeyError", "card"), non_retriable=True, properties={"a": 1}
)
TRACE = TraceContext("00-1-2-01", "a=b", "2")
FULL: list[tuple[Any, str]] = [
    (OrchestratorStarted(1, idle=True, kept=2), '{"type":"OrchestratorStarted","at":1,"idle":true,"kept":2}'),
    (
        OrchestratorDecided(1, 2, WorkerSpan("s", 3)),
        '{"type":"OrchestratorDecided","at":1,"seen":2,"span":{"span_id":"s","started_at":3}}',
    ),
    (
        ExecutionStarted("n", "e", 2, "1", "v", {"a": "b"}, ParentLink("p", "pe", 1, 7), 5, ("f",), TRACE),
        (
            '{"type":"ExecutionStarted","name":"n","execution_id":"e","generation":2,"input":"1","version":"v","tags":{"a":"b"},'
            '"parent":{"instance_id":"p","execution_id":"pe","generation":1,"task_id":7},"start_at":5,"features":["f"],'
            '"trace":{"trace_parent":"00-1-2-01","trace_state":"a=b","span_id":"2"}}'
        ),
    ),
    (TaskCompleted(1, "2"), '{"type":"TaskCompleted","task_id":1,"result":"2"}'),
    (
        TaskFailed(1, FAILURE),
        (
            '{"type":"TaskFailed","task_id":1,"failure":{"type":"ValueError","message":"no","traceback":"Traceback",'
            '"cause":{"type":"KeyError","message":"card"},"non_retriable":true,"properties":{"a":1}}}'
        ),
    ),
    (SubOrchestrationInstanceCompleted(1, "2"), '{"type":"SubOrchestrationInstanceCompleted","task_id":1,"result":"2"}'),
    (
        SubOrchestrationInstanceFailed(1, FailureDetails("E", "m")),
        '{"type":"SubOrchestrationInstanceFailed","task_id":1,"failure":{"type":"E","message":"m"}}',
    ),
    (TimerFired(1), '{"type":"TimerFired","task_id":1}'),
    (EventRaised("n", "1"), '{"type":"EventRaised","name":"n","input":"1"}'),
    (ExecutionSuspended("r"), '{"type":"ExecutionSuspended","reason":"r"}'),
    (ExecutionResumed("r"), '{"type":"ExecutionResumed","reason":"r"}'),
    (
        ExecutionTerminated("r", recursive=True, output="1"),
        '{"type":"ExecutionTerminated","reason":"r","recursive":true,"output":"1"}',
    ),
    (ExecutionRewound("r", 3), '{"type":"ExecutionRewound","reason":"r","next_task_id":3}'),
    (
        TaskScheduled(1, "n", "2", 3, 0, "v", {"a": "b"}, TraceContext("00-1-2-01")),
        (
            '{"type":"TaskScheduled","task_id":1,"name":"n","input":"2","attempt":3,"origin":0,"version":"v","tags":{"a":"b"},'
            '"trace":{"trace_parent":"00-1-2-01"}}'
        ),
    ),
    (EntityOperationCompleted(1, "2"), '{"type":"EntityOperationCompleted","task_id":1,"result":"2"}'),
    (
        EntityOperationFailed(1, FailureDetails("E", "m")),
        '{"type":"EntityOperationFailed","task_id":1,"failure":{"type":"E","message":"m"}}',
    ),
    (
        EntityLockGranted(1, "c", ("@e@a",)),
        '{"type":"EntityLockGranted","task_id":1,"critical_section_id":"c","lock_set":["@e@a"]}',
    ),
    (
        EntityOperationSignaled("@e@a", "add", 1, "2", 5, "i"),
        (
            '{"type":"EntityOperationSignaled","entity":"@e@a","operation":"add","task_id":1,"input":"2","scheduled_time":5,'
            '"sender":"i"}'
        ),
    ),
    (
        EntityOperationCalled("@e@a", "add", 1, "2", ParentLink("p", "pe", 1, 7), "r"),
        (
            '{"type":"EntityOperationCalled","entity":"@e@a","operation":"add","task_id":1,"input":"2",'
            '"parent":{"instance_id":"p","execution_id":"pe","generation":1,"task_id":7},"request_id":"r"}'
        ),
    ),
    (
        EntityLockRequested(1, "c", ("@e@a", "@e@b"), 1, ParentLink("p", "pe", 1, 7)),
        (
            '{"type":"EntityLockRequested","task_id":1,"critical_section_id":"c","lock_set":["@e@a","@e@b"],"position":1,'
            '"parent":{"instance_id":"p","execution_id":"pe","generation":1,"task_id":7}}'
        ),
    ),
    (
        EntityUnlockSent("@e@a", "c", 1, ("@e@b",)),
        '{"type":"EntityUnlockSent","entity":"@e@a","critical_section_id":"c","task_id":1,"following":["@e@b"]}',
    ),
    (
        EntityStateSaved(
            "1", EntityLock("c", "i"), (EntityLockRequested(1, "c", ()),), (EntityOperationSignaled("@e@a", "add"),), 3
        ),
        (
            '{"type":"EntityStateSaved","state":"1","lock":{"critical_section_id":"c","owner":"i"},'
            '"waiting":[{"type":"EntityLockRequested","task_id":1,"critical_section_id":"c","lock_set":[]}],'
            '"scheduled":[{"type":"EntityOperationSignaled","entity":"@e@a","operation":"add"}],"decisions":3}'
        ),
    ),
    (
        EntityBacklogExtended(3, (EntityUnlockSent("@e@a", "c"),)),
        (
            '{"type":"EntityBacklogExtended","before":3,"waiting":[{"type":"EntityUnlockSent","entity":"@e@a",'
            '"critical_section_id":"c"}]}'
        ),
    ),
    (TimerCreated(1, 5), '{"type":"TimerCreated","task_id":1,"fire_at":5}'),
    (TimerCanceled(1), '{"type":"TimerCanceled","task_id":1}'),
    (
        SubOrchestrationInstanceCreated(1, "n", "i", "2", "v", {"a": "b"}, TraceContext("00-1-2-01"), 2),
        (
            '{"type":"SubOrchestrationInstanceCreated","task_id":1,"name":"n","instance_id":"i","input":"2","version":"v",'
            '"tags":{"a":"b"},"trace":{"trace_parent":"00-1-2-01"},"attempt":2}'
        ),
    ),
    (EventSent(1, "i", "n", "2"), '{"type":"EventSent","task_id":1,"instance_id":"i","name":"n","input":"2"}'),
    (
        TerminationSent("i", 1, "2", recursive=True),
        '{"type":"TerminationSent","instance_id":"i","task_id":1,"output":"2","recursive":true}',
    ),
    (
        ExecutionCompleted("Failed", "1", FailureDetails("E", "m")),
        '{"type":"ExecutionCompleted","status":"Failed","result":"1","failure":{"type":"E","message":"m"}}',
    ),
]
BARE: list[tuple[Any, str]] = [
    (OrchestratorStarted(0), '{"type":"OrchestratorStarted","at":0}'),
    (ExecutionStarted("n", "e"), '{"type":"ExecutionStarted","name":"n","execution_id":"e"}'),
    (TaskScheduled(0, "n"), '{"type":"TaskScheduled","task_id":0,"name":"n"}'),
    (ExecutionTerminated(), '{"type":"ExecutionTerminated"}'),
    (ExecutionCompleted("Completed"), '{"type":"ExecutionCompleted","status":"Completed"}'),
]


@pytest.mark.parametrize(("event", "text"), [*FULL, *BARE], ids=lambda value: type(value).__name__)
def test_the_stored_form_of_every_event(event: Any, text: str):
    assert encode_segment([event]) == f"[{text}]".encode()
    assert decode_segment(f"[{text}]".encode()) == [event]


def test_no_event_is_left_out_above():
    kinds: set[Any] = {type(event) for event, _ in FULL}
    assert kinds == set(HistoryEvent.__subclasses__()) == set(get_args(AnyEvent))
    assert set(ACTIONS) | set(COMPLETIONS) < kinds
    assert not set(ACTIONS) & set(COMPLETIONS)


@pytest.mark.parametrize("event", [event for event, _ in FULL], ids=lambda event: type(event).__name__)
def test_every_field_is_set_above(event: Any):
    for field in msgspec.structs.fields(event):
        if not field.required:
            assert getattr(event, field.name) != field.default, field.name


def test_fields_of_later_releases_are_passed_over():
    data = b'[{"type":"TimerFired","task_id":1,"zone":"UTC"}]'
    assert decode_segment(data) == [TimerFired(1)]


@pytest.mark.parametrize("data", [b"", b"{}", b'[{"type":"Unheard"}]', b'[{"type":"TimerFired"}]', b"[", b"\xff", b"null"])
def test_what_is_no_segment_is_refused_and_shown(data: bytes):
    with pytest.raises(EngineInvariantError, match="a stored history segment can't be read") as caught:
        decode_segment(data)
    assert repr(data) in str(caught.value)


texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.builds(EventRaised, st.text(st.characters(exclude_categories=["Cs"])), texts)))
def test_any_text_survives(events: list[EventRaised]):
    data = encode_segment(events)
    assert decode_segment(data) == events
    assert len(json.loads(data)) == len(events)


@pytest.mark.parametrize("event", [event for event, _ in FULL if type(event) in get_args(IncomingEvent)], ids=repr)
def test_messages_read_back_the_same(event: Any):
    for message in (Message("i", event), Message("i", event, "e", 3, ReusePolicy.REPLACE)):
        assert decode_message(encode_message(message)) == message


def test_the_stored_form_of_a_message():
    message = Message("i", TimerFired(1), "e", 3, ReusePolicy.REPLACE)
    text = b'{"instance_id":"i","event":{"type":"TimerFired","task_id":1},"execution_id":"e","generation":3,"reuse":"replace"}'
    assert encode_message(message) == text


@pytest.mark.parametrize("data", [b"", b"[]", b'{"instance_id":"i","event":{"type":"TaskScheduled","task_id":1,"name":"n"}}'])
def test_what_is_no_message_is_refused_and_shown(data: bytes):
    with pytest.raises(EngineInvariantError, match="a stored message can't be read"):
        decode_message(data)
