"""PyPI's ``durabletask`` with its in-memory backend: the same programming model over gRPC, and not durable."""

import socket
import time
from typing import Any

from durabletask.client import TaskHubGrpcClient  # pyright: ignore[reportMissingImports]
from durabletask.testing import create_test_backend  # pyright: ignore[reportMissingImports]
from durabletask.worker import TaskHubGrpcWorker  # pyright: ignore[reportMissingImports]

from benchmarks.measuring import Measurement
from benchmarks.workers.sdk_worker import chain, fan_out, step

Parameters = dict[str, Any]
_TIMEOUT = 600


def feasible(workload: str, parameters: Parameters) -> bool:
    """Its cost per step grows with the length and the width, so the largest sizes would take hours; async activities only."""
    size = parameters.get("width") or parameters.get("steps") or 1
    return parameters.get("activities", "async") == "async" and parameters.get("answers", "client") == "client" and size <= 1_000


def run(workload: str, parameters: Parameters) -> Measurement:
    """One measurement, with a backend, a worker and a client of its own in this process."""
    instances = parameters.get("instances", 1)
    size = parameters.get("width") or parameters.get("steps") or 1
    unit = {"chain": "step", "starts": "instance", "fan_out": "activity"}[workload]
    port = _free_port()
    backend = create_test_backend(port=port)
    address = f"localhost:{port}"
    with TaskHubGrpcWorker(host_address=address) as worker:
        for function in (chain, fan_out):
            worker.add_orchestrator(function)
        worker.add_activity(step)
        worker.start()
        client = TaskHubGrpcClient(host_address=address)
        orchestrator = fan_out if workload == "fan_out" else chain
        _run_all(client, orchestrator, 2, 2)
        wall, cpu = time.perf_counter(), time.process_time()
        _run_all(client, orchestrator, instances, size)
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    backend.stop()
    return Measurement(unit=unit, units=instances * size, seconds=seconds, cpu_seconds=cpu_seconds)


def _run_all(client: Any, orchestrator: Any, instances: int, input_: int) -> None:
    ids = [client.schedule_new_orchestration(orchestrator, input=input_) for _ in range(instances)]
    for instance_id in ids:
        state = client.wait_for_orchestration_completion(instance_id, timeout=_TIMEOUT)
        if state is None or state.runtime_status.name != "COMPLETED":
            raise RuntimeError(f"{orchestrator.__name__} {instance_id} ended as {state}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]
