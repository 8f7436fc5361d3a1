"""One orchestration that calls many activities at once and joins them."""

from pathlib import Path

from benchmarks.apps import make_app
from benchmarks.hubs import Parameters, measured
from benchmarks.measuring import Measurement


def cases(*, short: bool) -> list[Parameters]:
    widths = (1_000, 10_000) if short else (1_000, 10_000, 100_000)
    wide: list[Parameters] = [{"width": width, "activities": "async"} for width in widths]
    return [*wide, {"width": widths[1], "activities": "def"}]


async def run(parameters: Parameters, directory: Path) -> list[Measurement]:
    width = parameters["width"]
    return [await measured(make_app(parameters["activities"]), directory, "fan_out", 1, width, "activity", width, warm_up=5)]
