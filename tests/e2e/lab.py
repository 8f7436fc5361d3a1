"""Where scenarios run: one store, one way of keeping sessions, one style of orchestrator, and time that jumps."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import perdure as df
from perdure.engine.clock import SystemClock
from perdure.engine.hooks import EngineHooks
from perdure.store.contract import HubStore
from perdure.store.memory import MemoryData, MemoryStore
from perdure.store.sqlite import SqliteStore
from perdure.testing.replay_checker import ReplayChecker
from perdure.testing.virtual_clock import VirtualClock, run_simulation

GeneratorFunction = Callable[[df.DurableOrchestrationContext], Generator[Any, Any, Any]]


@dataclass(frozen=True)
class Kind:
    """One cell of the matrix."""

    store: str = "memory"
    cold: bool = False
    coroutine: bool = False

    def __str__(self) -> str:
        return "-".join((self.store, "evicted" if self.cold else "hot", "coroutine" if self.coroutine else "generator"))


ALL_KINDS = [Kind(store, cold, style) for store in ("memory", "sqlite") for cold in (False, True) for style in (False, True)]


class Lab:
    """Makes hubs on one set of data, each of them watched by the replay checker."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
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
        checker = ReplayChecker(self._store())
        self._checkers.append(checker)
        hub = df.TaskHub(
            self.app, checker, settings=df.EngineSettings(**settings), hooks=hooks, clock=self.clock or SystemClock()
        )
        checker.watch(hub.live_state)
        return hub

    @property
    def url(self) -> str:
        """Of the store, for hubs that are made elsewhere."""
        return "memory://" if self.kind.store == "memory" else f"sqlite:///{self.folder / 'hub.db'}"

    def _store(self) -> HubStore:
        now = (self.clock or SystemClock()).now_us
        if self.kind.store == "memory":
            return MemoryStore(self._data, clock=now)
        store = SqliteStore(self.folder / "hub.db", clock=now)
        return store if self.clock is None else cast("HubStore", _Held(store, self.clock))


class _Held:
    """A store on real threads: virtual time stands still while they work."""

    sharing = None
    transactions = None

    def __init__(self, store: HubStore, clock: VirtualClock) -> None:
        self._store = store
        self._clock = clock

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
