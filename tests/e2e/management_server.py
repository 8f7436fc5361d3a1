"""A hub and its management API behind a real server on loopback, on a thread of its own."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

import uvicorn
from starlette.applications import Starlette

import perdure as df
from perdure.client.links import DEFAULT_CONNECTION, WEBHOOKS_PATH, ManagementLinks
from perdure.host.management import LOOPBACK_PATH, loopback_routes, management_routes
from perdure.store.contract import HubStore
from tests.unit.management_harness import HUB, KEYS, app

T = TypeVar("T")


class ManagementServer:
    """Listens on a free port while it is entered. ``run`` runs a coroutine where the hub lives."""

    def __init__(self, store: str | HubStore = "memory://") -> None:
        self.hub = df.TaskHub(app, store)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="management-server")
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.url = ""

    @property
    def links(self) -> ManagementLinks:
        return ManagementLinks(f"{self.url}{WEBHOOKS_PATH}", HUB, DEFAULT_CONNECTION, KEYS.durable_task_key)

    @property
    def rpc_base_url(self) -> str:
        return f"{self.url}{LOOPBACK_PATH}/"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def __enter__(self) -> "ManagementServer":
        self._thread.start()
        self.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        await self.hub.start()
        outer = Starlette()
        config = uvicorn.Config(outer, host="127.0.0.1", port=0, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        listener = config.bind_socket()
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        outer.router.routes.extend(management_routes(self.hub.client, KEYS, HUB))
        outer.router.routes.extend(loopback_routes(self.hub.client, HUB, self.links))
        self._server = uvicorn.Server(config)
        # Away from the main thread it leaves the signals alone.
        self._serving = asyncio.get_running_loop().create_task(self._server.serve([listener]))
        while not self._server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)

    async def _stop(self) -> None:
        assert self._server is not None
        assert self._serving is not None
        self._server.should_exit = True
        await self._serving
        await self.hub.close()


@contextlib.contextmanager
def serving(store: str | HubStore = "memory://") -> Generator[ManagementServer]:
    with ManagementServer(store) as server:
        yield server
