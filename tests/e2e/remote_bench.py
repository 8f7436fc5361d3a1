"""A hub with no code at all, and workers whose every answer a test gives itself."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import perdure as df
from perdure.core.answers import OrchestratorAnswer
from perdure.core.events import ExecutionCompleted, TaskScheduled
from perdure.engine.hooks import EngineHooks
from perdure.engine.remote.remote import RemoteWork
from perdure.engine.remote.work import ActivityWork, EntityWork, OrchestratorWork, WorkerLimits, WorkFilter
from perdure.engine.remote.worker import Worker
from perdure.store.memory import MemoryData, MemoryStore
from perdure.testing.replay_checker import ReplayChecker
from perdure.testing.virtual_clock import VirtualClock, run_simulation


class Bench:
    """One set of data; hubs on it, one after the other, on virtual time."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.data = MemoryData()
        self.app = df.DFApp()

    @asynccontextmanager
    async def hub(self, *, remote: df.RemoteSettings | None = None, hooks: EngineHooks | None = None, **settings: Any):
        """An open hub."""
        checker = ReplayChecker(MemoryStore(self.data, clock=self.clock.now_us))
        engine = df.EngineSettings(remote=remote or df.RemoteSettings(), **settings)
        hub = df.TaskHub(self.app, checker, settings=engine, hooks=hooks, clock=self.clock)
        checker.watch(hub.live_state)
        async with hub:
            yield hub
        assert not checker.mismatches

    async def settle(self) -> None:
        """Lets everything happen that can happen now."""
        await asyncio.sleep(0.001)


def on_bench(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test on virtual time."""

    @functools.wraps(test)
    def run() -> None:
        async def main(clock: VirtualClock) -> None:
            async with asyncio.timeout(7 * 24 * 3600):
                await test(Bench(clock))

        run_simulation(main)

    del run.__wrapped__  # type: ignore[attr-defined] - or pytest takes the parameter for a fixture
    return run


def connect(remote: RemoteWork, limit: int = 100, filter_: WorkFilter | None = None) -> Worker:
    """A worker with the same limit for everything."""
    return remote.connect(WorkerLimits(limit, limit, limit), filter_)


async def works(worker: Worker) -> list[Any]:
    """What a worker has got once everything has happened that can happen now."""
    await asyncio.sleep(0.001)
    try:
        async with asyncio.timeout(0.001):
            return list(await worker.next())
    except TimeoutError:
        return []


async def status(hub: df.TaskHub, instance_id: str) -> df.DurableOrchestrationStatus:
    """What a client sees once everything is durable."""
    await asyncio.sleep(0.05)
    return await hub.client.get_status(instance_id)


async def entity_state(hub: df.TaskHub, entity: str) -> df.EntityStateResponse:
    """The same for an entity."""
    await asyncio.sleep(0.05)
    return await hub.client.read_entity_state(entity)


async def one(worker: Worker) -> Any:
    """The only thing that it has got."""
    (work,) = await works(worker)
    return work


def calls(*names: str, first: int = 1) -> OrchestratorAnswer:
    """Schedules activities."""
    return OrchestratorAnswer(tuple(TaskScheduled(first + number, name) for number, name in enumerate(names)))


def ends(result: str | None = None, status: str = "Completed") -> OrchestratorAnswer:
    """Ends the orchestration."""
    return OrchestratorAnswer((ExecutionCompleted(status, result),))


SHORT = df.RemoteSettings(decision_lease=timedelta(seconds=10), activity_lease=timedelta(seconds=10))

__all__ = [
    "SHORT",
    "ActivityWork",
    "Bench",
    "EntityWork",
    "OrchestratorWork",
    "calls",
    "connect",
    "ends",
    "entity_state",
    "on_bench",
    "one",
    "status",
    "works",
]
