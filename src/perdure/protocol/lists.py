"""Rpcs that list instances, page by page. A page may be shorter than asked for and yet not be the last: the token tells."""

from bisect import insort
from collections.abc import AsyncIterator, Mapping
from typing import TypeVar

import msgspec

from perdure.core.status import TERMINAL_STATUSES
from perdure.protocol.errors import InvalidRequestError, shown
from perdure.protocol.service import Call, Unary
from perdure.protocol.states import state_value
from perdure.protocol.wire import moment_of, pb, statuses_of, text_of, text_value
from perdure.store.contract import InstanceQuery, InstanceRecord, Queries

Listed = TypeVar("Listed", pb.OrchestrationState, pb.EntityMetadata)

_AFTER = "after:"
"""Begins the tokens: SDKs take some texts, such as "0", for the end of the list."""
_PLAIN_BATCH = 1000
_PAYLOAD_BATCH = 50
_DEFAULT_IDS = 100


async def query_instances(call: Call, request: pb.QueryInstancesRequest) -> pb.QueryInstancesResponse:
    """A page of the instances that match, ordered by id."""
    served = await call.served()
    asked = request.query
    hubs = [name.value.casefold() for name in asked.taskHubNames]
    query = InstanceQuery(
        statuses=statuses_of(asked.runtimeStatus, "runtimeStatus"),
        created_from=moment_of(asked, "createdTimeFrom"),
        created_to=moment_of(asked, "createdTimeTo"),
        id_prefix=text_of(asked, "instanceIdPrefix") or "",
        entities=False,
        after=place_of(text_of(asked, "continuationToken")),
        with_payloads=asked.fetchInputsAndOutputs,
    )
    if hubs and served.name not in hubs:
        return pb.QueryInstancesResponse()
    found = matching(served.hub.raw_client.queries, query)
    states = (state_value(record, payloads=asked.fetchInputsAndOutputs) async for record in found)
    page, token = await page_of(call, asked.maxInstanceCount, states)
    return pb.QueryInstancesResponse(orchestrationState=page, continuationToken=text_value(token))


async def list_instance_ids(call: Call, request: pb.ListInstanceIdsRequest) -> pb.ListInstanceIdsResponse:
    """A page of the instances that have ended, in the order in which they did."""
    client = await call.client()
    asked = set(statuses_of(request.runtimeStatus, "runtimeStatus"))
    before = moment_of(request, "completedTimeTo")
    query = InstanceQuery(
        statuses=sorted(TERMINAL_STATUSES & asked if asked else TERMINAL_STATUSES),
        updated_from=moment_of(request, "completedTimeFrom"),
        updated_to=None if before is None else before - 1,  # up to, not including
        entities=False,
    )
    if not query.statuses:
        return pb.ListInstanceIdsResponse()
    key = _key_of(text_of(request, "lastInstanceKey"))
    limit = page_size(call, request.pageSize or _DEFAULT_IDS)
    first: list[tuple[int, str]] = []
    async for record in matching(client.queries, query):
        entry = (record.updated_at, record.row.instance_id)
        if entry > key and (len(first) <= limit or entry < first[-1]):
            insort(first, entry)
            del first[limit + 1 :]  # one more tells whether there is another page
    page = first[:limit]
    last = f"{page[-1][0]}|{page[-1][1]}" if len(first) > limit else None
    return pb.ListInstanceIdsResponse(instanceIds=[instance_id for _, instance_id in page], lastInstanceKey=text_value(last))


async def matching(queries: Queries, query: InstanceQuery) -> AsyncIterator[InstanceRecord]:
    """All instances that match, read in batches of bounded size."""
    batch = _PAYLOAD_BATCH if query.with_payloads else _PLAIN_BATCH
    while True:
        records = await queries.list(msgspec.structs.replace(query, limit=batch))
        for record in records:
            yield record
        if len(records) < batch:
            return
        query = msgspec.structs.replace(query, after=records[-1].row.instance_id)


def page_size(call: Call, asked: int) -> int:
    """How many may be on a page; 0 or less asks for no particular number."""
    most = call.settings.max_page
    return min(asked, most) if asked > 0 else most


async def page_of(call: Call, asked: int, items: AsyncIterator[Listed]) -> tuple[list[Listed], str | None]:
    """No more items than are ``asked`` for, and no more than clients take; and the continuation token, if there are more."""
    limit = page_size(call, asked)
    page: list[Listed] = []
    size = 0
    async for item in items:
        size += item.ByteSize()
        if page and (len(page) == limit or size > call.settings.page_bytes):
            return page, _AFTER + page[-1].instanceId
        page.append(item)
    return page, None


def place_of(token: str | None) -> str:
    """The instance id behind which to go on.

    Raises:
        InvalidRequestError: this server gave no such token.
    """
    if not token:
        return ""
    if not token.startswith(_AFTER):
        raise InvalidRequestError(f"'continuationToken' {shown(token)} isn't of this server. Give none to begin.")
    return token.removeprefix(_AFTER)


def _key_of(token: str | None) -> tuple[int, str]:
    if not token:
        return -1, ""
    at, separator, instance_id = token.partition("|")
    if not separator or not (at.isascii() and at.isdigit()):
        raise InvalidRequestError(f"'lastInstanceKey' {shown(token)} isn't of this server. Give none to begin.")
    return int(at), instance_id


UNARY: Mapping[str, Unary] = {"QueryInstances": query_instances, "ListInstanceIds": list_instance_ids}
