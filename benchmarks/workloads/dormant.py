"""Instances that wait for weeks: what they cost while they do, and what a restart with them costs."""

import asyncio
import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from benchmarks.apps import make_app
from benchmarks.hubs import Bench, Parameters, bench
from benchmarks.measuring import Measurement, Meter, file_bytes, settled_bytes
from perdure import EngineSettings

_AT_ONCE = 2_000


def cases(*, short: bool) -> list[Parameters]:
    instances = 5_000 if short else 100_000
    return [{"instances": instances, "waiting_for": "event"}, {"instances": instances, "waiting_for": "timer"}]


async def run(parameters: Parameters, directory: Path) -> list[Measurement]:
    """The measurement is of the starts; RAM, disk and restart are extra figures of the same line.

    What the process keeps in RAM after dehydration is SQLite's page caches and memory that Python's allocator holds for the
    next sessions, both bounded; the count of Python objects tells whether anything of an instance is left.
    """
    instances = parameters["instances"]
    orchestrator = "wait_for_go" if parameters["waiting_for"] == "event" else "wait_a_month"
    empty, database = directory / "empty.db", directory / "hub.db"
    settings = EngineSettings(session_idle_timeout=timedelta(seconds=1))
    async with bench(make_app(), empty, with_shapes=False) as opened:
        await opened.run_all("chain", 20, 1)
    async with bench(make_app(), database, with_shapes=False, settings=settings) as opened:
        await opened.run_all("chain", 20, 1)
        before, blocks = settled_bytes(), sys.getallocatedblocks()
        meter = Meter(opened.store)
        some_id = ""
        for begun in range(0, instances, _AT_ONCE):
            some_id = await _start(opened, orchestrator, min(_AT_ONCE, instances - begun))
        measurement = meter.stop("instance", instances)
        hot = settled_bytes()
        await _dehydrated(opened)
        cold, blocks = settled_bytes(), sys.getallocatedblocks() - blocks
        hydrated = opened.hub.hydrated_instances
    restarted, fresh = _restart(database, some_id), _restart(empty, "")
    measurement.extra |= {
        "rss_bytes_per_instance_just_started": (hot - before) / instances,
        "rss_bytes_per_instance_dehydrated": (cold - before) / instances,
        "python_objects_per_instance_dehydrated": blocks / instances,
        "hydrated_instances_at_the_end": hydrated,
        "disk_bytes_per_instance": file_bytes(database) / instances,
        "restart_rss_bytes_per_instance": (restarted["rss"] - fresh["rss"]) / instances,
        "restart_process_seconds": restarted["process"],
        "restart_hub_seconds": restarted["hub"],
        "restart_hub_seconds_when_empty": fresh["hub"],
        "wake_one_ms": restarted["wake"] * 1e3,
    }
    return [measurement]


async def _start(opened: Bench, orchestrator: str, count: int) -> str:
    ids = await asyncio.gather(*(opened.hub.client.start_new(orchestrator) for _ in range(count)))
    return ids[-1]


async def _dehydrated(opened: Bench) -> None:
    """Lets the idle time-out pass. Sessions are dropped when something commits, so something has to."""
    until = time.monotonic() + 10
    while opened.hub.hydrated_instances > 1 and time.monotonic() < until:
        await asyncio.sleep(0.3)
        await opened.run_all("chain", 1, 1)


def _restart(database: Path, instance_id: str) -> dict[str, float]:
    """Opens the hub in a fresh process, and wakes one instance if there is one. ``process`` counts from its very beginning."""
    begun = time.time()
    command = [sys.executable, "-m", "benchmarks.workers.restarted", str(database), instance_id]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told = json.loads(done.stdout)
    return told | {"process": told["ready_at"] - begun}
