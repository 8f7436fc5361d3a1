"""What operators and their tools ask a host about itself: ``/admin/...``."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from perdure.engine.errors import EngineStoppedError
from perdure.host.keys import HostKeys
from perdure.hub import TaskHub
from perdure.store.errors import StoreUnavailableError

_Body = dict[str, Any]


class Admin:
    """Answers with the master key only, but for ``/`` and ``/admin/host/ping``, which tell nothing but that the host lives."""

    def __init__(self, hub: TaskHub, keys: HostKeys | None, hub_name: str, functions: int) -> None:
        """``keys``: ``None`` lets everybody in. ``functions``: how many have triggers."""
        self._hub = hub
        self._keys = keys
        self._hub_name = hub_name
        self._functions = functions
        self._started_at = time.monotonic()

    def routes(self) -> list[Route]:
        """All of it."""
        return [
            Route("/", self._root),
            Route("/admin/host/ping", self._ping),
            Route("/admin/host/status", self._guarded(self._status)),
            Route("/admin/scale", self._guarded(self._scale)),
        ]

    async def _root(self, request: Request) -> Response:
        return PlainTextResponse("This functions host is up and running (Perdure).\n")

    async def _ping(self, request: Request) -> Response:
        return Response()

    def _guarded(self, body: Callable[[], Awaitable[_Body]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            key = request.headers.get("x-functions-key") or request.query_params.get("code")
            if self._keys is not None and not self._keys.opens_route("admin", key):
                return Response(status_code=401)
            try:
                return Response(msgspec.json.encode(await body()), media_type="application/json")
            except (StoreUnavailableError, EngineStoppedError) as error:
                return PlainTextResponse(f"{error}\n", 503)

        return answer

    async def _status(self) -> _Body:
        from importlib.metadata import version  # slow to import, and asked for by few

        return {
            "id": self._hub_name,
            "state": "Running",
            "version": version("perdure"),
            "processUptime": round((time.monotonic() - self._started_at) * 1000),
            "functions": self._functions,
            "runningActivities": self._hub.running_activities,
        }

    async def _scale(self) -> _Body:
        load = await self._hub.load()
        return {
            "backlogMessages": load.messages,
            "backlogActivities": load.activities,
            "oldestAgeSeconds": load.oldest_age_us / 1e6,
            "processes": load.processes,
            "runningActivities": load.running,
            "capacity": load.capacity,
            "recommendedProcesses": load.recommended_processes,
        }
