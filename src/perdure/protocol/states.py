"""Instances as clients of the protocol see them."""

from collections.abc import Sequence
from uuid import NAMESPACE_OID, uuid5

from google.protobuf.timestamp_pb2 import Timestamp

from perdure.client.raw import shown_execution
from perdure.core.codec import decode_segment
from perdure.core.events import AnyEvent, ExecutionCompleted, ExecutionStarted
from perdure.core.status import TERMINAL_STATUSES
from perdure.protocol.failures import failure_value
from perdure.protocol.wire import WIRE_STATUS, pb, text_value, timestamp
from perdure.store.contract import InstanceRecord, Segment


def execution_id_value(execution_id: str, generation: int) -> str:
    """The execution id on the wire: another one for every generation, as the protocol wants it."""
    return uuid5(NAMESPACE_OID, f"{execution_id}:{generation}").hex if generation else shown_execution(execution_id)


def state_value(record: InstanceRecord, *, payloads: bool, custom_status: bool = True) -> pb.OrchestrationState:
    """The state of an instance. Without ``payloads`` the record needn't have its segments."""
    row = record.row
    state = pb.OrchestrationState(
        instanceId=row.instance_id,
        name=row.name,
        version=text_value(row.version),
        orchestrationStatus=WIRE_STATUS[row.status],
        createdTimestamp=timestamp(row.created_at),
        lastUpdatedTimestamp=timestamp(record.updated_at),
        completedTimestamp=timestamp(record.updated_at) if row.status in TERMINAL_STATUSES else None,
        customStatus=text_value(row.custom_status) if custom_status else None,
        executionId=text_value(execution_id_value(row.execution_id, row.generation)),
        parentInstanceId=text_value(row.parent_id),
        tags=row.tags,
    )
    if payloads:
        _add_payloads(state, record)
    return state


def _add_payloads(state: pb.OrchestrationState, record: InstanceRecord) -> None:
    started = next((event for event in _events(record.first) if isinstance(event, ExecutionStarted)), None)
    if started is not None:
        if started.input is not None:
            state.input.value = started.input
        if started.start_at is not None:
            state.scheduledStartTimestamp.CopyFrom(Timestamp(**timestamp(started.start_at)))
    end = next((event for event in reversed(_events(record.last)) if isinstance(event, ExecutionCompleted)), None)
    if end is not None:
        if end.result is not None:
            state.output.value = end.result
        if end.failure is not None:
            state.failureDetails.CopyFrom(failure_value(end.failure))


def _events(segment: Segment | None) -> Sequence[AnyEvent]:
    return () if segment is None else decode_segment(segment.events)
