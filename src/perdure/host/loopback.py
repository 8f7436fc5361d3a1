"""A listener for clients in the app's own process: on this machine only, on a port and path that nobody else knows."""

import asyncio
import contextlib
import secrets
import socket
import ssl
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp

from perdure.host.corked import CorkedProtocol
from perdure.protocol.settings import TlsFiles


class QuietServer(uvicorn.Server):
    """Uvicorn's server without its own signal handlers and log: when to end is the host's business."""

    def __init__(self, app: ASGIApp, *, grace: float, tls: TlsFiles | None = None) -> None:
        """``grace``: seconds for open requests once it has to end."""
        config = uvicorn.Config(
            app,
            http=CorkedProtocol,
            interface="asgi3",
            lifespan="off",
            log_level="warning",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=max(1, round(grace)),
            ssl_certfile=None if tls is None else tls.certificate,
            ssl_keyfile=None if tls is None else tls.key,
            ssl_ca_certs=None if tls is None or tls.client_ca is None else str(tls.client_ca),
            ssl_cert_reqs=ssl.CERT_NONE if tls is None or tls.client_ca is None else ssl.CERT_REQUIRED,
        )
        super().__init__(config)
        self._listening = asyncio.Event()

    async def begin(self, listener: socket.socket) -> asyncio.Task[None]:
        """Returns once it answers. The task ends when ``should_exit`` was set and the open requests are done."""
        loop = asyncio.get_running_loop()
        serving = loop.create_task(self.serve([listener]))
        listening = loop.create_task(self._listening.wait())
        await asyncio.wait((serving, listening), return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        return serving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See ``uvicorn.Server``."""
        await super().startup(sockets)
        self._listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Captures none."""
        yield


class LoopbackListener:
    """Serves an ASGI app on ``127.0.0.1`` as long as it is started."""

    def __init__(self) -> None:
        self.path = f"/{secrets.token_urlsafe(24)}"
        """Where the app has to be mounted. It is a secret, which keeps other users of this machine out."""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._server: QuietServer | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def base_url(self) -> str:
        """Of the app, with a slash at the end."""
        return f"http://127.0.0.1:{self._port}{self.path}/"

    async def start(self, app: ASGIApp) -> None:
        """Begins to answer."""
        self._port = self._socket.getsockname()[1]
        self._server = QuietServer(app, grace=1)
        self._serving = await self._server.begin(self._socket)

    async def stop(self) -> None:
        """Ends."""
        if self._server is None or self._serving is None:
            self._socket.close()
            return
        self._server.should_exit = True
        await self._serving
