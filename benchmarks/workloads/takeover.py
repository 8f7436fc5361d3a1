"""SIGKILL of one of two engines on PostgreSQL: when the other one has taken over, and that nothing is lost."""

import asyncio
import time
from collections import Counter
from pathlib import Path

import perdure as df
from benchmarks.engines import engine_processes, equal_shares, reached
from benchmarks.hubs import Parameters
from benchmarks.measuring import Measurement
from benchmarks.servers import server
from benchmarks.workers.killed import logging_app
from benchmarks.workloads.recovery import completed, entry, lines
from perdure import EngineSettings
from perdure.store.postgres import PostgresStore

_SCHEMA = "takeover"
_OWNED_BY = "SELECT count(*) FROM {schema}.partitions WHERE owner LIKE '%:{pid}:%'"


def cases(*, short: bool) -> list[Parameters]:
    """Leases as they are by default: how soon others take over depends on them more than on anything else."""
    del short
    return [{"instances": 200, "steps": 20, "killed_after": 0.5}]


async def run(parameters: Parameters, directory: Path) -> list[Measurement]:
    """The unit is a step; the time is that from the kill until all instances have completed."""
    instances, steps = parameters["instances"], parameters["steps"]
    log = directory / "activities.log"
    log.touch()
    names = [f"chain-{number}" for number in range(instances)]
    client_only = EngineSettings(role="http")
    async with server(directory) as opened:
        url = opened.url(_SCHEMA)
        async with (
            engine_processes(["all", "all"], url, log) as engines,
            df.TaskHub(logging_app(log), url, settings=client_only) as hub,
        ):
            await equal_shares(opened, _SCHEMA, engines)
            victim = engines[0]
            running = [asyncio.create_task(_run(hub, name, steps)) for name in names]
            while lines(log) < instances * steps * parameters["killed_after"]:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.001)
            await victim.kill()
            killed_at = time.perf_counter()
            kept = await completed(PostgresStore(url))
            await reached(opened, _OWNED_BY.format(schema=_SCHEMA, pid=victim.pid), 0)
            taken_over = time.perf_counter() - killed_at
            await reached(opened, f"SELECT count(*) FROM {_SCHEMA}.instances WHERE status <> 'Completed'", 0)
            seconds = time.perf_counter() - killed_at
            await asyncio.gather(*running)
            told = time.perf_counter() - killed_at
            finished = await completed(PostgresStore(url))
            engines.remove(victim)
    times_run = Counter(entry(line) for line in log.read_text(encoding="ascii").splitlines())
    return [
        Measurement(
            unit="step",
            units=instances * steps - len(kept),
            seconds=seconds,
            cpu_seconds=0,
            parameters={"postgresql": opened.version},
            extra={
                "lease_seconds": client_only.lease_duration.total_seconds(),
                "take_over_seconds": taken_over,
                "seconds_until_all_done": seconds,
                "seconds_until_all_callers_told": told,
                "instances_lost": instances - len({instance_id for instance_id, step in finished if step == steps - 1}),
                "steps_never_run": instances * steps - len(times_run),
                "completed_before_kill": len(kept),
                "completed_activities_lost": len(kept - finished),
                "activities_run_twice": sum(1 for times in times_run.values() if times == 2),
                "activities_run_more_often": sum(1 for times in times_run.values() if times > 2),
            },
        )
    ]


async def _run(hub: df.TaskHub, name: str, steps: int) -> None:
    await hub.client.start_new("logged_chain", name, steps)
    ended = await hub.client.wait_for_completion(name, timeout=120)
    if ended.output != steps:
        raise RuntimeError(f"{name} returned {ended.output!r}")
