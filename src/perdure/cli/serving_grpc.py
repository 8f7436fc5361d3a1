"""Runs the gRPC server, and the management API beside it, in this process.

Needs the packages of the extra ``grpc``, so that it is imported on use only.
"""

import asyncio
import logging
from collections.abc import Callable

from perdure.cli import garbage
from perdure.cli.printing import tell
from perdure.cli.serving_http import ManagementServer
from perdure.cli.store_urls import without_password
from perdure.engine.errors import EngineStoppedError
from perdure.engine.settings import EngineSettings, RemoteSettings
from perdure.host.signals import on_signals
from perdure.hub import TaskHub
from perdure.observability import LoggingHooks
from perdure.protocol.hubs import StoredHubs
from perdure.protocol.nothing import NothingHere
from perdure.protocol.server import ProtocolServer
from perdure.protocol.settings import ProtocolSettings
from perdure.store.contract import HubStore


async def run(store: str, settings: ProtocolSettings, log_level: str, *, http_port: int | None) -> None:
    """Serves until SIGINT or SIGTERM, or until a hub has to give up.

    Raises:
        ServerSettingsError, AddressInUseError, StoreError: it can't serve as it is told.
        EngineStoppedError: a hub had to give up, so that another process has to go on.
    """
    logging.basicConfig(level=log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = asyncio.Event()
    failures: list[BaseException] = []

    def hub_stopped(error: BaseException) -> None:
        failures.append(error)
        stop.set()

    engine = EngineSettings(
        remote=RemoteSettings(),
        max_payload_bytes=settings.max_message_bytes,  # one limit is enough to think of
        drain_grace=settings.drain_grace,
    )

    def make(store: HubStore) -> TaskHub:
        return TaskHub(NothingHere(), store, settings=engine, hooks=_Hooks(hub_stopped))

    hubs = StoredHubs(store, make, max_open=settings.max_hubs)
    server = ProtocolServer(hubs, settings)
    management = None if http_port is None else ManagementServer(hubs, settings, http_port)
    await hubs.get(None)  # a store that can't be opened is told now, not to the first caller
    try:
        await server.start()
        with on_signals(stop.set):  # of which a second one ends the process at once
            if management is not None:
                await management.start()
                tell(f"Management API on {management.url}")
            place = without_password(store)
            garbage.collect_seldom()
            tell(f"Durable Task protocol (gRPC) on {server.address}; task hub 'default' in {place}. Ctrl-C ends it.")
            await stop.wait()
        if hubs.work_at_workers:
            grace = settings.drain_grace.total_seconds()
            tell(
                f"draining: {hubs.work_at_workers} work items at workers get up to {grace:g} s to end; what isn't done then is "
                "offered again at the next start. Ctrl-C again ends now."
            )
    finally:
        if management is not None:
            await management.stop()
        await server.stop()
        await hubs.close()
    if failures:
        raise EngineStoppedError(f"the server has ended because a hub has stopped: {failures[0]}") from failures[0]


class _Hooks(LoggingHooks):
    def __init__(self, stopped: Callable[[BaseException], None]) -> None:
        self._stopped = stopped

    def stopped(self, error: BaseException) -> None:
        super().stopped(error)
        self._stopped(error)
