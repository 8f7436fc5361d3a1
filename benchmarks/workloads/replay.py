"""Rehydration: instances with a long past are woken in a hub that has just been opened."""

import asyncio
from pathlib import Path

from benchmarks.apps import make_app
from benchmarks.hubs import Bench, Parameters, bench
from benchmarks.measuring import Measurement, Meter
from perdure.core.codec import decode_segment


def cases(*, short: bool) -> list[Parameters]:
    chain = {"instances": 20, "history": "chain", "steps": 200 if short else 1_000}
    fan_out = {"instances": 5, "history": "fan_out", "steps": 2_000 if short else 10_000}
    return [chain, fan_out]


async def run(parameters: Parameters, directory: Path) -> list[Measurement]:
    """Counts the events of all histories, decoded and replayed, from the first ``raise_event`` until all instances have ended."""
    database, instances = directory / "hub.db", parameters["instances"]
    async with bench(make_app(), database, with_shapes=False) as opened:
        start = opened.hub.client.start_new
        orchestrator = f"{parameters['history']}_then_wait"
        ids = await asyncio.gather(*(start(orchestrator, client_input=parameters["steps"]) for _ in range(instances)))
        await asyncio.gather(*(_waiting(opened, instance_id) for instance_id in ids))
    async with bench(make_app(), database, with_shapes=False) as opened:
        await opened.run_all("chain", 20, 5)
        events = 0
        for instance_id in ids:
            events += sum(len(decode_segment(segment.events)) for segment in await opened.store.history(instance_id))
        target = opened.endings.ended + instances
        meter = Meter(opened.store)
        await asyncio.gather(*(opened.hub.client.raise_event(instance_id, "go") for instance_id in ids))
        await opened.endings.reach(target)
        measurement = meter.stop("event", events)
    measurement.extra["events_per_instance"] = events / instances
    return [measurement]


async def _waiting(opened: Bench, instance_id: str) -> None:
    while (await opened.hub.client.get_status(instance_id)).custom_status != "waiting":  # noqa: ASYNC110 - a client has to ask
        await asyncio.sleep(0.05)
