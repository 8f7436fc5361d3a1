"""The gRPC servers of a host: one for everybody whom the settings let in, one for the SDK clients of the app itself.

Needs the packages of the extra ``grpc``, so that it is imported on use only.
"""

from perdure.core.messages import ReusePolicy
from perdure.hub import TaskHub
from perdure.protocol.access import is_loopback
from perdure.protocol.hubs import SingleHub
from perdure.protocol.server import ProtocolServer
from perdure.protocol.settings import ProtocolSettings


class GrpcServers:
    """Serves a host's hub between ``start`` and ``stop``; one server does for both purposes where it can."""

    def __init__(
        self,
        hub: TaskHub,
        hub_name: str,
        public: ProtocolSettings | None,
        *,
        for_app: bool,
        reuse_policy: ReusePolicy = ReusePolicy.ONLY_IF_TERMINAL,
    ) -> None:
        """Checks everything that can be checked before anything runs.

        Args:
            hub: what is served. Somebody else opens and closes it.
            hub_name: the only name that callers may call it.
            public: for other processes; ``None`` if they aren't served.
            for_app: whether clients in this process need an address that asks for nothing.
            reuse_policy: what a start does that finds its id taken, and says nothing of that.

        Raises:
            ServerSettingsError: it would serve the public without authentication, or a TLS file can't be used.
        """
        hubs = SingleHub(hub_name, hub, reuse_policy=reuse_policy)
        self._public = None if public is None else ProtocolServer(hubs, public)
        self._for_app: ProtocolServer | None = None
        if for_app:
            shared = self._public if public is not None and _asks_for_nothing(public) else None
            self._for_app = shared or ProtocolServer(hubs, ProtocolSettings(host="127.0.0.1", port=0))

    @property
    def public_address(self) -> str | None:
        """Where other processes are served, if they are."""
        return None if self._public is None else self._public.address

    @property
    def app_address(self) -> str:
        """For clients in this process, if that was asked for: without TLS and tokens."""
        assert self._for_app is not None
        return self._for_app.address

    @property
    def app_max_message_bytes(self) -> int:
        """The largest message that goes there."""
        assert self._for_app is not None
        return self._for_app.max_message_bytes

    async def start(self) -> None:
        """Returns once calls are answered. Until the hub is open, the answer is that it isn't.

        Raises:
            ServerSettingsError: it can't listen where it should.
        """
        try:
            for server in self._servers:
                await server.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Ends all calls. To be called behind the hub's end, so that workers can still answer while it drains."""
        for server in self._servers:
            await server.stop()

    @property
    def _servers(self) -> list[ProtocolServer]:
        return list({id(server): server for server in (self._public, self._for_app) if server is not None}.values())


def _asks_for_nothing(public: ProtocolSettings) -> bool:
    return is_loopback(public.host) and public.tls is None and not public.tokens
