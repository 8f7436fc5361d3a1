"""The durable management API as an ASGI app: lets callers in, finds the route, turns errors into answers."""

import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from perdure.client.links import DEFAULT_CONNECTION, WEBHOOKS_PATH, ManagementLinks
from perdure.client.local import DurableClient
from perdure.host.keys import HostKeys
from perdure.host.management.errors import BAD_ARGUMENTS, RequestRefusedError, error_response, not_found
from perdure.host.management.openapi import openapi_document
from perdure.host.management.orchestrations import OrchestrationRoutes
from perdure.host.management.payloads import json_response
from perdure.host.management.requests import ManagementRequest
from perdure.host.management.routes_entities import EntityRoutes
from perdure.host.management.tokens import ContinuationTokens

LOOPBACK_PATH = "/durabletask"
_log = logging.getLogger("perdure.host")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagementOptions:
    """What an operator can choose for the management API."""

    forwarded_headers: bool = False
    """Believe ``Forwarded`` and ``X-Forwarded-Host``/``-Proto``. Only behind a proxy that sets them itself."""
    max_body_bytes: int = 16 * 1024 * 1024
    """The largest request body. The hub's own bound on payloads holds too."""
    show_traces: bool = False
    """Give stack traces to callers."""


_DEFAULTS = ManagementOptions()


def management_api(
    client: DurableClient,
    keys: HostKeys | None,
    hub_name: str,
    *,
    options: ManagementOptions = _DEFAULTS,
) -> "ManagementApi":
    """The API for where ``root_path`` ends with ``/runtime/webhooks/durabletask``; ``keys=None`` lets everybody in."""

    def links(request: ManagementRequest) -> ManagementLinks:
        return ManagementLinks(request.base_url, hub_name, DEFAULT_CONNECTION, keys.durable_task_key if keys else None)

    def admit(request: ManagementRequest, scope: Scope) -> None:
        if keys is not None and not keys.opens_management(request.text("code") or request.headers.get("x-functions-key")):
            raise RequestRefusedError(
                401, "Unauthorized", "the key is missing or wrong: give it as ?code=KEY or in the header x-functions-key"
            )

    secret = keys.durable_task_key if keys else ""
    return ManagementApi(client, hub_name, secret, options, links, admit)


def management_routes(
    client: DurableClient,
    keys: HostKeys | None,
    hub_name: str,
    *,
    options: ManagementOptions = _DEFAULTS,
) -> list[BaseRoute]:
    """The API under ``/runtime/webhooks/durabletask``, in any case; ``keys=None`` lets everybody in."""
    return [any_case_mount(WEBHOOKS_PATH, management_api(client, keys, hub_name, options=options))]


def loopback_routes(
    client: DurableClient,
    hub_name: str,
    links: ManagementLinks,
    *,
    options: ManagementOptions = _DEFAULTS,
    path: str = LOOPBACK_PATH,
) -> list[BaseRoute]:
    """The same API for SDK clients in app code on this machine, which send no key; ``rpcBaseUrl`` is its URL with a slash.

    It answers only peers on the loopback interface that address it by a loopback name, which keeps out other machines as
    well as web pages whose name leads to this one. URLs in its answers are those of ``links``, which others can use too.
    """

    def admit(request: ManagementRequest, scope: Scope) -> None:
        peer = scope.get("client")
        host = re.sub(r":\d+$", "", request.headers.get("host", "")).strip("[]")
        if not (peer and _is_loopback(peer[0]) and _is_loopback(host)):
            raise RequestRefusedError(403, "Forbidden", "this address is for programs on the host's own machine")

    return [any_case_mount(path, ManagementApi(client, hub_name, links.code or "", options, lambda _: links, admit))]


class _Admit(Protocol):
    def __call__(self, request: ManagementRequest, scope: Scope, /) -> None: ...


async def serve(
    scope: Scope,
    receive: Receive,
    send: Send,
    options: ManagementOptions,
    admit: _Admit,
    respond: Callable[[ManagementRequest], Awaitable[Response]],
) -> None:
    """Answers a request of somebody who is let in with what ``respond`` says, and what goes wrong with a status for it."""
    try:
        request = ManagementRequest(
            scope, receive, max_body_bytes=options.max_body_bytes, forwarded_headers=options.forwarded_headers
        )
        admit(request, scope)
        response = await respond(request)
    except ClientDisconnect:
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
        response = error_response(error, show_trace=options.show_traces)
        if response.status_code == 500:
            _log.exception("%s %s failed", scope["method"], scope["path"])
    await response(scope, receive, send)


class ManagementApi:
    """Answers every request, whatever it holds: with a status below 500 unless the hub itself has failed."""

    def __init__(
        self,
        client: DurableClient,
        hub_name: str,
        secret: str,
        options: ManagementOptions,
        links: Callable[[ManagementRequest], ManagementLinks],
        admit: _Admit,
    ) -> None:
        tokens = ContinuationTokens(secret, hub_name)
        self._orchestrations = OrchestrationRoutes(client, tokens)
        self._entities = EntityRoutes(client, tokens)
        self._hub_name = hub_name
        self._options = options
        self._links = links
        self._admit = admit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        await serve(scope, receive, send, self._options, self._admit, self.respond)

    async def respond(self, request: ManagementRequest) -> Response:
        """The answer to a request that is let in.

        Raises:
            Exception: see ``error_response``.
        """
        self._check_hub(request)
        return await self._route(request)

    def _check_hub(self, request: ManagementRequest) -> None:
        hub = request.text("taskHub")
        # Serving it from this hub instead would start, end or delete what the caller doesn't mean.
        if hub is not None and hub.strip().lower() != self._hub_name.lower():
            raise RequestRefusedError(400, BAD_ARGUMENTS, f"this host serves task hub '{self._hub_name}', not '{hub[:80]}'")

    async def _route(self, request: ManagementRequest) -> Response:
        orchestrations = self._orchestrations
        given = request.segments
        match request.method, *request.words:
            case "POST", "orchestrators", _:
                return await orchestrations.start(request, self._links(request), given[1], None)
            case "POST", "orchestrators", _, _:
                return await orchestrations.start(request, self._links(request), given[1], given[2])
            case "GET", "instances":
                return await orchestrations.list(request)
            case "DELETE", "instances":
                return await orchestrations.purge_many(request)
            case "GET", "instances", _:
                return await orchestrations.status(request, given[1])
            case "DELETE", "instances", _:
                return await orchestrations.purge(given[1])
            case "POST", "instances", _, "raiseevent", _:
                return await orchestrations.raise_event(request, given[1], given[3])
            case "POST", "instances", _, "terminate":
                return await orchestrations.terminate(request, given[1])
            case "POST", "instances", _, "suspend":
                return await orchestrations.suspend(request, given[1])
            case "POST", "instances", _, "resume":
                return await orchestrations.resume(request, given[1])
            case "POST", "instances", _, "rewind":
                return await orchestrations.rewind(request, given[1])
            case "POST", "instances", _, "restart":
                return await orchestrations.restart(request, self._links(request), given[1])
            case _:
                return await self._route_rest(request)

    async def _route_rest(self, request: ManagementRequest) -> Response:
        entities = self._entities
        given = request.segments
        match request.method, *request.words:
            case "GET", "entities":
                return await entities.list(request, None)
            case "GET", "entities", _:
                return await entities.list(request, given[1])
            case "GET", "entities", _, _:
                return await entities.read(given[1], given[2])
            case "POST", "entities", _, _:
                return await entities.signal(request, given[1], given[2])
            case "DELETE", "entities", _, _:
                return await entities.delete(given[1], given[2])
            case _, "makeprimary":
                # Whoever answers owns the hub already: there is no second app to take it from.
                return Response(status_code=200)
            case "GET", "openapi.json":
                return json_response(200, openapi_document(request.base_url, self._hub_name))
            case _:
                raise not_found(request.method, request.raw_path[:200])


def any_case_mount(path: str, app: ASGIApp) -> Mount:
    """Mounts the app at the path in any case."""
    mount = Mount(path, app)
    # DOTALL, because a path may hold an encoded line break.
    mount.path_regex = re.compile(mount.path_regex.pattern, re.IGNORECASE | re.DOTALL)
    return mount


def _is_loopback(host: str) -> bool:
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
