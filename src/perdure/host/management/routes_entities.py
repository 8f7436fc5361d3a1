"""What the management API does with entities: one method per route."""

from datetime import UTC
from typing import Any

from starlette.responses import Response

from perdure.client.local import DurableClient
from perdure.client.models import EntityStatus
from perdure.core.entity_id import EntityId
from perdure.engine.errors import InstanceNotFoundError
from perdure.host.management.errors import BAD_ARGUMENTS, RequestRefusedError
from perdure.host.management.orchestrations import CONTINUATION_TOKEN, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from perdure.host.management.payloads import json_response
from perdure.host.management.requests import ManagementRequest, parse_json
from perdure.host.management.tokens import ContinuationTokens

EMPTY_KEY = "$"
"""Stands in a path for the entity key that is empty."""
DELETE_OPERATION = "delete"
_ENTITIES = "entities"


class EntityRoutes:
    """Answers requests about entities from the client of the hub in this process."""

    def __init__(self, client: DurableClient, tokens: ContinuationTokens) -> None:
        self._client = client
        self._tokens = tokens

    async def read(self, name: str, key: str) -> Response:
        """GET /entities/{name}/{key}."""
        entity = _entity(name, key)
        found = await self._client.read_entity_state(entity)
        if not found.entity_exists:
            raise InstanceNotFoundError(f"there is no entity '{entity}'")
        return json_response(200, found.entity_state)

    async def signal(self, request: ManagementRequest, name: str, key: str) -> Response:
        """POST /entities/{name}/{key}?op=."""
        body = await request.body()
        try:
            value = _operation_input(request, body)
        except RequestRefusedError as error:
            raise RequestRefusedError(400, f"Could not parse JSON content: {error.message}", error.message) from error
        await self._client.signal_entity(_entity(name, key), request.text("op") or "", value)
        return Response(status_code=202)

    async def delete(self, name: str, key: str) -> Response:
        """DELETE /entities/{name}/{key}."""
        await self._client.signal_entity(_entity(name, key), DELETE_OPERATION)
        return Response(status_code=202)

    async def list(self, request: ManagementRequest, name: str | None) -> Response:
        """GET /entities[/{entityName}]."""
        token = request.headers.get(CONTINUATION_TOKEN, "").strip()
        page = await self._client.list_entities(
            name,
            last_operation_from=request.moment("lastOperationTimeFrom"),
            last_operation_to=request.moment("lastOperationTimeTo"),
            fetch_state=request.flag("fetchState", False),
            page_size=request.positive("top", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE),
            continuation_token=self._tokens.open(_ENTITIES, token) if token else None,
        )
        more = page.continuation_token
        headers = None if more is None else {CONTINUATION_TOKEN: self._tokens.seal(_ENTITIES, more)}
        return json_response(200, [_entity_body(entity) for entity in page.entities], headers)


def _entity(name: str, key: str) -> EntityId:
    return EntityId(name, "" if key == EMPTY_KEY else key)


def _operation_input(request: ManagementRequest, body: bytes) -> Any:
    if not body:
        return None
    if request.media_type == "application/json":
        return parse_json(body)
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise RequestRefusedError(400, BAD_ARGUMENTS, "the body is neither JSON nor UTF-8 text") from None


def _entity_body(entity: EntityStatus) -> dict[str, Any]:
    return {
        "entityId": {"name": entity.entity_id.name, "key": entity.entity_id.key},
        "lastOperationTime": entity.last_operation_time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "state": entity.state,
    }
