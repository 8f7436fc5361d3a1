"""One engine on PostgreSQL: chains, a fan-out and HelloCities, as on SQLite; what the engine uses, and what the server does."""

import time
from pathlib import Path

from benchmarks.apps import make_app
from benchmarks.hubs import Parameters
from benchmarks.measuring import Measurement
from benchmarks.servers import server
from benchmarks.sharing import sharing_bench

_WARM_UP = 20
_UNITS = {"chain": "step", "fan_out": "activity", "hello_cities": "orchestration"}


def cases(*, short: bool) -> list[Parameters]:
    return [
        {"scenario": "chain", "instances": 1, "steps": 100},
        {"scenario": "chain", "instances": 200, "steps": 20},
        {"scenario": "fan_out", "width": 1_000 if short else 10_000},
        {"scenario": "hello_cities", "instances": 500 if short else 2_000},
    ]


async def run(parameters: Parameters, directory: Path) -> list[Measurement]:
    """Some instances run before, unmeasured: caches are warm and plans are made, as on a server that has run for a while."""
    scenario, instances = parameters["scenario"], parameters.get("instances", 1)
    input_ = parameters.get("steps") or parameters.get("width")
    units = instances * (input_ or 1)
    async with server(directory) as opened, sharing_bench(make_app(), opened.url("bench")) as bench:
        await bench.run_all(scenario, _WARM_UP, 5 if input_ else None)
        used, costs, begun = await opened.used(), bench.costs, time.perf_counter()
        await bench.run_all(scenario, instances, input_)
        seconds, costs = time.perf_counter() - begun, bench.costs - costs
        used = await opened.used() - used
        return [costs.measurement(_UNITS[scenario], units, seconds, used, postgresql=opened.version)]
