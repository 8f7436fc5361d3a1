"""The rpc that streams a history, in chunks that every client can take."""

from collections.abc import AsyncGenerator, Mapping

from perdure.core.codec import decode_segment
from perdure.core.work_history import WorkHistory
from perdure.engine.errors import not_found
from perdure.protocol.history import HistoryWriter
from perdure.protocol.service import Call, Streaming
from perdure.protocol.states import execution_id_value
from perdure.protocol.wire import pb, text_of

_CHUNK_EVENTS = 100
_FRAME = 6
"""Bytes that a message takes inside of another one, at most."""


async def stream_instance_history(call: Call, request: pb.StreamInstanceHistoryRequest) -> AsyncGenerator[pb.HistoryChunk, None]:
    """The events of the instance's current execution, oldest first."""
    client = await call.client()
    record = await client.get(request.instanceId)
    asked = text_of(request, "executionId")
    if record is None or (asked and asked != execution_id_value(record.row.execution_id, record.row.generation)):
        raise not_found(request.instanceId)
    history = WorkHistory()
    at = 0
    for segment in await client.queries.history(request.instanceId):
        history.add_turn(decode_segment(segment.events))
        at = segment.at
    writer = HistoryWriter(request.instanceId, for_workers=False)
    events = writer.turns(history.past)
    if history.new:
        events += writer.arrivals(at, list(history.new))
    chunk, size = pb.HistoryChunk(), 0
    for event in events:
        length = event.ByteSize() + _FRAME
        if chunk.events and (len(chunk.events) == _CHUNK_EVENTS or size + length > call.settings.page_bytes):
            yield chunk
            chunk, size = pb.HistoryChunk(), 0
        chunk.events.append(event)
        size += length
    if chunk.events:
        yield chunk


STREAMING: Mapping[str, Streaming] = {"StreamInstanceHistory": stream_instance_history}
