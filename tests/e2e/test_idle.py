"""A host with nothing to do asks its store nothing: everything that can happen next is armed in memory."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

import perdure as df
from perdure.host.application import Application
from perdure.host.settings import HostSettings
from perdure.store.memory import MemoryStore
from perdure.store.sqlite import SqliteStore
from perdure.testing.virtual_clock import VirtualClock, run_simulation
from tests.unit.host_lab import http, loaded, timer

_HOUR = 3600


class CountingStore:
    """A store that counts its calls by method."""

    sharing = None
    transactions = None

    def __init__(self, store: Any, clock: VirtualClock) -> None:
        self._store = store
        self.clock = clock
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def counted(*arguments: Any, **options: Any) -> Any:
            self.calls[name] += 1
            with self.clock.held():
                return await method(*arguments, **options)

        return counted


def app() -> df.DFApp:
    made = df.DFApp()

    @made.orchestration_trigger(context_name="context")
    def wait_for_event(context: df.DurableOrchestrationContext) -> Any:
        yield context.wait_for_external_event("never")

    @made.orchestration_trigger(context_name="context")
    def wait_a_week(context: df.DurableOrchestrationContext) -> Any:
        yield context.create_timer(timedelta(days=7))

    return made


async def start(req: Any, client: Any) -> str:
    return await client.start_new(req.params["name"])


@asynccontextmanager
async def host(store: CountingStore, *more: Any) -> AsyncGenerator[None]:
    """A host with instances that wait for an event and for a timer, and with everything settled."""
    settings = HostSettings(folder=Path("app"), session_idle_timeout=timedelta(seconds=30))
    functions = loaded(Path("app"), http(start, client="perdure"), *more, app=app())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("perdure.host.application.SystemClock", lambda: store.clock)
        application = Application(functions, settings, keys=None, store=store, app_settings={})  # pyright: ignore[reportArgumentType]
    await application.start()
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application.asgi), base_url="http://host") as client:
            for name in ("wait_for_event", "wait_a_week"):
                assert (await client.post(f"/api/start?name={name}")).status_code == 200
        await asyncio.sleep(60)
        assert store.calls["commit"]  # it does count
        store.calls.clear()
        yield
    finally:
        await application.stop()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_an_idle_host_asks_its_store_nothing(kind: str, tmp_path: Path) -> None:
    async def scenario(clock: VirtualClock) -> None:
        store = CountingStore(MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "hub.db"), clock)
        async with host(store):
            begun = clock.elapsed()
            await asyncio.sleep(_HOUR)
            assert clock.elapsed() - begun >= _HOUR
            assert not store.calls

    run_simulation(scenario)


def test_a_timer_costs_something_only_when_it_is_due() -> None:
    fired: list[float] = []

    async def scenario(clock: VirtualClock) -> None:
        async def tick(timer: Any) -> None:
            fired.append(clock.elapsed())

        store = CountingStore(MemoryStore(), clock)
        async with host(store, timer(tick, "0 */10 * * * *")):
            fired.clear()
            await asyncio.sleep(_HOUR)
            assert len(fired) == 6
            queries = {name: count for name, count in store.calls.items() if name != "commit"}
            assert sum(queries.values()) <= 6, queries  # its instance comes back from the store, since it has left memory
            assert store.calls["commit"] <= 6 * 4

    run_simulation(scenario)
