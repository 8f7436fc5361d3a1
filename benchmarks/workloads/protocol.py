"""The Durable Task protocol: ``perdure serve`` on SQLite, with the worker and the client of PyPI's ``durabletask``.

The SDK's in-memory backend, which isn't durable, gets the same from the same worker and client, right after. CPU is that of the
server's process.
"""

import json
import logging
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from durabletask.client import OrchestrationStatus, TaskHubGrpcClient

from benchmarks.grpc_servers import GrpcServer, child, memory_backend, perdure_server
from benchmarks.hubs import Parameters
from benchmarks.measuring import Measurement

_TIMEOUT = 600


def cases(*, short: bool) -> list[Parameters]:
    """``light_worker`` is about the server alone: that worker replays nothing, for which the SDK's own would take minutes."""
    if short:
        return [{"scenario": "chain", "instances": 20, "size": 10}, {"scenario": "light_worker", "instances": 1, "size": 500}]
    return [
        {"scenario": "chain", "instances": 100, "size": 10},
        {"scenario": "chain", "instances": 1, "size": 300},
        {"scenario": "fan_out", "instances": 1, "size": 500},
        {"scenario": "starts", "instances": 1_000, "size": 1, "callers": 1},
        {"scenario": "starts", "instances": 1_000, "size": 1, "callers": 8},
        {"scenario": "light_worker", "instances": 100, "size": 50},
        {"scenario": "light_worker", "instances": 1, "size": 2_000},
    ]


async def run(parameters: Parameters, directory: Path) -> list[Measurement]:
    """One round; blocks, since everything that works is another process."""
    if parameters["scenario"] == "light_worker":
        return [_light_worker(parameters["instances"], parameters["size"], directory)]
    measured = _measure(perdure_server(directory), **parameters)
    backend = _measure(memory_backend(), **parameters).figures()
    ratio = measured.figures()["value"] / backend["value"]
    measured.extra = {
        "memory_value": backend["value"],
        "memory_cpu_us_per_unit": backend["cpu_us_per_unit"],
        "over_memory": ratio,
    }
    return [measured]


def _measure(
    started: AbstractContextManager[GrpcServer], *, scenario: str, instances: int, size: int, callers: int = 1
) -> Measurement:
    orchestrator = "fan_out" if scenario == "fan_out" else "chain"
    with started as server, child("benchmarks.workers.sdk_worker", server.address):
        client = TaskHubGrpcClient(host_address=server.address, logger=_quiet())
        _run_all(client, orchestrator, 20, 2, callers)
        wall, cpu = time.perf_counter(), server.cpu_seconds
        _run_all(client, orchestrator, instances, size, callers)
        seconds, cpu_seconds = time.perf_counter() - wall, server.cpu_seconds - cpu
    unit = "instance" if scenario == "starts" else "activity"
    return Measurement(unit=unit, units=instances * size, seconds=seconds, cpu_seconds=cpu_seconds)


def _quiet() -> logging.Logger:
    """A line for each call would be a part of what is measured."""
    quiet = logging.getLogger("benchmarks.sdk")
    quiet.setLevel(logging.WARNING)
    return quiet


def _run_all(client: Any, orchestrator: str, instances: int, size: int, callers: int) -> None:
    def start(_: int) -> str:
        return client.schedule_new_orchestration(orchestrator, input=size)

    def wait(instance_id: str) -> None:
        state = client.wait_for_orchestration_completion(instance_id, timeout=_TIMEOUT)
        if state is None or state.runtime_status is not OrchestrationStatus.COMPLETED:
            raise RuntimeError(f"{orchestrator} {instance_id} ended as {state}")

    with ThreadPoolExecutor(callers) as threads:
        list(threads.map(wait, list(threads.map(start, range(instances)))))


def _light_worker(instances: int, size: int, directory: Path) -> Measurement:
    with perdure_server(directory) as server:
        command = [sys.executable, "-m", "benchmarks.workers.light_worker", server.address]
        numbers = map(str, (instances, size, server.pid))
        told = json.loads(subprocess.run([*command, *numbers], check=True, capture_output=True, text=True).stdout)
    used, received = told["cpu_seconds"], told["bytes"]
    fifth = instances * size // 5
    extra = {
        "first_cpu_us_per_unit": (used[2] - used[0]) * 1e6 / fifth,
        "last_cpu_us_per_unit": (used[10] - used[8]) * 1e6 / fifth,
        "last_bytes_per_unit": (received[10] - received[8]) / fifth,
    }
    units = instances * size
    return Measurement(unit="activity", units=units, seconds=told["seconds"], cpu_seconds=used[10] - used[0], extra=extra)
