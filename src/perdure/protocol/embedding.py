"""``perdure.grpc_server``: the hub of a program of your own, served to the SDKs of every language."""

from typing import TYPE_CHECKING

from perdure.hub import TaskHub
from perdure.protocol.packages import require_packages
from perdure.protocol.settings import ProtocolSettings

if TYPE_CHECKING:
    from perdure.protocol.server import ProtocolServer


def grpc_server(hub: TaskHub, settings: ProtocolSettings | None = None, *, hub_name: str = "default") -> "ProtocolServer":
    """Serves an embedded hub over gRPC, for as long as the server's own ``async with`` lasts.

    ::

        settings = perdure.EngineSettings(remote=perdure.RemoteSettings())  # workers may run what the app lacks
        async with perdure.TaskHub(app, "sqlite:///hub.db", settings=settings) as hub:
            async with perdure.grpc_server(hub) as server:
                print(server.address)

    Guaranteed: clients and workers of the Durable Task SDKs find one and the same hub as the program itself. Without
    ``remote`` in the hub's settings, clients are served, and workers are refused.

    Args:
        hub: opened and closed by the caller.
        settings: where it listens, and whom it lets in; this machine alone, on port 8080, by default.
        hub_name: the name that callers may give as ``taskhub``; they needn't give any.

    Raises:
        PackagesMissingError: the packages of the extra ``grpc`` aren't installed.
        ServerSettingsError: it would serve the public without authentication, or a TLS file can't be used.
    """
    require_packages()
    from perdure.protocol.hubs import SingleHub
    from perdure.protocol.server import ProtocolServer

    return ProtocolServer(SingleHub(hub_name, hub), settings or ProtocolSettings())
