"""Rpcs that remove instances: purge what has ended, and end what shall not go on."""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from perdure.client.raw import RawClient
from perdure.core.codec import decode_segment
from perdure.core.events import SubOrchestrationInstanceCreated
from perdure.core.status import TERMINAL_STATUSES
from perdure.engine.errors import InstanceFinishedError, InstanceNotFoundError, InstanceRunningError
from perdure.protocol.errors import InvalidRequestError
from perdure.protocol.lists import matching
from perdure.protocol.service import Call, Unary
from perdure.protocol.wire import moment_of, pb, statuses_of, text_of
from perdure.store.contract import InstanceQuery

_MAX_BATCH = 500
_AT_ONCE = 200


async def purge_instances(call: Call, request: pb.PurgeInstancesRequest) -> pb.PurgeInstancesResponse:
    """Deletes ended instances: one, a batch, or those that match a filter. Others are left alone and not counted.

    ``recursive``: their sub-orchestrations that have ended, too.
    """
    client = await call.client()
    match request.WhichOneof("request"):
        case "instanceId":
            deleted, complete = await _purge(client, [request.instanceId], recursive=request.recursive), True
        case "instanceBatch":
            ids = _batch(request.instanceBatch)
            deleted, complete = await _purge(client, ids, recursive=request.recursive), True
        case "purgeInstanceFilter":
            deleted, complete = await _purge_matching(client, request.purgeInstanceFilter, recursive=request.recursive)
        case _:
            raise InvalidRequestError("the request names nothing to purge. Give an id, a batch or a filter.")
    response = pb.PurgeInstancesResponse(deletedInstanceCount=deleted)
    response.isComplete.value = complete
    return response


async def _purge_matching(client: RawClient, asked: pb.PurgeInstanceFilter, *, recursive: bool) -> tuple[int, bool]:
    statuses = set(statuses_of(asked.runtimeStatus, "runtimeStatus"))
    query = InstanceQuery(
        statuses=sorted(TERMINAL_STATUSES & statuses if statuses else TERMINAL_STATUSES),
        created_from=moment_of(asked, "createdTimeFrom"),
        created_to=moment_of(asked, "createdTimeTo"),
        entities=False,
    )
    if not query.statuses:
        return 0, True
    now = asyncio.get_running_loop().time
    deadline = now() + asked.timeout.seconds + asked.timeout.nanos / 1e9 if asked.HasField("timeout") else None
    deleted = 0
    ids: list[str] = []
    async for record in matching(client.queries, query):
        if deadline is not None and now() >= deadline:
            return deleted, False
        ids.append(record.row.instance_id)
        if len(ids) == _AT_ONCE:
            deleted += await _purge(client, ids, recursive=recursive)
            ids = []
    return deleted + await _purge(client, ids, recursive=recursive), True


async def _purge(client: RawClient, instance_ids: Sequence[str], *, recursive: bool) -> int:
    if recursive:
        families = [await _family(client, instance_id) for instance_id in instance_ids]
        instance_ids = list(dict.fromkeys(member for family in families for member in family))
    deleted = 0
    for start in range(0, len(instance_ids), _AT_ONCE):
        part = instance_ids[start : start + _AT_ONCE]
        deleted += sum(await asyncio.gather(*(_purge_one(client, instance_id) for instance_id in part)))
    return deleted


async def _purge_one(client: RawClient, instance_id: str) -> int:
    try:
        await client.purge(instance_id)
    except (InstanceNotFoundError, InstanceRunningError):
        return 0
    return 1


async def _family(client: RawClient, instance_id: str) -> list[str]:
    """The instance and all below it that have ended, children before their parents: what is left after a crash is found again."""
    record = await client.get(instance_id)
    if record is None or record.row.status not in TERMINAL_STATUSES:
        return []
    members = [instance_id]
    for member in members:  # grows as it goes
        for segment in await client.queries.history(member):
            for event in decode_segment(segment.events):
                if isinstance(event, SubOrchestrationInstanceCreated) and event.instance_id not in members:
                    child = await client.get(event.instance_id)
                    # The id may have been given to somebody else since.
                    if child is not None and child.row.parent_id == member and child.row.status in TERMINAL_STATUSES:
                        members.append(event.instance_id)
    return members[::-1]


async def skip_graceful_terminations(
    call: Call, request: pb.SkipGracefulOrchestrationTerminationsRequest
) -> pb.SkipGracefulOrchestrationTerminationsResponse:
    """Ends instances at once, which is how Perdure ends them anyway. Gives back those that can't be ended."""
    client = await call.client()
    reason = text_of(request, "reason")
    output = None if reason is None else msgspec.json.encode(reason).decode()

    async def end(instance_id: str) -> str | None:
        try:
            await client.terminate(instance_id, output, recursive=False)
        except (InstanceNotFoundError, InstanceFinishedError):
            return instance_id
        return None

    left = await asyncio.gather(*(end(instance_id) for instance_id in _batch(request.instanceBatch)))
    return pb.SkipGracefulOrchestrationTerminationsResponse(
        unterminatedInstanceIds=[instance_id for instance_id in left if instance_id is not None]
    )


def _batch(batch: pb.InstanceBatch) -> list[str]:
    if len(batch.instanceIds) > _MAX_BATCH:
        raise InvalidRequestError(f"'instanceBatch' has {len(batch.instanceIds)} ids; the limit is {_MAX_BATCH}. Send several.")
    return list(dict.fromkeys(batch.instanceIds))


UNARY: Mapping[str, Unary] = {
    "PurgeInstances": purge_instances,
    "SkipGracefulOrchestrationTerminations": skip_graceful_terminations,
}
