"""Chains of activities: one alone (latency), many at once (throughput), a long one (does a step's cost grow with history?)."""

from itertools import pairwise
from pathlib import Path

from benchmarks.apps import make_app, marks
from benchmarks.floor import floor
from benchmarks.hubs import Parameters, bench, measured
from benchmarks.measuring import Measurement


def cases(*, short: bool) -> list[Parameters]:
    lone = {"instances": 1, "steps": 100, "activities": "async"}
    loaded = {"instances": 200, "steps": 20, "activities": "async"}
    long = {"instances": 1, "steps": 3_000 if short else 10_000, "activities": "async", "flatness": True}
    return [lone, lone | {"activities": "def"}, loaded, loaded | {"activities": "def"}, long]


async def run(parameters: Parameters, directory: Path) -> list[Measurement]:
    instances, steps = parameters["instances"], parameters["steps"]
    app = make_app(parameters["activities"])
    if not parameters.get("flatness"):
        return [await measured(app, directory, "chain", instances, steps, "step", instances * steps, warm_up=5)]
    async with bench(app, directory / "hub.db") as opened:
        await opened.run_all("chain", 20, 5)
        marks.clear()
        measurement, meter = await opened.measure("marked_chain", 1, steps, "step", steps)
    measurement.extra |= _flatness()
    measurement.floor = await floor(meter.shapes, directory, "step", steps)
    return [measurement]


def _flatness() -> dict[str, float]:
    """The first and last 1,000 steps between two marks; the steps after the last mark include the end of the instance."""
    thousands = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(marks)]
    first, last = thousands[0], thousands[-1]
    return {
        "first_1000_us_per_step": first[0] * 1e3,
        "last_1000_us_per_step": last[0] * 1e3,
        "first_1000_cpu_us_per_step": first[1] * 1e3,
        "last_1000_cpu_us_per_step": last[1] * 1e3,
        "last_over_first_cpu": last[1] / first[1],
    }
