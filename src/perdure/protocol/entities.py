"""Rpcs about entities. One without state and without lock does not exist."""

from collections.abc import Mapping

from perdure.client.entities import summarized
from perdure.core.entity_id import EntityId
from perdure.core.entity_saved import EntitySummary
from perdure.protocol.lists import matching, page_of, place_of
from perdure.protocol.service import Call, Unary
from perdure.protocol.wire import moment_of, pb, required, text_of, text_value, timestamp
from perdure.store.contract import InstanceQuery, InstanceRecord


async def signal_entity(call: Call, request: pb.SignalEntityRequest) -> pb.SignalEntityResponse:
    """Sends an operation to an entity, which it makes."""
    client = await call.client()
    await client.signal(
        EntityId.parse(request.instanceId),
        required(request.name, "name"),
        text_of(request, "input"),
        moment_of(request, "scheduledTime"),
    )
    return pb.SignalEntityResponse()


async def get_entity(call: Call, request: pb.GetEntityRequest) -> pb.GetEntityResponse:
    """An entity's state, lock and backlog."""
    client = await call.client()
    record = await client.queries.get(str(EntityId.parse(request.instanceId)), with_payloads=True)
    now = EntitySummary() if record is None else summarized(record)
    if record is None or (now.state is None and now.lock is None):
        return pb.GetEntityResponse(exists=False)
    return pb.GetEntityResponse(exists=True, entity=_metadata(record, now, with_state=request.includeState))


async def query_entities(call: Call, request: pb.QueryEntitiesRequest) -> pb.QueryEntitiesResponse:
    """A page of the entities that match, ordered by id. Those without state only if transient ones are asked for."""
    client = await call.client()
    asked = request.query
    query = InstanceQuery(
        entities=True,
        id_prefix=_prefix(text_of(asked, "instanceIdStartsWith") or ""),
        updated_from=moment_of(asked, "lastModifiedFrom"),
        updated_to=moment_of(asked, "lastModifiedTo"),
        after=place_of(text_of(asked, "continuationToken")),
        with_payloads=True,
    )
    shown = (
        _metadata(record, now, with_state=asked.includeState)
        async for record in matching(client.queries, query)
        if (now := summarized(record)).state is not None or asked.includeTransient
    )
    page, token = await page_of(call, asked.pageSize.value, shown)
    return pb.QueryEntitiesResponse(entities=page, continuationToken=text_value(token))


async def clean_entity_storage(call: Call, request: pb.CleanEntityStorageRequest) -> pb.CleanEntityStorageResponse:
    """Releases entities that are locked by orchestrations that don't exist any more. There are no empty ones to remove."""
    client = await call.client()
    released = 0
    if request.releaseOrphanedLocks:
        released = (await client.release_orphaned_locks()).orphaned_locks_released
    return pb.CleanEntityStorageResponse(emptyEntitiesRemoved=0, orphanedLocksReleased=released)


def _metadata(record: InstanceRecord, now: EntitySummary, *, with_state: bool) -> pb.EntityMetadata:
    return pb.EntityMetadata(
        instanceId=record.row.instance_id,
        lastModifiedTime=timestamp(record.updated_at),
        backlogQueueSize=now.backlog,
        lockedBy=text_value(now.lock.owner if now.lock is not None else None),
        serializedState=text_value(now.state) if with_state else None,
    )


def _prefix(text: str) -> str:
    """What the ids begin with. Names of entities are in small letters, and their ids begin with ``@``."""
    name, separator, key = text.removeprefix("@").partition("@")
    return f"@{name.casefold()}{separator}{key}"


UNARY: Mapping[str, Unary] = {
    "SignalEntity": signal_entity,
    "GetEntity": get_entity,
    "QueryEntities": query_entities,
    "CleanEntityStorage": clean_entity_storage,
}
