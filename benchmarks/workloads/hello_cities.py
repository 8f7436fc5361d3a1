"""HelloCities5: five chained activities, counted in orchestrations; the workload that other engines publish figures of."""

from pathlib import Path

from benchmarks.apps import make_app
from benchmarks.hubs import Parameters, measured
from benchmarks.measuring import Measurement


def cases(*, short: bool) -> list[Parameters]:
    return [{"instances": 500 if short else 2_000}]


async def run(parameters: Parameters, directory: Path) -> list[Measurement]:
    instances = parameters["instances"]
    return [await measured(make_app(), directory, "hello_cities", instances, None, "orchestration", instances, warm_up=None)]
