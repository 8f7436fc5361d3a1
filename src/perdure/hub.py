"""A task hub in your own program: the engine, a store and a client, without any server."""

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from perdure.client import DurableClient
from perdure.client.blocking import BlockingClient
from perdure.client.raw import RawClient
from perdure.core.events import EntityStateSaved
from perdure.core.functions import Functions
from perdure.core.messages import ReusePolicy
from perdure.core.state import InstanceState
from perdure.engine.clock import Clock, SystemClock
from perdure.engine.engine import Engine
from perdure.engine.errors import EngineStoppedError, NoRemoteWorkError
from perdure.engine.hooks import EngineHooks
from perdure.engine.load import Load
from perdure.engine.remote.remote import RemoteWork
from perdure.engine.settings import EngineSettings
from perdure.observability import LoggingHooks, silence_replays
from perdure.store.contract import HubStore
from perdure.store.opening import open_store

T = TypeVar("T")


class App(Protocol):
    """Whatever has functions for a hub: a ``DFApp``, or an app that a host has loaded."""

    def functions(self) -> Functions:
        """The registered functions, once all of them are registered."""
        ...


class TaskHub:
    """Runs an app's orchestrations as long as it is open.

    ::

        async with TaskHub(app, "sqlite:///hub.db") as hub:
            instance_id = await hub.client.start_new("hello")
            status = await hub.client.wait_for_completion(instance_id, timeout=30)

    Guaranteed: what a client call has acknowledged survives a crash of the process and of the machine (SQLite syncs each
    commit); an orchestration whose process dies goes on when the hub is opened again.
    Not guaranteed: that an activity runs only once. It runs at least once; ``activity_context().idempotency_key`` stays the same.
    """

    def __init__(
        self,
        app: App,
        store: str | HubStore = "memory://",
        *,
        settings: EngineSettings | None = None,
        hooks: EngineHooks | None = None,
        clock: Clock | None = None,
        default_version: str | None = None,
        default_reuse_policy: ReusePolicy = ReusePolicy.ONLY_IF_TERMINAL,
    ) -> None:
        """``store`` is a URL (``memory://``, ``sqlite:///file.db``) or a store object; nothing is opened yet.

        ``default_version`` and ``default_reuse_policy`` are for calls of ``start_new`` that give none.

        Raises:
            StoreUrlError: the URL can't be understood.
        """
        functions = app.functions()
        clock = clock or SystemClock()
        settings = settings or EngineSettings()
        opened = open_store(store) if isinstance(store, str) else store
        self.owns_instances = settings.seeks_partitions
        """Whether this process has instances of its own, so that it has work for workers; not so for some roles."""
        self._engine = Engine(opened, functions, settings=settings, clock=clock, hooks=hooks or LoggingHooks())
        self.client = DurableClient(
            self._engine,
            opened,
            functions,
            self._engine.clock,
            default_version=default_version,
            default_reuse_policy=default_reuse_policy,
        )
        self.raw_client = RawClient(self._engine, opened, functions, default_version=default_version)
        """For payloads that are texts already, and functions that are elsewhere."""

    @property
    def remote(self) -> RemoteWork:
        """What workers connect to.

        Raises:
            NoRemoteWorkError: the settings leave nothing to workers.
        """
        if self._engine.remote is None:
            raise NoRemoteWorkError("this hub has no work for workers; open it with EngineSettings(remote=RemoteSettings()).")
        return self._engine.remote

    async def start(self) -> None:
        """Opens the store and takes up what is open in it.

        Raises:
            HubInUseError: another process has it open; the message names its process id.
            SchemaTooNewError: a newer Perdure wrote it.
            StoreUnavailableError: it can't be opened.
        """
        silence_replays()
        await self._engine.start()

    async def close(self) -> None:
        """Drains: running activities get ``settings.drain_grace``; everything else is durable already."""
        await self._engine.close()

    def hurry(self) -> None:
        """Lets ``close`` wait no longer for running activities: they are stopped, and done again when the hub is opened next."""
        self._engine.hurry()

    @property
    def running_activities(self) -> int:
        """Activities being executed right now."""
        return self._engine.running_activities

    @property
    def work_at_workers(self) -> int:
        """Work items that connected workers have right now."""
        return 0 if self._engine.remote is None else self._engine.remote.out

    @property
    def hydrated_instances(self) -> int:
        """Instances in memory."""
        return self._engine.hydrated_instances

    async def load(self) -> Load:
        """How much there is to do, and how many processes it needs.

        Raises:
            EngineStoppedError: the hub is closed.
            StoreUnavailableError: the store can't be asked.
        """
        return await self._engine.load()

    def live_state(self, instance_id: str) -> InstanceState | EntityStateSaved | None:
        """What memory says of a hydrated instance, to look at; ``None`` where it isn't hydrated."""
        return self._engine.live_state(instance_id)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


class BlockingTaskHub:
    """The same for scripts without ``async``: the engine lives on a thread of its own; ``client`` has blocking methods."""

    def __init__(
        self,
        app: App,
        store: str | HubStore = "memory://",
        *,
        settings: EngineSettings | None = None,
        hooks: EngineHooks | None = None,
    ) -> None:
        """See ``TaskHub``."""
        self._hub = TaskHub(app, store, settings=settings, hooks=hooks)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.client = BlockingClient(self._hub.client, self._run)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="perdure-engine", daemon=True)
        self._thread.start()
        try:
            self._run(self._hub.start())
        except BaseException:
            self._end_loop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._run(self._hub.close())
        finally:
            self._end_loop()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise EngineStoppedError("the hub isn't open: use its client inside of 'with BlockingTaskHub(...)'")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end_loop(self) -> None:
        assert self._loop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None
