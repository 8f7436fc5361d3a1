"""A host on loopback: ``perdure start`` in a process of its own, loaded from another one, as on a machine of two cores."""

import asyncio
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.hosts import host_of
from benchmarks.hubs import Parameters
from benchmarks.measuring import Measurement

_APPS = Path(__file__).parent.parent / "http_apps"
_WARM_UP = 300


def cases(*, short: bool) -> list[Parameters]:
    """``start`` polls each instance to its end; ``client`` is whose durable client the app is written for.

    As many at once as the host can take, for the rate; and at a fixed rate, for the latencies of a host that isn't flooded.
    """
    if short:
        return [
            {"scenario": "start", "client": "perdure", "count": 2_000, "clients": 256, "rate": 0},
            {"scenario": "event", "client": "perdure", "count": 2_000, "clients": 64},
        ]
    count = 10_000
    clients = ["perdure", *(["azure"] if find_spec("azure.durable_functions") else [])]
    starts = [{"scenario": "start", "client": client, "count": count, "clients": 256, "rate": 0} for client in clients]
    paced = [{"scenario": "start", "client": client, "count": count // 2, "clients": 256, "rate": 500} for client in clients]
    events = [{"scenario": "event", "client": client, "count": count, "clients": 64} for client in [*clients, "none"]]
    return [*starts, *paced, *events]


async def run(parameters: Parameters, directory: Path) -> list[Measurement]:
    """Runs one plan against a fresh host. CPU is that of the host's process, from its own clock."""
    client = parameters["client"]
    async with host_of(_APPS / ("azure" if client == "azure" else "perdure"), directory) as host:
        plan = {key: value for key, value in parameters.items() if key != "client"} | {"port": host.port, "pid": host.pid}
        if plan["scenario"] == "event":
            api = f"/runtime/webhooks/durabletask/instances/ID/raiseEvent/approval?code={host.key}"
            plan["event_path"] = api if client == "none" else "/api/approve/ID"
        await _load(plan | {"scenario": "start", "count": _WARM_UP, "rate": 0})
        seen = await _load(plan)
    latencies = seen["latencies"]
    extra = {f"{what.replace(' ', '_')}_{name}": told[name] for what, told in latencies.items() for name in ("p50_ms", "p99_ms")}
    requests = sum(told["count"] for what, told in latencies.items() if what != "start to end")
    extra |= {
        "requests_per_unit": requests / plan["count"],
        "load_cpu_us_per_unit": seen["cpu_seconds"] * 1e6 / plan["count"],
    }
    return [Measurement(parameters["scenario"], plan["count"], seen["seconds"], seen["host_cpu_seconds"], extra=extra)]


async def _load(plan: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.workers.http_load", json.dumps(plan)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    told, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the load generator failed with {process.returncode}")
    return json.loads(told)
