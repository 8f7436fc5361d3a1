"""Several engine processes on one PostgreSQL hub: how throughput grows, what each step costs engines and server, and idling."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.engines import EngineProcess, engine_processes, equal_shares
from benchmarks.hubs import Parameters
from benchmarks.measuring import Measurement
from benchmarks.servers import Server, server
from benchmarks.sharing import Costs
from perdure.engine.settings import Role

_OWN_QUERIES = 3
"""Of the benchmark, between the two looks."""
_UNTIL_COUNTED = 12
"""Seconds within which the server's processes add what they have counted to the statistics."""


def cases(*, short: bool) -> list[Parameters]:
    """``rounds``: how often each engine runs its instances, one round after the other.

    ``load``: ``local``: each engine runs all activities of its instances; ``shared``: one engine owns all instances, and another
    one runs all activities, which go through the shared queue; ``none``: nothing happens.
    """
    work = {"instances": 200, "steps": 20, "rounds": 1 if short else 5}
    return [
        {"load": "local", "most": 2 if short else 4} | work,
        {"load": "shared"} | work,
        {"load": "none", "seconds": 10 if short else 60},
    ]


async def run(parameters: Parameters, directory: Path) -> list[Measurement]:
    """One line for each number of engines, one after the other on the same server, so that they compare."""
    load = parameters["load"]
    async with server(directory, vacuum=load != "none") as opened:
        if load == "none":
            return [await _idle(opened, parameters["seconds"])]
        if load == "shared":
            return [await _loaded(opened, "shared", ["owner", "worker"], 1, parameters)]
        counts = [count for count in (1, 2, 4) if count <= parameters["most"]]
        measured = [await _loaded(opened, f"engines_{count}", ["all"] * count, count, parameters) for count in counts]
    alone = measured[0].figures()["value"]
    for measurement in measured:
        measurement.extra["times_one_engine"] = measurement.figures()["value"] / alone
    return measured


async def _loaded(opened: Server, schema: str, roles: list[Role], owners: int, parameters: Parameters) -> Measurement:
    """Each of the first ``owners`` engines has instances of its own, as many as one engine alone: more engines have more work."""
    instances, steps, rounds = parameters["instances"], parameters["steps"], parameters["rounds"]
    async with engine_processes(roles, opened.url(schema)) as engines:
        working = engines[:owners]
        await equal_shares(opened, schema, working)
        await asyncio.gather(*(engine.ask("run", "chain", 20, 5) for engine in working))

        async def work(engine: EngineProcess) -> None:
            for _ in range(rounds):
                await engine.ask("run", "chain", instances, steps)

        async def all_work() -> None:
            await asyncio.gather(*map(work, working))

        measurement = await _measured(opened, engines, all_work, "step", owners * instances * steps * rounds)
    figures = measurement.figures()
    measurement.extra["busy_cores"] = (figures["cpu_us_per_unit"] + figures["server_cpu_us_per_unit"]) / figures["us_per_unit"]
    return measurement


async def _idle(opened: Server, seconds: float) -> Measurement:
    """The unit is a second of a process that has nothing to do. Queries are what the server has counted, not what engines say."""
    async with engine_processes(["all", "all"], opened.url("idle")) as engines:
        await equal_shares(opened, "idle", engines)
        await asyncio.gather(*(engine.ask("run", "chain", 20, 5) for engine in engines))
        await asyncio.sleep(_UNTIL_COUNTED)
        queries = await _queries(opened)
        units = round(len(engines) * seconds)
        measurement = await _measured(opened, engines, lambda: asyncio.sleep(seconds), "second", units)
        measurement.extra["queries_per_unit"] = (await _queries(opened) - queries - _OWN_QUERIES) / units
    return measurement


async def _measured(
    opened: Server, engines: list[EngineProcess], work: Callable[[], Awaitable[None]], unit: str, units: int
) -> Measurement:
    before = await asyncio.gather(*(engine.costs() for engine in engines))
    used, begun = await opened.used(), time.perf_counter()
    await work()
    seconds = time.perf_counter() - begun
    used = await opened.used() - used
    after = await asyncio.gather(*(engine.costs() for engine in engines))
    costs = Costs.total(after) - Costs.total(before)
    return costs.measurement(unit, units, seconds, used, engines=len(engines), postgresql=opened.version)


async def _queries(opened: Server) -> int:
    """Transactions in the database so far; each query is one."""
    return await opened.value("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()")
