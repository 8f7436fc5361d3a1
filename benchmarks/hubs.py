"""A hub on SQLite that counts, and the event loop it runs on."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import perdure as df
from benchmarks.floor import floor
from benchmarks.measuring import CountingStore, Endings, Measurement, Meter

Parameters = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """An open hub with everything a workload needs."""

    hub: df.TaskHub
    store: CountingStore
    endings: Endings

    async def run_all(self, orchestrator: str, instances: int, input_: Any) -> None:
        """Starts that many, and returns when all of them have completed."""
        await run_all(self.hub, self.endings, orchestrator, instances, input_)

    async def measure(self, orchestrator: str, instances: int, input_: Any, unit: str, units: int) -> tuple[Measurement, Meter]:
        """``run_all`` under the meter."""
        meter = Meter(self.store)
        await self.run_all(orchestrator, instances, input_)
        return meter.stop(unit, units), meter


async def run_all(hub: df.TaskHub, endings: Endings, orchestrator: str, instances: int, input_: Any) -> None:
    """Starts that many, and returns when all of them have completed."""
    target = endings.ended + instances
    start = hub.client.start_new
    await asyncio.gather(*(start(orchestrator, client_input=input_) for _ in range(instances)))
    await endings.reach(target)


@asynccontextmanager
async def bench(
    app: df.DFApp, database: Path, *, with_shapes: bool = True, settings: df.EngineSettings | None = None
) -> AsyncIterator[Bench]:
    """Opens a hub on ``database``."""
    store = CountingStore(database, with_shapes=with_shapes)
    endings = Endings()
    async with df.TaskHub(app, store, settings=settings, hooks=endings) as hub:
        yield Bench(hub, store, endings)


async def measured(
    app: df.DFApp, directory: Path, orchestrator: str, instances: int, input_: Any, unit: str, units: int, warm_up: Any
) -> Measurement:
    """One workload that is nothing but instances of one orchestrator, and its floor. A few run before, unmeasured."""
    async with bench(app, directory / "hub.db") as opened:
        await opened.run_all(orchestrator, 20, warm_up)
        measurement, meter = await opened.measure(orchestrator, instances, input_, unit, units)
    measurement.floor = await floor(meter.shapes, directory, unit, units)
    return measurement


def loop_name(wanted: str) -> str:
    """``uvloop`` if that is installed, unless ``asyncio`` is wanted."""
    return "uvloop" if wanted != "asyncio" and importlib.util.find_spec("uvloop") else "asyncio"


def run_on(loop: str, work: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine on the loop of that name."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)
