"""The gRPC server: opens hubs for whoever calls, from its first to its last call."""

import asyncio
import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from perdure.protocol import entities, histories, instances, lists, purging, task_hubs, workers
from perdure.protocol.access import check_reach, credentials
from perdure.protocol.errors import ServerSettingsError
from perdure.protocol.http2.server import Http2Server
from perdure.protocol.hubs import TaskHubs
from perdure.protocol.service import Service, Streaming, Unary
from perdure.protocol.settings import ProtocolSettings

_log = logging.getLogger("perdure.protocol")

_UNARY: Mapping[str, Unary] = {
    **instances.UNARY,
    **lists.UNARY,
    **purging.UNARY,
    **entities.UNARY,
    **task_hubs.UNARY,
    **workers.UNARY,
}
_STREAMING: Mapping[str, Streaming] = {**histories.STREAMING, **workers.STREAMING}


class ProtocolServer:
    """Serves the hubs between ``start`` and ``stop``."""

    def __init__(self, hubs: TaskHubs, settings: ProtocolSettings) -> None:
        """Checks everything that can be checked before anything runs.

        Raises:
            ServerSettingsError: it would serve the public without authentication, or a TLS file can't be used.
        """
        check_reach(settings)
        self._hubs = hubs
        self._settings = settings
        self._tls = None if settings.tls is None else credentials(settings.tls)
        self._server: Http2Server | None = None
        self._service: Service | None = None
        self.port = 0
        """Where it listens, once it has started."""

    @property
    def address(self) -> str:
        """What clients take as the host address."""
        host = self._settings.host
        return f"{f'[{host}]' if ':' in host else host}:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    @property
    def max_message_bytes(self) -> int:
        """The largest message that is taken or sent."""
        return self._settings.max_message_bytes

    async def start(self) -> None:
        """Returns once calls are answered.

        Raises:
            ServerSettingsError: it can't listen there.
        """
        settings = self._settings
        service = self._service = Service(self._hubs, settings, unary=_UNARY, immediate=workers.IMMEDIATE, streaming=_STREAMING)
        server = Http2Server(
            service.handlers(),
            max_message=settings.max_message_bytes,
            max_calls=settings.max_concurrent_calls,
            tls=self._tls,
        )
        self.port = settings.port
        try:
            self.port = await server.start(settings.host, settings.port)
        except OSError as error:
            raise ServerSettingsError(
                f"the gRPC server can't listen on {self.address}: {error}. Take another port if something else is "
                "there, and an address of this machine."
            ) from None
        self._server = server

    async def stop(self) -> None:
        """Closes the hubs, whose workers may still answer meanwhile, then ends all calls. Stopping twice does nothing.

        A hub that stays open loses the workers that have come through this server: what they have is offered again.
        """
        server, self._server = self._server, None
        if server is None or self._service is None:
            return
        await asyncio.shield(self._hubs.close())
        await server.say_goodbye()
        self._service.let_workers_go()
        await server.stop(self._settings.drain_grace)
