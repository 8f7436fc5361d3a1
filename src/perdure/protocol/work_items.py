"""Work items on the wire, as bytes: what of a history has been written once is never written again.

A worker wants the whole past of an instance with each item. Its events are kept serialized with the instance as long as that is
in memory, so that a turn costs the conversion of what is new, and the copying of the rest.
"""

from collections.abc import Sequence

from google.protobuf.message import Message

from perdure.core.events import EntityOperationCalled, EntityOperationSignaled, WorkerSpan
from perdure.engine.remote.work import ActivityWork, EntityWork, OrchestratorWork, Work
from perdure.protocol.history import NO_ID, HistoryWriter
from perdure.protocol.states import execution_id_value
from perdure.protocol.wire import pb, text_value, timestamp, trace_value


def _tag(number: int) -> bytes:
    """Begins a field of a message in another one."""
    return _varint(number << 3 | 2)


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def _field_of(message: type[Message], name: str) -> bytes:
    return _tag(message.DESCRIPTOR.fields_by_name[name].number)


_PAST_EVENTS = _field_of(pb.OrchestratorRequest, "pastEvents")
_NEW_EVENTS = _field_of(pb.OrchestratorRequest, "newEvents")
_ORCHESTRATOR_REQUEST = _field_of(pb.WorkItem, "orchestratorRequest")


class _Past:
    """The past of an instance as far as it has been written: ``pastEvents`` fields, one behind the other."""

    def __init__(self, work: OrchestratorWork) -> None:
        started = work.started
        self.writer = HistoryWriter(work.instance_id, for_workers=True)
        self.count = 0
        self.data = bytearray()
        self.head = pb.OrchestratorRequest(
            instanceId=work.instance_id,
            executionId=text_value(execution_id_value(started.execution_id, started.generation)),
            entityParameters={},
        ).SerializeToString()
        """What is the same in every item."""


def work_item(work: Work) -> bytes:
    """A serialized ``WorkItem``."""
    if isinstance(work, OrchestratorWork):
        return _orchestrator_item(work)
    if isinstance(work, EntityWork):
        return pb.WorkItem(completionToken=work.token, entityRequestV2=_entity_request(work)).SerializeToString()
    return pb.WorkItem(completionToken=work.token, activityRequest=_activity_request(work)).SerializeToString()


def health_ping() -> bytes:
    """A serialized ``WorkItem`` that says that the server is there."""
    return pb.WorkItem(healthPing=pb.HealthPing()).SerializeToString()


def orchestrator_request(work: OrchestratorWork) -> bytes:
    """A serialized ``OrchestratorRequest``."""
    return b"".join(_orchestrator_request(work))


def _orchestrator_request(work: OrchestratorWork) -> list[bytes | bytearray]:
    """Serialized parts of a message, one behind the other, are the message that has them all."""
    past = _past_of(work)
    parts = [past.head, past.data]
    for event in past.writer.arrivals(work.at, work.new):
        data = event.SerializeToString()
        parts += (_NEW_EVENTS, _varint(len(data)), data)
    if work.span is not None:
        parts.append(pb.OrchestratorRequest(orchestrationTraceContext=_span(work.span)).SerializeToString())
    return parts


def _span(span: WorkerSpan) -> pb.OrchestrationTraceContext:
    return pb.OrchestrationTraceContext(
        spanID=text_value(span.span_id), spanStartTime=None if span.started_at is None else timestamp(span.started_at)
    )


def _orchestrator_item(work: OrchestratorWork) -> bytes:
    request = _orchestrator_request(work)
    token = pb.WorkItem(completionToken=work.token).SerializeToString()
    return b"".join((token, _ORCHESTRATOR_REQUEST, _varint(sum(map(len, request))), *request))


def _past_of(work: OrchestratorWork) -> _Past:
    past = work.past.cache
    if not isinstance(past, _Past) or past.count > work.past_count:
        past = work.past.cache = _Past(work)
    if past.count < work.past_count:
        for event in past.writer.turns(work.past.past[past.count : work.past_count]):
            data = event.SerializeToString()
            past.data += _PAST_EVENTS + _varint(len(data)) + data
        past.count = work.past_count
    return past


def _activity_request(work: ActivityWork) -> pb.ActivityRequest:
    call = work.call
    return pb.ActivityRequest(
        name=call.name,
        version=text_value(call.version),
        input=text_value(call.input),
        orchestrationInstance={
            "instanceId": call.instance_id,
            "executionId": text_value(execution_id_value(call.execution_id, call.generation)),
        },
        taskId=call.task_id,
        parentTraceContext=trace_value(call.trace),
        tags=call.tags or None,
    )


def _entity_request(work: EntityWork) -> pb.EntityRequest:
    return pb.EntityRequest(
        instanceId=work.instance_id,
        executionId=work.execution_id,
        entityState=text_value(work.state),
        operationRequests=_operations(work.token, work.operations),
    )


def _operations(token: str, operations: Sequence[EntityOperationSignaled | EntityOperationCalled]) -> list[pb.HistoryEvent]:
    return [_operation(event, f"{token}-{position}") for position, event in enumerate(operations)]


def _operation(event: EntityOperationSignaled | EntityOperationCalled, request_id: str) -> pb.HistoryEvent:
    if isinstance(event, EntityOperationSignaled):
        signaled = pb.EntityOperationSignaledEvent(
            requestId=request_id,
            operation=event.operation,
            input=text_value(event.input),
            scheduledTime=None if event.scheduled_time is None else timestamp(event.scheduled_time),
            targetInstanceId=text_value(event.entity),
        )
        return pb.HistoryEvent(eventId=NO_ID, entityOperationSignaled=signaled)
    parent = event.parent
    called = pb.EntityOperationCalledEvent(
        requestId=event.request_id or request_id,
        operation=event.operation,
        input=text_value(event.input),
        parentInstanceId=None if parent is None else text_value(parent.instance_id),
        parentExecutionId=None if parent is None else text_value(execution_id_value(parent.execution_id, parent.generation)),
        targetInstanceId=text_value(event.entity),
    )
    return pb.HistoryEvent(eventId=NO_ID, entityOperationCalled=called)
