"""Short instances: start, one activity, complete."""

import asyncio
from pathlib import Path

from benchmarks.apps import make_app
from benchmarks.floor import floor
from benchmarks.hubs import Bench, Parameters, bench, measured
from benchmarks.measuring import Measurement, Meter


def cases(*, short: bool) -> list[Parameters]:
    """``answers``: ``none`` counts the ends by a hook; ``client`` waits for each instance as callers do."""
    del short
    return [{"instances": 2_000, "answers": "none"}, {"instances": 2_000, "answers": "client"}]


async def run(parameters: Parameters, directory: Path) -> list[Measurement]:
    instances = parameters["instances"]
    if parameters["answers"] == "none":
        return [await measured(make_app(), directory, "chain", instances, 1, "instance", instances, warm_up=1)]
    async with bench(make_app(), directory / "hub.db") as opened:
        await opened.run_all("chain", 20, 1)
        meter = Meter(opened.store)
        await asyncio.gather(*(_start_and_wait(opened) for _ in range(instances)))
        measurement = meter.stop("instance", instances)
    measurement.floor = await floor(meter.shapes, directory, "instance", instances)
    return [measurement]


async def _start_and_wait(opened: Bench) -> None:
    client = opened.hub.client
    status = await client.wait_for_completion(await client.start_new("chain", client_input=1), timeout=300)
    if status.output != 1:
        raise RuntimeError(f"instance {status.instance_id} returned {status.output!r}")
