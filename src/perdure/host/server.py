"""``FunctionsHost``: an app served on a port, from start to drained end."""

import logging
import socket
from collections.abc import Callable

from perdure.engine.errors import EngineStoppedError
from perdure.host.application import Application
from perdure.host.durable_http import TokenSource
from perdure.host.keys import load_or_create_keys
from perdure.host.listening import base_url, listen
from perdure.host.loopback import QuietServer
from perdure.host.model import LoadedApp
from perdure.host.settings import HostSettings
from perdure.host.signals import on_signals

_log = logging.getLogger("perdure.host")


class FunctionsHost:
    """Serves one app. Its keys are made on first start."""

    def __init__(self, loaded: LoadedApp, settings: HostSettings, *, token_source: TokenSource | None = None) -> None:
        """Checks everything that can be checked before anything runs.

        Raises:
            KeysFileError: the keys file can't be used.
            PerdureError: as ``Application`` does.
        """
        self._settings = settings
        self._application = Application(
            loaded,
            settings,
            keys=load_or_create_keys(settings.keys_file),
            token_source=token_source,
            hub_stopped=self._hub_stopped,
        )
        self._failure: BaseException | None = None
        self._server: QuietServer | None = None
        self._stopping = False

    @property
    def grpc_address(self) -> str | None:
        """Where it serves the Durable Task protocol, if it does and once it has started."""
        return self._application.grpc_address

    async def serve(self, *, listening: Callable[[str], None] | None = None, listener: socket.socket | None = None) -> None:
        """Serves until SIGINT, SIGTERM or ``stop``, then drains; a second signal ends open requests and activities at once.

        ``listening`` is called with the host's URL, once requests are answered. A ``listener`` may be shared with other
        processes; by default there is a new one, where the settings say.

        Raises:
            AddressInUseError: the port is taken, or the address isn't this machine's.
            ServerSettingsError: the same for gRPC.
            HubInUseError, StoreUnavailableError, SchemaTooNewError: the hub can't be opened.
            EngineStoppedError: the hub had to give up while it was serving, so that another process has to go on.
        """
        listener = listener or listen(self._settings)
        try:
            self._application.base_url = base_url(self._settings, listener)
            self._server = QuietServer(self._application.asgi, grace=self._settings.drain_grace.total_seconds())
            with on_signals(self.stop):
                await self._application.start()
                try:
                    await self._serve(self._server, listener, listening)
                finally:
                    await self._application.stop()
        finally:
            listener.close()
        if self._failure is not None:
            raise EngineStoppedError(f"the host has ended because its hub has stopped: {self._failure}") from self._failure

    def _hub_stopped(self, error: BaseException) -> None:
        self._failure = error
        self.stop()

    def stop(self) -> None:
        """Begins to drain; called again, it no longer waits for open requests and running activities."""
        if self._server is not None:
            self._server.force_exit = self._stopping
            self._server.should_exit = True
        hub = self._application.hub
        running, at_workers = hub.running_activities, hub.work_at_workers
        if self._stopping:
            hub.hurry()
        elif running or at_workers:
            grace = self._settings.drain_grace.total_seconds()
            _log.warning(
                "draining: %d running activities%s get up to %g s to end; what is stopped then is done again at the next start. "
                "Ctrl-C again ends now.",
                running,
                f" and {at_workers} work items at workers" if at_workers else "",
                grace,
            )
        self._stopping = True

    async def _serve(self, server: QuietServer, listener: socket.socket, listening: Callable[[str], None] | None) -> None:
        if self._stopping:
            return
        serving = await server.begin(listener)
        if listening is not None and server.started:
            listening(self._application.base_url)
        await serving
