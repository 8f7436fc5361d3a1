"""The management API of ``perdure serve``: the hubs that gRPC serves, for those whom gRPC lets in."""

import asyncio

from starlette.applications import Starlette

from perdure.client.links import WEBHOOKS_PATH
from perdure.host.listening import listen_on, url_of
from perdure.host.loopback import QuietServer
from perdure.host.management.api import ManagementOptions
from perdure.host.management.callers import Callers
from perdure.host.management.many_hubs import FoundHub, many_hubs_routes
from perdure.protocol.hubs import StoredHubs
from perdure.protocol.settings import ProtocolSettings


class ManagementServer:
    """Answers requests between ``start`` and ``stop``."""

    def __init__(self, hubs: StoredHubs, settings: ProtocolSettings, port: int) -> None:
        """``settings``: those of the gRPC server, whose address, TLS and tokens hold here too."""
        self._hubs = hubs
        self._settings = settings
        self._port = port
        self._server: QuietServer | None = None
        self._serving: asyncio.Task[None] | None = None
        self.url = ""
        """Of the API, once it has started."""

    async def start(self) -> None:
        """Returns once requests are answered.

        Raises:
            AddressInUseError: it can't listen there.
        """
        settings = self._settings
        tls = settings.tls
        callers = Callers(settings.tokens, certified=tls is not None and tls.client_ca is not None)
        options = ManagementOptions(max_body_bytes=settings.max_message_bytes)
        listener = listen_on(settings.host, self._port, flag="--http-port")
        self.url = url_of(settings.host, listener, scheme="http" if tls is None else "https") + WEBHOOKS_PATH
        app = Starlette(routes=many_hubs_routes(self._find, callers, options=options))
        self._server = QuietServer(app, grace=settings.drain_grace.total_seconds(), tls=tls)
        self._serving = await self._server.begin(listener)

    async def stop(self) -> None:
        """Lets open requests end, for as long as the settings say."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving

    async def _find(self, name: str | None) -> FoundHub:
        served = await self._hubs.find(name)
        return FoundHub(served.name, served.hub.client)
