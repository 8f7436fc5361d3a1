"""The client's operations over HTTP as generators: they yield requests and pauses, get answers, and know no HTTP library.

So the async and the blocking client are two loops around the same operations.
"""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote

from perdure.client.http_answers import Answer, HostAnswerError, read_entity, read_status, refuse
from perdure.client.links import WEBHOOKS_PATH, ManagementLinks
from perdure.client.models import (
    DurableOrchestrationStatus,
    EntityPage,
    EntityStateResponse,
    InstancePage,
    PurgeHistoryResult,
)
from perdure.core.context import function_name
from perdure.core.converter import JsonConverter
from perdure.core.entity_id import EntityId, InvalidEntityIdError, entity_id
from perdure.core.ids import check_instance_id
from perdure.core.status import OrchestrationRuntimeStatus
from perdure.engine.errors import InstanceNotFoundError
from perdure.store.errors import UnusableConnectionError

T = TypeVar("T")
_NO_SUCH_INSTANCE = b"InstanceId does not match a valid orchestration instance."
"""Restarting an unknown instance is a bad request to Durable Functions."""
_CONTINUATION_TOKEN = "x-ms-continuation-token"
_EMPTY_KEY = "$"
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 5.0
_LARGEST_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Request:
    """One request; ``path`` is relative to the API."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict[str, str])
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for so many seconds."""

    seconds: float


Operation = Generator[Request | Pause, Answer | None, T]


class HttpOperations:
    """See ``DurableClient`` for what each operation does and raises; ``HostAnswerError`` comes on top."""

    def __init__(self, url: str, *, code: str | None, task_hub: str | None) -> None:
        self.links = ManagementLinks(url.rstrip("/") + WEBHOOKS_PATH, task_hub, None, code)
        self.common_query = _query(taskHub=task_hub)
        # Not in the query, because URLs are logged.
        self.common_headers = {} if code is None else {"x-functions-key": code}
        self._converter = JsonConverter()

    def start_new(
        self,
        orchestration_function_name: str | Callable[..., Any],
        instance_id: str | None,
        client_input: Any,
        version: str | None,
        connection: object | None,
    ) -> Operation[str]:
        """POST orchestrators/{name}[/{id}]."""
        if connection is not None:
            raise UnusableConnectionError(
                "a start over HTTP can't be part of a transaction of yours. Use the client of a hub in this process, on the same "
                "database, or start without a connection."
            )
        name = function_name(orchestration_function_name)
        path = f"orchestrators/{_quoted(name)}"
        if instance_id is not None:
            check_instance_id(instance_id)
            path += f"/{_quoted(instance_id)}"
        body = self._json(client_input, "input of orchestrator", name)
        answer = yield from _send(Request("POST", path, _query(version=version), _JSON_BODY, body))
        return _started(answer)

    def restart(self, instance_id: str, restart_with_new_instance_id: bool) -> Operation[str]:
        """POST instances/{id}/restart."""
        query = _query(restartWithNewInstanceId=restart_with_new_instance_id)
        answer = yield from _send(Request("POST", _instance(instance_id, "restart"), query))
        if answer.status == 400 and _NO_SUCH_INSTANCE in answer.body:
            raise InstanceNotFoundError(f"there is no instance '{instance_id}' that could be started again")
        return _started(answer)

    def get_status(
        self, instance_id: str, show_history: bool, show_history_output: bool, show_input: bool
    ) -> Operation[DurableOrchestrationStatus]:
        """GET instances/{id}."""
        answer = yield from self._ask_status(instance_id, show_history, show_history_output, show_input)
        return DurableOrchestrationStatus(instance_id) if answer.knows_nothing else read_status(answer.json())

    def list_page(
        self,
        created_time_from: datetime | None,
        created_time_to: datetime | None,
        runtime_status: Sequence[OrchestrationRuntimeStatus] | None,
        instance_id_prefix: str | None,
        names: Sequence[str],
        page_size: int,
        continuation_token: str | None,
        show_input: bool,
    ) -> Operation[InstancePage]:
        """GET instances."""
        query = _query(
            createdTimeFrom=created_time_from,
            createdTimeTo=created_time_to,
            runtimeStatus=runtime_status,
            instanceIdPrefix=instance_id_prefix,
            name=names,
            top=str(page_size),
            showInput=show_input,
        )
        headers = {} if continuation_token is None else {_CONTINUATION_TOKEN: continuation_token}
        answer = yield from _send(Request("GET", "instances", query, headers))
        if answer.status != 200:
            refuse(answer)
        # Durable Functions sends an empty token with the last page.
        return InstancePage([read_status(body) for body in answer.json()], answer.headers.get(_CONTINUATION_TOKEN) or None)

    def get_status_by(
        self,
        created_time_from: datetime | None,
        created_time_to: datetime | None,
        runtime_status: Sequence[OrchestrationRuntimeStatus] | None,
        instance_id_prefix: str | None,
        names: Sequence[str],
    ) -> Operation[list[DurableOrchestrationStatus]]:
        """GET instances, all pages."""
        found: list[DurableOrchestrationStatus] = []
        token: str | None = None
        filters = created_time_from, created_time_to, runtime_status, instance_id_prefix, names
        while True:
            page = yield from self.list_page(*filters, _LARGEST_PAGE, token, False)
            found += page.instances
            token = page.continuation_token
            if token is None:
                return found

    def wait_for_completion(
        self, instance_id: str, timeout: float | timedelta | None, show_input: bool
    ) -> Operation[DurableOrchestrationStatus]:
        """GET instances/{id} again and again: soon at first, then ever later, but no later than the host's ``Retry-After``."""
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        deadline = None if seconds is None else time.monotonic() + seconds
        pause = _FIRST_PAUSE
        while True:
            answer = yield from self._ask_status(instance_id, False, False, show_input)
            if answer.knows_nothing:
                refuse(answer, instance_id)
            status = read_status(answer.json())
            if status.is_terminal:
                return status
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError(f"instance '{instance_id}' has not ended after {seconds} s; it goes on")
            yield Pause(pause if left is None else min(pause, left))
            pause = min(pause * 2, answer.retry_after or _LONGEST_PAUSE)

    def raise_event(self, instance_id: str, event_name: str, event_data: Any) -> Operation[None]:
        """POST instances/{id}/raiseEvent/{name}."""
        body = self._json(event_data, "payload of event", event_name) or b"null"
        request = Request("POST", _instance(instance_id, "raiseEvent", event_name), headers=_JSON_BODY, body=body)
        answer = yield from _send(request)
        if answer.status != 202:
            refuse(answer, instance_id)

    def steer(self, verb: str, instance_id: str, reason: str | None, *, recursive: bool = False) -> Operation[None]:
        """POST instances/{id}/{terminate, suspend, resume or rewind}."""
        query = _query(reason=reason, recursive=True if recursive else None)
        answer = yield from _send(Request("POST", _instance(instance_id, verb), query))
        ended_anyway = verb == "terminate" and answer.status == 410
        if answer.status not in (200, 202) and not ended_anyway:
            refuse(answer, instance_id)

    def purge_instance_history(self, instance_id: str) -> Operation[PurgeHistoryResult]:
        """DELETE instances/{id}."""
        answer = yield from _send(Request("DELETE", _instance(instance_id)))
        return _purged(answer, instance_id)

    def purge_instance_history_by(
        self,
        created_time_from: datetime | None,
        created_time_to: datetime | None,
        runtime_status: Sequence[OrchestrationRuntimeStatus] | None,
    ) -> Operation[PurgeHistoryResult]:
        """DELETE instances."""
        if runtime_status is not None and not runtime_status:
            return PurgeHistoryResult(0)
        # The API insists on a beginning.
        since = created_time_from or datetime.min.replace(tzinfo=UTC)
        query = _query(createdTimeFrom=since, createdTimeTo=created_time_to, runtimeStatus=runtime_status)
        return _purged((yield from _send(Request("DELETE", "instances", query))), None)

    def signal_entity(self, entity: EntityId | str, operation_name: str, operation_input: Any) -> Operation[None]:
        """POST entities/{name}/{key}."""
        target = entity_id(entity)
        body = self._json(operation_input, "input of entity operation", f"{target}.{operation_name}")
        answer = yield from _send(Request("POST", _entity(target), _query(op=operation_name), _JSON_BODY, body))
        if answer.status != 202:
            refuse(answer)

    def read_entity_state(self, entity: EntityId | str, expected_type: Any) -> Operation[EntityStateResponse]:
        """GET entities/{name}/{key}."""
        target = entity_id(entity)
        answer = yield from _send(Request("GET", _entity(target)))
        if answer.knows_nothing:
            return EntityStateResponse(False, None)
        if answer.status != 200:
            refuse(answer)
        text = answer.body.decode(errors="replace")
        return EntityStateResponse(True, self._converter.decode(text, expected_type, "state of entity", target.name))

    def list_entities(
        self,
        name: str | None,
        last_operation_from: datetime | None,
        last_operation_to: datetime | None,
        fetch_state: bool,
        page_size: int,
        continuation_token: str | None,
    ) -> Operation[EntityPage]:
        """GET entities[/{name}]."""
        path = "entities" if name is None else f"entities/{_quoted(name)}"
        query = _query(
            lastOperationTimeFrom=last_operation_from,
            lastOperationTimeTo=last_operation_to,
            fetchState=fetch_state,
            top=str(page_size),
        )
        headers = {} if continuation_token is None else {_CONTINUATION_TOKEN: continuation_token}
        answer = yield from _send(Request("GET", path, query, headers))
        if answer.status != 200:
            refuse(answer)
        return EntityPage([read_entity(body) for body in answer.json()], answer.headers.get(_CONTINUATION_TOKEN) or None)

    def _ask_status(self, instance_id: str, show_history: bool, show_history_output: bool, show_input: bool) -> Operation[Answer]:
        query = _query(showHistory=show_history, showHistoryOutput=show_history_output, showInput=show_input)
        answer = yield from _send(Request("GET", _instance(instance_id), query))
        if answer.status not in (200, 202) and not answer.knows_nothing:
            refuse(answer, instance_id)
        return answer

    def _json(self, value: Any, what: str, name: str) -> bytes | None:
        text = self._converter.encode(value, what, name)
        return None if text is None else text.encode()


_JSON_BODY = {"content-type": "application/json"}


def _send(request: Request) -> Operation[Answer]:
    answer = yield request
    assert answer is not None
    return answer


def _started(answer: Answer) -> str:
    if answer.status not in (200, 202):
        refuse(answer)
    body = answer.json()
    if not isinstance(body, dict) or not isinstance(started := body.get("id"), str):  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        raise HostAnswerError("the host's answer has no id of a started instance. Is its address right?")
    return started


def _purged(answer: Answer, instance_id: str | None) -> PurgeHistoryResult:
    if answer.knows_nothing:
        return PurgeHistoryResult(0)
    if answer.status != 200:
        refuse(answer, instance_id)
    return PurgeHistoryResult(answer.json()["instancesDeleted"])


def _instance(instance_id: str, *rest: str) -> str:
    return "/".join(("instances", *(_quoted(part) for part in (instance_id, *rest))))


def _entity(entity: EntityId) -> str:
    if entity.key == _EMPTY_KEY:
        raise InvalidEntityIdError(f"the key {_EMPTY_KEY!r} can't be used over HTTP, where it stands for the empty key")
    return f"entities/{_quoted(entity.name)}/{_quoted(entity.key or _EMPTY_KEY)}"


def _quoted(segment: str) -> str:
    # A segment of dots alone would be taken for a step in the path.
    return quote(segment, safe="").replace(".", "%2E") if segment in (".", "..") else quote(segment, safe="")


def _query(**values: str | bool | datetime | Sequence[str] | None) -> dict[str, str]:
    return {name: _text(value) for name, value in values.items() if value is not None and (value or value is False)}


def _text(value: str | bool | datetime | Sequence[str]) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return value
        case datetime():
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat().replace("+00:00", "Z")
        case _:
            return ",".join(str(part) for part in value)
