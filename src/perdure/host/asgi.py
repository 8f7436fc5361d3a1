"""``perdure.asgi``: a function app inside of your own ASGI service, FastAPI's or Starlette's for example."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.types import Receive, Scope, Send

from perdure.engine.errors import EngineStoppedError
from perdure.host.application import Application
from perdure.host.durable_http import TokenSource
from perdure.host.keys import load_or_create_keys
from perdure.host.loading import loaded_from
from perdure.host.model import LoadedApp
from perdure.host.settings import HostSettings
from perdure.hub import TaskHub
from perdure.store.contract import HubStore


class DurableAsgi:
    """The ASGI app. It opens its hub in its lifespan, in ``perdure.lifespan``, or else when the first request comes."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._opening: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def hub(self) -> TaskHub:
        """The hub, whose ``client`` starts and steers orchestrations from the code around."""
        return self._application.hub

    @property
    def grpc_address(self) -> str | None:
        """Where the Durable Task SDKs are served, if the settings say ``grpc=True`` and once the app is open."""
        return self._application.grpc_address

    async def open(self) -> None:
        """Returns once requests can be answered; opening twice opens once.

        Raises:
            HubInUseError, StoreUnavailableError, SchemaTooNewError: the hub can't be opened. The next call tries again.
            EngineStoppedError: it was closed.
        """
        if self._closed:
            raise EngineStoppedError("this ASGI app was closed; make another with perdure.asgi(...)")
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._application.start())
        opening = self._opening
        try:
            await asyncio.shield(opening)
        except Exception:
            if self._opening is opening:
                self._opening = None
            raise

    async def close(self) -> None:
        """Drains, as ``TaskHub.close`` does."""
        self._closed = True
        if self._opening is not None:
            await asyncio.gather(self._opening, return_exceptions=True)
            await self._application.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or follows the server's lifespan."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if self._opening is None or not self._opening.done():
            await self.open()
        await self._application.asgi(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.open()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})


def asgi(
    app: Any,
    store: str | HubStore = "sqlite:///.perdure/hub.db",
    *,
    management: bool = True,
    keys_file: str | Path | None = ".perdure/keys.json",
    base_url: str | None = None,
    settings: HostSettings | None = None,
    token_source: TokenSource | None = None,
) -> DurableAsgi:
    """Makes an ASGI app of a function app: its triggers, and the durable management API.

    Guaranteed: the same answers as from ``perdure start``, below wherever it is mounted. A mounted app's lifespan is not run by
    Starlette and FastAPI: pass ``perdure.lifespan(durable)`` to the outer app, so that timers run from the start and the end is
    drained. Without it the hub opens with the first request; nothing acknowledged is ever lost.

    Args:
        app: a ``DFApp`` (Perdure's, or azure-functions-durable's), or what ``load_app`` gives.
        store: where the hub is kept: a URL, or a store.
        management: whether ``/runtime/webhooks/durabletask`` is served.
        keys_file: file with the keys that callers need, made where there is none. ``None`` asks for no keys: only where the
            outer app lets nobody in whom it doesn't know.
        base_url: how callers reach this app, for the URLs in what timers and queues hand out; requests tell by themselves.
        settings: everything else.
        token_source: gives ``call_http`` its tokens.

    Returns:
        The ASGI app. Its ``hub`` is the ``TaskHub``, for the code around.

    Raises:
        PerdureError: something in the app or the settings can't be used; the message names it.
    """
    loaded = app if isinstance(app, LoadedApp) else loaded_from(app)
    settings = settings or HostSettings(folder=loaded.folder)
    if isinstance(store, str):
        settings = replace(settings, store=store)
    application = Application(
        loaded,
        settings,
        keys=None if keys_file is None else load_or_create_keys(Path(keys_file)),
        store=None if isinstance(store, str) else store,
        management=management,
        token_source=token_source,
    )
    if base_url is not None:
        application.base_url = base_url.rstrip("/")
    return DurableAsgi(application)


def lifespan(*apps: DurableAsgi) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """Opens mounted apps when the outer app starts, and drains them when it ends.

    ::

        durable = perdure.asgi(app)
        service = FastAPI(lifespan=perdure.lifespan(durable))
        service.mount("/durable", durable)
    """

    @asynccontextmanager
    async def run(outer: object) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            for app in apps:
                await app.open()
                stack.push_async_callback(app.close)
            yield

    return run
