"""Large payloads on ``perdure serve``: up to the limit they go through, over it everybody is told, and only they are held up."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("durabletask.client")

import grpc
from durabletask import task
from durabletask.grpc_options import GrpcChannelOptions

from tests.e2e.grpc_server import GrpcServer, grpc_server
from tests.e2e.sdk_lab import Client, Status, client_at, finished, run, until, worker_at

MB = 1 << 20
ANY = GrpcChannelOptions(max_receive_message_length=-1, max_send_message_length=-1)


def swell(_: task.ActivityContext, size: int) -> str:
    return "x" * size


def swells(context: task.OrchestrationContext, sizes: list[int]):
    """One after the other, so that each is in the history that the next turn gets."""
    total = 0
    for size in sizes:
        total += len((yield context.call_activity(swell, input=size)))
    return total


def measures(_: task.OrchestrationContext, text: str) -> int:
    return len(text)


def chain(context: task.OrchestrationContext, length: int):
    for _ in range(length):
        yield context.call_activity(swell, input=1)
    return "on time"


def prepare(worker: Any) -> None:
    for orchestrator in (swells, measures, chain):
        worker.add_orchestrator(orchestrator)
    worker.add_activity(swell)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[GrpcServer]:
    with grpc_server(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: GrpcServer) -> Generator[Client]:
    with client_at(server.address, channel_options=ANY) as made:
        yield made


def test_payloads_up_to_the_limit_go_through(server: GrpcServer, client: Client):
    with worker_at(server.address, prepare, channel_options=ANY):
        assert run(client, "measures", "x" * (63 * MB)).get_output() == 63 * MB
        assert run(client, "swells", [30 * MB, 30 * MB]).get_output() == 60 * MB
        state = run(client, "swells", [5 * MB])
        assert state.get_output() == 5 * MB
        client.raise_orchestration_event(state.instance_id, "ignored", data="x" * (40 * MB))


def test_a_message_over_the_limit_is_refused_and_nothing_happens(client: Client):
    with pytest.raises(grpc.RpcError) as refused:
        client.schedule_new_orchestration("measures", input="x" * (64 * MB), instance_id="too-large")
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than the" in (refused.value.details() or "")
    assert client.get_orchestration_state("too-large") is None


def test_an_instance_that_is_too_large_for_a_worker_holds_up_nobody_else(tmp_path: Path):
    """The SDK takes 4 MB unless it is told otherwise, and leaves on more."""
    with grpc_server(tmp_path) as server, client_at(server.address) as client:
        with worker_at(server.address, prepare):
            large = client.schedule_new_orchestration("swells", input=[5 * MB])
            others = [client.schedule_new_orchestration("chain", input=20) for _ in range(5)]
            for instance_id in others:
                assert finished(client, instance_id).get_output() == "on time"
            assert run(client, "chain", 20).get_output() == "on time"
            state = client.get_orchestration_state(large)
            assert state is not None
            assert state.runtime_status is Status.RUNNING
        with worker_at(server.address, prepare, channel_options=ANY):
            assert finished(client, large, 60).get_output() == 5 * MB


def test_an_instance_that_is_too_large_for_the_server_holds_up_nobody_either(tmp_path: Path):
    with (
        grpc_server(tmp_path, "--max-message-mb", "8") as server,
        client_at(server.address, channel_options=ANY) as client,
        worker_at(server.address, prepare, channel_options=ANY),
    ):
        large = client.schedule_new_orchestration("swells", input=[5 * MB, 5 * MB])
        assert run(client, "chain", 20).get_output() == "on time"
        until(lambda: len(client.get_orchestration_history(large)) >= 10)
        assert run(client, "chain", 20).get_output() == "on time"
        state = client.get_orchestration_state(large)
        assert state is not None
        assert state.runtime_status is Status.RUNNING
        assert server.stop() == 0
    assert f"instance '{large}' waits for a worker that takes" in server.said
