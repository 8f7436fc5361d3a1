"""SIGKILL in the middle of the work: how long until all is done, and what was lost (nothing may be) or done twice."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.hubs import Parameters
from benchmarks.measuring import Measurement
from perdure.core.codec import decode_segment
from perdure.core.events import TaskCompleted
from perdure.store.contract import HubStore, InstanceQuery
from perdure.store.sqlite import SqliteStore

Done = set[tuple[str, int]]
"""``(instance id, step)``."""


def cases(*, short: bool) -> list[Parameters]:
    del short
    return [{"instances": 200, "steps": 20, "killed_after": 0.5}]


async def run(parameters: Parameters, directory: Path) -> list[Measurement]:
    """The unit is a step; the time is that from the kill's restart (a fresh process) until all instances have completed."""
    instances, steps = parameters["instances"], parameters["steps"]
    database, log = directory / "hub.db", directory / "activities.log"
    log.touch()
    worker = _worker(database, log, instances, steps)
    while lines(log) < instances * steps * parameters["killed_after"]:
        if worker.poll() is not None:
            raise RuntimeError("the worker ended before it could be killed")
        await asyncio.sleep(0.001)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    begun_before = lines(log)
    kept = await completed(SqliteStore(database))
    restarted_at = time.perf_counter()
    worker = _worker(database, log, instances, steps)
    if worker.wait() != 0:
        raise RuntimeError("the restarted worker failed")
    seconds = time.perf_counter() - restarted_at
    entries = [entry(line) for line in log.read_text(encoding="ascii").splitlines()]
    times_run = Counter(entries)
    after = set(entries[begun_before:])
    finished = await completed(SqliteStore(database))
    return [
        Measurement(
            unit="step",
            units=instances * steps - len(kept),
            seconds=seconds,
            cpu_seconds=_children_cpu(),
            extra={
                "seconds_until_all_done": seconds,
                "instances_lost": instances - len({instance_id for instance_id, step in finished if step == steps - 1}),
                "steps_never_run": instances * steps - len(times_run),
                "completed_before_kill": len(kept),
                "completed_activities_lost": len(kept - finished) + len(kept & after),
                "activities_run_twice": sum(1 for times in times_run.values() if times == 2),
                "activities_run_more_often": sum(1 for times in times_run.values() if times > 2),
            },
        )
    ]


def _worker(database: Path, log: Path, instances: int, steps: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.workers.killed", str(database), str(log), str(instances), str(steps)]
    )


def lines(log: Path) -> int:
    """How many activities have begun."""
    return log.read_bytes().count(b"\n")


def entry(line: str) -> tuple[str, int]:
    """The instance id and the step of a line."""
    instance_id, step = line.split()
    return instance_id, int(step)


def _children_cpu() -> float:
    times = os.times()
    return times.children_user + times.children_system


async def completed(store: HubStore) -> Done:
    """The activities whose completion is in a store, which is opened for that. Steps of a chain are its tasks, in order."""
    await store.open()
    try:
        done: Done = set()
        for record in await store.list(InstanceQuery(limit=100_000)):
            instance_id = record.row.instance_id
            for segment in await store.history(instance_id):
                events = decode_segment(segment.events)
                done |= {(instance_id, event.task_id) for event in events if isinstance(event, TaskCompleted)}
        return done
    finally:
        await store.close()
