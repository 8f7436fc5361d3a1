"""What the management API does with entities, over any client that can read, signal and list them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
from starlette.responses import Response

from perdure.host.management.errors import BAD_ARGUMENTS, RequestRefusedError
from perdure.host.management.orchestrations import CONTINUATION_TOKEN, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from perdure.host.management.payloads import JSON, json_response
from perdure.host.management.requests import ManagementRequest, parse_json
from perdure.host.management.tokens import ContinuationTokens

EMPTY_KEY = "$"
"""Stands in a path for the entity key that is empty."""
DELETE_OPERATION = "delete"
_ENTITIES = "entities"


@dataclass(frozen=True, slots=True)
class EntityRecord:
    """One entity."""

    name: str
    key: str
    last_operation_time: datetime
    state: str | None
    """JSON text; ``None`` where it wasn't asked for."""


@dataclass(frozen=True, slots=True)
class EntityFilter:
    """What to list; all must hold."""

    name: str | None
    last_operation_from: datetime | None
    last_operation_to: datetime | None
    fetch_state: bool
    page_size: int
    continuation_token: str | None


@dataclass(frozen=True, slots=True)
class EntityPage:
    """Part of a list of entities."""

    entities: Sequence[EntityRecord]
    continuation_token: str | None


class EntityClient(Protocol):
    """What the API needs of whoever knows the entities."""

    async def read(self, name: str, key: str) -> str | None:
        """The state as JSON text; ``None`` if there is no such entity."""
        ...

    async def signal(self, name: str, key: str, operation: str, operation_input: Any) -> None:
        """Sends an operation; returns once it can't get lost."""
        ...

    async def list(self, filter: EntityFilter) -> EntityPage:  # noqa: A002 - it is a filter
        """One page, ordered by name and key."""
        ...


class EntityRoutes:
    """Answers requests about entities; as long as there is no client for them, by saying so."""

    def __init__(self, entities: EntityClient | None, tokens: ContinuationTokens) -> None:
        self._entities = entities
        self._tokens = tokens

    async def read(self, name: str, key: str) -> Response:
        """GET /entities/{name}/{key}."""
        state = await self._client.read(name, _key(key))
        if state is None:
            raise RequestRefusedError(404, "No such entity", f"there is no entity '@{name.lower()}@{_key(key)}'")
        return Response(state, media_type=JSON)

    async def signal(self, request: ManagementRequest, name: str, key: str) -> Response:
        """POST /entities/{name}/{key}?op=."""
        client = self._client
        body = await request.body()
        try:
            value = _operation_input(request, body)
        except RequestRefusedError as error:
            raise RequestRefusedError(400, f"Could not parse JSON content: {error.message}", error.message) from error
        await client.signal(name, _key(key), request.text("op") or "", value)
        return Response(status_code=202)

    async def delete(self, name: str, key: str) -> Response:
        """DELETE /entities/{name}/{key}."""
        await self._client.signal(name, _key(key), DELETE_OPERATION, None)
        return Response(status_code=202)

    async def list(self, request: ManagementRequest, name: str | None) -> Response:
        """GET /entities[/{entityName}]."""
        token = request.headers.get(CONTINUATION_TOKEN, "").strip()
        page = await self._client.list(
            EntityFilter(
                name=name,
                last_operation_from=request.moment("lastOperationTimeFrom"),
                last_operation_to=request.moment("lastOperationTimeTo"),
                fetch_state=request.flag("fetchState", False),
                page_size=request.positive("top", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE),
                continuation_token=self._tokens.open(_ENTITIES, token) if token else None,
            )
        )
        more = page.continuation_token
        headers = None if more is None else {CONTINUATION_TOKEN: self._tokens.seal(_ENTITIES, more)}
        return json_response(200, [_entity_body(entity) for entity in page.entities], headers)

    @property
    def _client(self) -> EntityClient:
        if self._entities is None:
            raise RequestRefusedError(501, "Entities aren't supported", "this version of Perdure has no durable entities yet")
        return self._entities


def _key(segment: str) -> str:
    return "" if segment == EMPTY_KEY else segment


def _operation_input(request: ManagementRequest, body: bytes) -> Any:
    if not body:
        return None
    if request.media_type == "application/json":
        return parse_json(body)
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise RequestRefusedError(400, BAD_ARGUMENTS, "the body is neither JSON nor UTF-8 text") from None


def _entity_body(entity: EntityRecord) -> dict[str, Any]:
    return {
        "entityId": {"name": entity.name, "key": entity.key},
        "lastOperationTime": entity.last_operation_time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "state": None if entity.state is None else msgspec.Raw(entity.state.encode()),
    }
