"""The management API for all hubs of a server: each request says with ``taskHub`` which one it is for."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from perdure.client.links import DEFAULT_CONNECTION, WEBHOOKS_PATH, ManagementLinks
from perdure.client.local import DurableClient
from perdure.host.management.api import ManagementApi, ManagementOptions, any_case_mount, serve
from perdure.host.management.callers import Callers
from perdure.host.management.requests import ManagementRequest

_log = logging.getLogger("perdure.host")


@dataclass(frozen=True, slots=True)
class FoundHub:
    """An open hub, and the name by which callers ask for it."""

    name: str
    client: DurableClient


Find = Callable[[str | None], Awaitable[FoundHub]]
"""Gives the hub of a name, or the default one; raises a ``PerdureError`` if there is none."""


def many_hubs_routes(find: Find, callers: Callers, *, options: ManagementOptions) -> list[BaseRoute]:
    """The API under ``/runtime/webhooks/durabletask``, in any case, for those whom ``callers`` lets in."""
    return [any_case_mount(WEBHOOKS_PATH, ManyHubsApi(find, callers, options))]


class ManyHubsApi:
    """Finds the hub of each request; strangers are turned away before that."""

    def __init__(self, find: Find, callers: Callers, options: ManagementOptions) -> None:
        self._find = find
        self._callers = callers
        self._options = options
        self._apis: dict[str, tuple[DurableClient, ManagementApi]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        await serve(scope, receive, send, self._options, self._callers.admit, self._respond)

    async def _respond(self, request: ManagementRequest) -> Response:
        name = request.text("taskHub")
        api = self._api(await self._find(None if name is None else name.strip()))
        return await api.respond(request)

    def _api(self, hub: FoundHub) -> ManagementApi:
        known = self._apis.get(hub.name)
        # A hub that was deleted and made again has another client.
        if known is not None and known[0] is hub.client:
            return known[1]

        def links(request: ManagementRequest) -> ManagementLinks:
            return ManagementLinks(request.base_url, hub.name, DEFAULT_CONNECTION, self._callers.shown(request))

        api = ManagementApi(hub.client, hub.name, self._callers.secret, self._options, links, self._callers.admit)
        self._apis[hub.name] = hub.client, api
        return api
