"""A loaded app, running: its hub, its triggers, and one ASGI app for everything that is asked over HTTP."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from perdure.client.links import DEFAULT_CONNECTION, WEBHOOKS_PATH, ManagementLinks
from perdure.core.errors import PerdureError
from perdure.engine.clock import SystemClock
from perdure.engine.settings import RemoteSettings
from perdure.host.admin import Admin
from perdure.host.client_binding import BlockingFunctionClient, FunctionClient, run_on
from perdure.host.durable_http import HttpActivity, TokenSource
from perdure.host.functions import HostFunctions
from perdure.host.keys import HostKeys
from perdure.host.management.api import ManagementOptions, loopback_routes, management_api
from perdure.host.model import ClientParameter, LoadedApp, QueueTrigger
from perdure.host.settings import HostSettings
from perdure.host.triggers.app_settings import expand, without_disabled
from perdure.host.triggers.http import HttpFunctions, HttpOptions
from perdure.host.triggers.invoke import Invoker
from perdure.host.triggers.timer import Timers
from perdure.host.triggers.warmup import warm_up
from perdure.hub import TaskHub
from perdure.observability import LoggingHooks
from perdure.store.contract import HubStore

if TYPE_CHECKING:
    from perdure.host.azure_preview.worker import AppWorker
    from perdure.host.grpc_servers import GrpcServers
    from perdure.host.loopback import LoopbackListener
    from perdure.host.triggers.queue import QueueListener, Queues


class OtherTaskHubError(PerdureError):
    """A function's client is for a task hub that this host doesn't serve."""

    code = "PD4230"


class Application:
    """Everything of a host but the server: ``asgi`` answers requests between ``start`` and ``stop``."""

    def __init__(
        self,
        loaded: LoadedApp,
        settings: HostSettings,
        *,
        keys: HostKeys | None,
        store: HubStore | None = None,
        management: bool = True,
        token_source: TokenSource | None = None,
        app_settings: Mapping[str, str] | None = None,
        hub_stopped: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Checks everything that can be checked before anything runs.

        Args:
            loaded: the app.
            settings: the host's configuration.
            keys: who may call; ``None`` lets everybody in.
            store: instead of the one that the settings name.
            management: whether the durable management API is served.
            token_source: gives ``call_http`` its tokens.
            app_settings: what bindings name; by default the environment.
            hub_stopped: is told why, if the hub has to give up. Nothing can be done with it any more then.

        Raises:
            RouteTemplateError, RouteConflictError, ScheduleError, QueueConnectionError, MissingAppSettingError,
            OtherTaskHubError: a function can't be served; the message names it, its place and the fix.
            StoreUrlError: the store can't be understood.
            PackagesMissingError, ServerSettingsError: the hub can't be served over gRPC as it should.
        """
        self._settings = settings
        self._keys = keys
        self._app_settings = os.environ if app_settings is None else app_settings
        loaded = without_disabled(loaded, self._app_settings)
        self._triggered = loaded.triggered
        self._served = loaded.triggered if settings.serves_functions else ()
        """Those whose triggers this process looks after."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loopback: LoopbackListener | None = None
        self._last_links: tuple[str, ManagementLinks] | None = None
        self.base_url = "http://localhost"
        """How callers reach the host, where no request tells: for functions that timers and queues run."""
        self._queues = _queues(loaded, settings, self._app_settings)
        self._invoker = Invoker(
            self, self._queues, folder=loaded.folder, threads=settings.max_activity_threads, timeout=settings.function_timeout
        )
        clock = SystemClock()
        self._timers = Timers(loaded.triggered, self._invoker, clock, settings=self._app_settings, time_zone=settings.time_zone)
        self._listeners: list[QueueListener] = [
            self._queues.listener(function, function.trigger, self._invoker)
            for function in self._served
            if self._queues is not None and isinstance(function.trigger, QueueTrigger)
        ]
        self._check_hubs()
        engine_settings = settings.engine()
        if loaded.needs_grpc and engine_settings.remote is None:
            engine_settings = replace(engine_settings, remote=RemoteSettings())
        self._http_calls = HttpActivity(
            token_source=token_source,
            max_response_bytes=engine_settings.max_payload_bytes,
            poll_interval=settings.http_poll_interval,
        )
        functions = HostFunctions(
            loaded.functions,
            [self._timers.orchestrator()],
            [self._timers.activity(), self._http_calls.activity()],
            settings.function_timeout,
        )
        self.hub = TaskHub(
            functions,
            settings.store if store is None else store,
            settings=engine_settings,
            hooks=_Hooks(hub_stopped),
            clock=clock,
            default_version=settings.default_version,
            default_reuse_policy=settings.reuse_policy,
        )
        self._grpc = _grpc_servers(self.hub, loaded, settings)
        self._worker = self._app_worker(loaded)
        self._management = self._management_options()
        self._api = None
        if management and settings.serves_functions:
            self._api = management_api(self.hub.client, keys, settings.hub_name, options=self._management)
        self._reserved = Starlette(routes=Admin(self.hub, keys, settings.hub_name, len(self._triggered)).routes())
        self._http = HttpFunctions(self._served, self._invoker, keys, _http_options(settings), fallback=self._reserved)
        self.asgi: ASGIApp = self._answer
        if settings.cors_origins:
            from starlette.middleware.cors import CORSMiddleware

            self.asgi = CORSMiddleware(
                self._answer,
                allow_origins=settings.cors_origins,
                allow_credentials=settings.cors_credentials,
                allow_methods=["*"],
                allow_headers=["*"],
            )

    @property
    def grpc_address(self) -> str | None:
        """Where other processes are served over gRPC, if they are."""
        return None if self._grpc is None else self._grpc.public_address

    async def start(self) -> None:
        """Opens the hub and starts all triggers; warm-up functions have run when it returns.

        Raises:
            HubInUseError, StoreUnavailableError, SchemaTooNewError: the hub can't be opened; it can be tried again.
            ServerSettingsError: the gRPC server can't listen where it should.
        """
        self._loop = asyncio.get_running_loop()
        if any(parameter.kind == "azure" for function in self._triggered for parameter in function.clients):
            from perdure.host.loopback import LoopbackListener

            self._loopback = LoopbackListener()
            (api,) = loopback_routes(
                self.hub.client, self._settings.hub_name, self._links(None), options=self._management, path=self._loopback.path
            )
            await self._loopback.start(api)
        try:
            if self._grpc is not None:
                await self._grpc.start()  # before the hub, whose first activities may have clients already
            await self.hub.start()
            if self._worker is not None:
                self._worker.start(self.hub.remote)
        except BaseException:
            await self._end_grpc()
            await self._end_loopback()
            raise
        try:
            if self._settings.serves_functions:
                await self._timers.start(self.hub.client)
            await self._http.start()
            await warm_up(self._served, self._invoker)
        except BaseException:
            await self.stop()
            raise
        for listener in self._listeners:
            listener.start()

    async def stop(self) -> None:
        """Drains: what runs gets the grace of the settings; everything else is durable already."""
        await asyncio.gather(*(listener.stop(self._settings.drain_grace) for listener in self._listeners))
        await self._http.stop()
        await self.hub.close()
        if self._worker is not None:
            await self._worker.stop()
        await self._end_grpc()
        self._invoker.close()
        await self._http_calls.close()
        if self._queues is not None:
            await self._queues.close()
        await self._end_loopback()

    def _app_worker(self, loaded: LoadedApp) -> "AppWorker | None":
        if loaded.work is None:
            return None
        from perdure.host.azure_preview.worker import AppWorker

        loaded.work.client = lambda parameter: self.client(parameter, blocking=False, base_url=None)
        return AppWorker(loaded, loaded.work, others=self._settings.grpc)

    async def _end_grpc(self) -> None:
        if self._grpc is not None:
            await self._grpc.stop()

    async def _end_loopback(self) -> None:
        if self._loopback is not None:
            from perdure.host.azure.sdk import close_session

            await close_session()
            await self._loopback.stop()
            self._loopback = None

    def client(self, parameter: ClientParameter, *, blocking: bool, base_url: str | None) -> object:
        """What a client parameter gets: see ``invoke.Clients``."""
        if parameter.kind == "azure-preview":
            from perdure.host.azure_preview.client_binding import client_binding as preview_binding

            assert self._grpc is not None
            # The SDK puts in the origin of the request that it answers. Of what callers say, only the app's mount point counts.
            mounted = None if base_url is None else urlsplit(self.base_url)._replace(path=urlsplit(base_url).path).geturl()
            return preview_binding(self._links(mounted), self._grpc.app_address, self._grpc.app_max_message_bytes)
        links = self._links(base_url)
        if parameter.kind == "azure":
            from perdure.host.azure.client_binding import client_binding

            assert self._loopback is not None
            return client_binding(
                base_url or self.base_url,
                self._settings.hub_name,
                DEFAULT_CONNECTION,
                links.code,
                rpc_base_url=self._loopback.base_url,
            )
        if not blocking:
            return FunctionClient(self.hub.client, links)
        assert self._loop is not None
        return BlockingFunctionClient(self.hub.client, run_on(self._loop), links)

    def _links(self, base_url: str | None) -> ManagementLinks:
        base_url = base_url or self.base_url
        # Most requests come to one address; but callers choose what they write into Host.
        if self._last_links is None or self._last_links[0] != base_url:
            key = None if self._keys is None else self._keys.durable_task_key
            links = ManagementLinks(base_url + WEBHOOKS_PATH, self._settings.hub_name, DEFAULT_CONNECTION, key)
            self._last_links = (base_url, links)
        return self._last_links[1]

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        root = scope.get("root_path", "")
        path = scope["path"].removeprefix(root).casefold()
        # The host's own paths first, so that an app with a catch-all route can't take them away.
        if self._api is not None and path.startswith(f"{WEBHOOKS_PATH}/"):
            # Without Starlette's middleware and routing, which take as long as the rest of an answer.
            await self._api({**scope, "root_path": root + WEBHOOKS_PATH}, receive, send)
        elif path.startswith(("/runtime/", "/admin/")):
            await self._reserved(scope, receive, send)
        else:
            await self._http(scope, receive, send)

    def _management_options(self) -> ManagementOptions:
        return ManagementOptions(
            forwarded_headers=self._settings.use_forwarded_host,
            show_traces=self._settings.show_stack_traces,
            max_body_bytes=self._settings.max_request_bytes,
        )

    def _check_hubs(self) -> None:
        for function in self._triggered:
            where = f"function '{function.name}' ({function.place})"
            for parameter in function.clients:
                hub = parameter.task_hub and expand(parameter.task_hub, self._app_settings, where)
                if hub and hub.casefold() != self._settings.hub_name.casefold():
                    raise OtherTaskHubError(
                        f"{where}: its client '{parameter.name}' is for task hub '{hub}', but this host serves "
                        f"'{self._settings.hub_name}'. Delete task_hub there, or start the host with --hub {hub}."
                    )


class _Hooks(LoggingHooks):
    """Logs, and passes the worst on."""

    def __init__(self, hub_stopped: Callable[[BaseException], None] | None) -> None:
        self._hub_stopped = hub_stopped

    def stopped(self, error: BaseException) -> None:
        super().stopped(error)
        if self._hub_stopped is not None:
            self._hub_stopped(error)


def _grpc_servers(hub: TaskHub, loaded: LoadedApp, settings: HostSettings) -> "GrpcServers | None":
    public = settings.protocol()
    if public is None and not loaded.needs_grpc:
        return None
    from perdure.protocol.packages import require_packages

    require_packages()
    from perdure.host.grpc_servers import GrpcServers

    return GrpcServers(hub, settings.hub_name, public, for_app=loaded.needs_grpc, reuse_policy=settings.reuse_policy)


def _http_options(settings: HostSettings) -> HttpOptions:
    return HttpOptions(
        route_prefix=settings.route_prefix,
        max_body_bytes=settings.max_request_bytes,
        show_errors=settings.show_stack_traces,
        use_forwarded_host=settings.use_forwarded_host,
    )


def _queues(loaded: LoadedApp, settings: HostSettings, app_settings: Mapping[str, str]) -> "Queues | None":
    """What sends and receives messages, if any function has to do with queues."""
    if not any(
        isinstance(function.trigger, QueueTrigger) or any(output.kind == "queue" for output in function.outputs)
        for function in loaded.triggered
    ):
        return None
    from perdure.host.triggers.queue import QueueOptions, Queues

    options = QueueOptions(
        batch_size=settings.queue_batch_size,
        new_batch_threshold=settings.queue_new_batch_threshold,
        max_dequeue_count=settings.queue_max_dequeue_count,
        max_polling_interval=settings.queue_max_polling_interval,
        visibility_timeout=settings.queue_visibility_timeout,
        base64=settings.queue_message_encoding == "base64",
    )
    return Queues(options, app_settings)
