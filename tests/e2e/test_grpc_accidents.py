"""Workers of the Python SDK that hang, die, come late, are slow or many, and servers that come and go: nothing is lost."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("durabletask.client")

import grpc
from durabletask import history, task
from durabletask import worker as sdk_worker
from durabletask.grpc_options import GrpcWorkerResiliencyOptions

import perdure as df
from tests.e2e import sdk_programs as programs
from tests.e2e.grpc_server import grpc_server
from tests.e2e.sdk_lab import Status, client_at, finished, run, served_here, until, worker_at, worker_process

SHORT = df.RemoteSettings(decision_lease=timedelta(seconds=1), activity_lease=timedelta(seconds=1))
QUICK = GrpcWorkerResiliencyOptions(reconnect_backoff_base_seconds=0.05, reconnect_backoff_cap_seconds=0.2)


def _worker(work: Callable[[task.ActivityContext, Any], Any], decide: Callable[..., Any]) -> Callable[[Any], None]:
    def prepare(worker: Any) -> None:
        worker._registry.add_named_activity("work", work)  # noqa: SLF001 - the same name for other code
        worker._registry.add_named_orchestrator("decide", decide)  # noqa: SLF001

    return prepare


def _asks(context: task.OrchestrationContext, value: Any):
    return (yield context.call_activity("work", input=value))


def _asks_often(context: task.OrchestrationContext, count: int):
    return (yield task.when_all([context.call_activity("work", input=number) for number in range(count)]))


def test_an_activity_that_hangs_goes_to_another_worker_and_its_late_outcome_is_refused():
    begun, go_on, answered = threading.Event(), threading.Event(), threading.Event()

    def hangs(_: task.ActivityContext, __: Any) -> str:
        begun.set()
        assert go_on.wait(60)
        answered.set()
        return "late"

    with (
        served_here(remote=SHORT) as address,
        client_at(address) as client,
        worker_at(address, _worker(hangs, _asks)),
    ):
        instance_id = client.schedule_new_orchestration("decide")
        assert begun.wait(30)
        with worker_at(address, _worker(lambda _, __: "in time", _asks)):
            state = finished(client, instance_id)
        assert state.get_output() == "in time"
        go_on.set()
        assert answered.wait(30)
        assert run(client, "decide").get_output() == "late"  # that worker is as good as any again
        assert finished(client, instance_id).get_output() == "in time"


def test_an_orchestrator_that_hangs_goes_to_another_worker():
    begun, go_on = threading.Event(), threading.Event()

    def hangs(_: task.OrchestrationContext, __: Any) -> str:
        begun.set()
        assert go_on.wait(60)
        return "late"

    def work(_: task.ActivityContext, __: Any) -> str:
        return "in time"

    with (
        served_here(remote=SHORT) as address,
        client_at(address) as client,
        worker_at(address, _worker(work, hangs)),
    ):
        instance_id = client.schedule_new_orchestration("decide")
        assert begun.wait(30)
        with worker_at(address, _worker(work, _asks)):
            assert finished(client, instance_id).get_output() == "in time"
        go_on.set()


@pytest.mark.slow
def test_what_a_killed_worker_had_is_done_by_another_at_once(tmp_path: Path):
    def slow(_: task.ActivityContext, __: float) -> str:
        return "by another"

    def prepare(worker: Any) -> None:
        worker.add_orchestrator(programs.naps)
        worker.add_activity(slow)

    with grpc_server(tmp_path) as server, client_at(server.address) as client:
        with worker_process(server.address):
            ids = [client.schedule_new_orchestration("naps", input=600.0) for _ in range(5)]
            until(lambda: all(_has_begun(client, instance_id) for instance_id in ids))
        with worker_at(server.address, prepare):  # the lease of an activity is a day
            assert [finished(client, instance_id).get_output() for instance_id in ids] == ["by another"] * 5


def _has_begun(client: Any, instance_id: str) -> bool:
    return any(isinstance(event, history.TaskScheduledEvent) for event in client.get_orchestration_history(instance_id))


def test_three_workers_get_equal_shares():
    done: Counter[int] = Counter()
    together = threading.Barrier(30)

    def worker(number: int) -> Callable[[Any], None]:
        def work(_: task.ActivityContext, __: Any) -> int:
            together.wait(30)  # all thirty are out at the same time
            done[number] += 1
            return number

        return _worker(work, _asks_often)

    threads = sdk_worker.ConcurrencyOptions(maximum_thread_pool_workers=40)
    with (
        served_here() as address,
        worker_at(address, worker(0), concurrency_options=threads),
        worker_at(address, worker(1), concurrency_options=threads),
        worker_at(address, worker(2), concurrency_options=threads),
        client_at(address) as client,
    ):
        assert run(client, "decide", 30).runtime_status is Status.COMPLETED
    assert done == {0: 10, 1: 10, 2: 10}


def test_a_slow_worker_gets_less():
    done: Counter[str] = Counter()

    def worker(name: str, seconds: float) -> Callable[[Any], None]:
        def work(_: task.ActivityContext, __: Any) -> None:
            time.sleep(seconds)
            done[name] += 1

        return _worker(work, _asks_often)

    two = sdk_worker.ConcurrencyOptions(maximum_concurrent_activity_work_items=2)
    with (
        served_here() as address,
        worker_at(address, worker("slow", 0.5), concurrency_options=two),
        worker_at(address, worker("fast", 0.0), concurrency_options=two),
        client_at(address) as client,
    ):
        assert run(client, "decide", 100).runtime_status is Status.COMPLETED
    assert done["fast"] > 80
    assert done["slow"] >= 2


@pytest.mark.slow
def test_workers_and_clients_go_on_after_a_planned_restart(tmp_path: Path):
    def work(_: task.ActivityContext, number: int) -> int:
        time.sleep(0.01)
        return number

    def steps(context: task.OrchestrationContext, count: int):
        total = 0
        for number in range(count):
            total += yield context.call_activity("work", input=number)
        return total

    with (
        grpc_server(tmp_path, "--drain", "1") as server,
        worker_at(server.address, _worker(work, steps), resiliency_options=QUICK),
        client_at(server.address) as client,
    ):
        ids = [client.schedule_new_orchestration("decide", input=30) for _ in range(5)]
        for _ in range(2):
            time.sleep(0.3)
            assert server.stop() == 0
            server.start()
        for instance_id in ids:
            assert until(lambda: _output(client, instance_id)) == sum(range(30))  # noqa: B023 - called at once


def _output(client: Any, instance_id: str) -> Any:
    try:
        state = client.get_orchestration_state(instance_id)
    except grpc.RpcError as error:  # which clients of gRPC say for a while without a look at whether the server is back
        if not isinstance(error, grpc.Call) or error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return None
    return state.get_output() if state is not None and state.runtime_status is Status.COMPLETED else None


def test_a_worker_that_stops_gives_back_what_it_has_not_begun():
    """Nothing waits for a lease when a worker goes in good order."""
    release = threading.Event()

    def waits(_: task.ActivityContext, __: Any) -> str:
        assert release.wait(60)
        return "first"

    one = sdk_worker.ConcurrencyOptions(maximum_concurrent_activity_work_items=5, maximum_thread_pool_workers=1)
    with (
        served_here() as address,
        client_at(address) as client,
        worker_at(address, _worker(waits, _asks_often), concurrency_options=one) as leaving,
    ):
        instance_id = client.schedule_new_orchestration("decide", input=5)
        client.wait_for_orchestration_start(instance_id, timeout=30)
        stopping = threading.Thread(target=leaving.stop)
        stopping.start()
        with worker_at(address, _worker(lambda _, __: "second", _asks_often)):
            state = finished(client, instance_id)
        release.set()
        stopping.join(60)
    assert state.get_output().count("second") >= 4
