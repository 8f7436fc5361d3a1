"""Where scenarios run: one store, one way of keeping sessions, one style of orchestrator, and time that jumps."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import msgspec

import perdure as df
from perdure.engine.clock import SystemClock
from perdure.engine.hooks import EngineHooks
from perdure.store.contract import Beat, HubStore, Sharing
from perdure.store.memory import MemoryData, MemoryStore
from perdure.store.postgres import PostgresStore
from perdure.store.sqlite import SqliteStore
from perdure.testing.replay_checker import ReplayChecker
from perdure.testing.virtual_clock import VirtualClock, run_simulation
from tests.remote_worker import HubWithWorker

_YEAR = timedelta(days=365)
GeneratorFunction = Callable[[df.DurableOrchestrationContext], Generator[Any, Any, Any]]


@dataclass(frozen=True)
class Kind:
    """One cell of the matrix."""

    store: str = "memory"
    cold: bool = False
    coroutine: bool = False
    elsewhere: frozenset[str] = frozenset()
    """The kinds of functions whose code is in a worker."""

    def __str__(self) -> str:
        words = [self.store, "evicted" if self.cold else "hot", "coroutine" if self.coroutine else "generator"]
        return "-".join((*words, *(f"remote {kind}" for kind in sorted(self.elsewhere))))


ALL_KINDS = [
    *(Kind(store, cold, style) for store in ("memory", "sqlite") for cold in (False, True) for style in (False, True)),
    # The stores that can be shared, by one engine: the rest of the matrix says nothing about them that the others don't.
    *(Kind(store, both, both) for store in ("shared", "postgres") for both in (False, True)),
]


class Lab:
    """Makes hubs on one set of data, each of them watched by the replay checker."""

    def __init__(self, kind: Kind, folder: Path, postgres_url: str = "") -> None:
        self.kind = kind
        self.folder = folder
        self._postgres_url = postgres_url
        self.clock: VirtualClock | None = None
        self.app = df.DFApp()
        self._data = MemoryData()
        self._checkers: list[ReplayChecker] = []

    def run(self, scenario: Callable[[], Coroutine[Any, Any, None]], *, real_time: bool) -> None:
        """Runs a scenario to its end, and makes sure that the checker had something to check."""
        if real_time:
            asyncio.run(scenario())
        else:

            async def main(clock: VirtualClock) -> None:
                self.clock = clock
                await scenario()

            run_simulation(main)
        assert not [mismatch for checker in self._checkers for mismatch in checker.mismatches]
        assert not self._checkers or sum(checker.checked for checker in self._checkers)

    def new_app(self) -> df.DFApp:
        """Another version of the application."""
        self.app = df.DFApp()
        return self.app

    def orchestrator(self, function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        """Registers a generator function as it is, or as the coroutine that does the same."""
        styled = _as_coroutine(function) if self.kind.coroutine and inspect.isgeneratorfunction(function) else function
        return self.app.orchestration_trigger(context_name="context", **options)(styled)

    def activity(self, function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        """Registers an activity whose parameter is called ``value``."""
        return self.app.activity_trigger(input_name="value", **options)(function)

    @asynccontextmanager
    async def hub(self, *, hooks: EngineHooks | None = None, **settings: Any) -> AsyncIterator[df.TaskHub]:
        """An open hub."""
        hub = self.closed_hub(hooks=hooks, **settings)
        async with hub:
            yield hub

    def closed_hub(self, *, hooks: EngineHooks | None = None, **settings: Any) -> df.TaskHub:
        """A hub on this lab's data."""
        if self.kind.cold:
            settings.setdefault("max_sessions", 0)
        if self.clock is not None:
            settings.setdefault("lease_duration", _YEAR)  # a beat every few seconds of all the time that is skipped takes long
        checker = ReplayChecker(self._store())
        self._checkers.append(checker)
        clock, bounds = self.clock or SystemClock(), df.EngineSettings(**settings)
        if self.kind.elsewhere:
            hub: df.TaskHub = HubWithWorker(self.app, checker, self.kind.elsewhere, bounds, hooks=hooks, clock=clock)
        else:
            hub = df.TaskHub(self.app, checker, settings=bounds, hooks=hooks, clock=clock)
        checker.watch(hub.live_state)
        return hub

    @property
    def url(self) -> str:
        """Of the store, for hubs that are made elsewhere."""
        match self.kind.store:
            case "sqlite":
                return f"sqlite:///{self.folder / 'hub.db'}"
            case "postgres":
                return self._postgres_url
            case _:
                return "memory://"

    def _store(self) -> HubStore:
        now = (self.clock or SystemClock()).now_us
        match self.kind.store:
            case "memory":
                return MemoryStore(self._data, clock=now)
            case "shared":
                return MemoryStore(self._data, clock=now, shared=True)
            case "postgres":
                store: HubStore = PostgresStore(self._postgres_url)
            case _:
                store = SqliteStore(self.folder / "hub.db", clock=now)
        return store if self.clock is None else cast("HubStore", _Held(store, self.clock))


class _Held:
    """A store on real threads or sockets: virtual time stands still while they work."""

    transactions = None

    def __init__(self, store: Any, clock: VirtualClock) -> None:
        self._store = store
        self._clock = clock
        sharing = getattr(store, "sharing", None)
        self.sharing = None if sharing is None else cast("Sharing", _Held(sharing, clock))

    def listen(self, heard: Callable[[str | None], None]) -> None:
        self._store.listen(heard)

    async def beat(self, *arguments: Any) -> Beat:
        """The engine follows the store's clock, which knows nothing of virtual time."""
        with self._clock.held():
            beat = await self._store.beat(*arguments)
        return msgspec.structs.replace(beat, now=self._clock.now_us())

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        method = getattr(self._store, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            with self._clock.held():
                return await method(*arguments, **options)

        return call


def _as_coroutine(function: GeneratorFunction) -> Callable[..., Any]:
    @functools.wraps(function)
    async def orchestrator(context: df.DurableOrchestrationContext) -> Any:
        generator = function(context)
        try:
            task = next(generator)
            while True:
                try:
                    value = await task
                except Exception as error:  # noqa: BLE001 - the generator gets it where it stands
                    task = generator.throw(error)
                else:
                    task = generator.send(value)
        except StopIteration as stop:
            return stop.value
        finally:
            generator.close()

    return orchestrator


async def until(condition: Callable[[], Any]) -> None:
    """Returns when ``condition`` holds; it may be a coroutine function. Gives up after a while."""
    async with asyncio.timeout(20):
        while True:
            holds = condition()
            if inspect.isawaitable(holds):
                holds = await holds
            if holds:
                return
            await asyncio.sleep(0.01)


def scenario(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test on virtual time, for activities on the event loop."""

    @functools.wraps(test)
    def run(lab: Lab, **fixtures: Any) -> None:
        lab.run(lambda: test(lab, **fixtures), real_time=False)

    return run


def real_scenario(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test on real time, where threads or processes are the subject."""

    @functools.wraps(test)
    def run(lab: Lab, **fixtures: Any) -> None:
        lab.run(lambda: test(lab, **fixtures), real_time=True)

    return run
