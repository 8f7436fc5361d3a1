"""Microsoft's own clients on ``perdure serve``, unmodified: nothing but their address is ours."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("durabletask.client")

import grpc
from durabletask import client as sdk
from durabletask import history
from durabletask.entities import EntityInstanceId
from durabletask.internal import orchestrator_service_pb2 as pb

from tests.e2e.grpc_server import GrpcServer, grpc_server

SILENT = logging.getLogger("tests.durabletask")
SILENT.setLevel(logging.CRITICAL)
PENDING, TERMINATED = sdk.OrchestrationStatus.PENDING, sdk.OrchestrationStatus.TERMINATED


@pytest.fixture
def server(tmp_path: Path) -> Generator[GrpcServer]:
    with grpc_server(tmp_path) as running:
        yield running


@contextmanager
def client_of(server: GrpcServer, **options: Any) -> Generator[sdk.TaskHubGrpcClient]:
    client = sdk.TaskHubGrpcClient(host_address=server.address, logger=SILENT, **options)
    try:
        yield client
    finally:
        client.close()


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(grpc.RpcError) as refused:
        call()
    return refused.value.code().name


def test_the_life_of_an_instance_that_nobody_runs(server: GrpcServer):
    with client_of(server, default_version="1.2") as client:
        instance_id = client.schedule_new_orchestration("hello", input={"a": [1, None]}, tags={"team": "red"})
        state = client.get_orchestration_state(instance_id)
        assert state is not None
        assert (state.name, state.runtime_status, state.get_input()) == ("hello", PENDING, {"a": [1, None]})
        with pytest.raises(TimeoutError):
            client.wait_for_orchestration_start(instance_id, timeout=0.2)
        client.raise_orchestration_event(instance_id, "approval", data=True)
        client.suspend_orchestration(instance_id, reason="wait")
        client.suspend_orchestration(instance_id)
        suspended = client.wait_for_orchestration_start(instance_id)
        assert suspended is not None
        assert suspended.runtime_status is sdk.OrchestrationStatus.SUSPENDED
        client.resume_orchestration(instance_id)
        client.terminate_orchestration(instance_id, output={"gone": True})
        ended = client.wait_for_orchestration_completion(instance_id, timeout=20)
        assert ended is not None
        assert (ended.runtime_status, ended.get_output()) == (TERMINATED, {"gone": True})
        events = client.get_orchestration_history(instance_id)
        started = next(event for event in events if isinstance(event, history.ExecutionStartedEvent))
        assert (started.version, started.tags, started.input) == ("1.2", {"team": "red"}, '{"a": [1, null]}')
        assert [event.input for event in events if isinstance(event, history.ExecutionSuspendedEvent)] == ["wait"]
        assert isinstance(events[-1], history.ExecutionCompletedEvent)
        assert client.list_instance_ids().items == [instance_id]
        assert client.restart_orchestration(instance_id) == instance_id
        assert client.purge_orchestration(instance_id).deleted_instance_count == 0
        client.terminate_orchestration(instance_id)
        purged = client.purge_orchestrations_by(runtime_status=[TERMINATED])
        assert (purged.deleted_instance_count, purged.is_complete) == (1, True)
        assert client.get_orchestration_state(instance_id) is None


def test_refusals_have_the_codes_that_the_sdk_expects(server: GrpcServer):
    with client_of(server) as client:
        client.schedule_new_orchestration("hello", instance_id="taken")
        assert code_of(lambda: client.schedule_new_orchestration("hello", instance_id="taken")) == "ALREADY_EXISTS"
        client.terminate_orchestration("taken")
        assert code_of(lambda: client.schedule_new_orchestration("hello", instance_id="taken")) == "ALREADY_EXISTS"
        policy = pb.OrchestrationIdReusePolicy(replaceableStatus=[pb.ORCHESTRATION_STATUS_TERMINATED])
        assert client.schedule_new_orchestration("hello", instance_id="taken", reuse_id_policy=policy) == "taken"
        for call in (
            client.suspend_orchestration,
            client.resume_orchestration,
            client.rewind_orchestration,
            client.restart_orchestration,
        ):
            assert code_of(lambda call=call: call("nobody")) == "NOT_FOUND"
        assert code_of(lambda: client.raise_orchestration_event("nobody", "e")) == "NOT_FOUND"
        assert code_of(lambda: client.get_orchestration_history("nobody")) == "NOT_FOUND"
        assert code_of(lambda: client.rewind_orchestration("taken")) == "FAILED_PRECONDITION"
        assert client.wait_for_orchestration_completion("nobody") is None
        assert client.get_orchestration_state("nobody") is None


def test_lists_of_many(server: GrpcServer):
    with client_of(server) as client:
        ids = sorted(client.schedule_new_orchestration("hello", input=number) for number in range(40))
        found = client.get_all_orchestration_states(sdk.OrchestrationQuery(fetch_inputs_and_outputs=True))
        assert [state.instance_id for state in found] == ids
        assert sorted(state.get_input() for state in found) == list(range(40))
        by_sevens = client.get_all_orchestration_states(sdk.OrchestrationQuery(max_instance_count=7))
        assert [state.instance_id for state in by_sevens] == ids
        assert client.get_all_orchestration_states(sdk.OrchestrationQuery(runtime_status=[TERMINATED])) == []


def test_entities_that_nobody_runs(server: GrpcServer):
    with client_of(server) as client:
        counter = EntityInstanceId("Counter", "a")
        client.signal_entity(counter, "add", input=1)
        assert client.get_entity(counter) is None
        assert client.get_all_entities() == []
        (transient,) = client.get_all_entities(sdk.EntityQuery(include_transient=True))
        assert (str(transient.id), transient.backlog_queue_size) == ("@counter@a", 1)
        assert client.clean_entity_storage() == sdk.CleanEntityStorageResult(0, 0)


def test_what_was_acknowledged_survives_a_power_cut(server: GrpcServer):
    with client_of(server) as client:
        ids = [client.schedule_new_orchestration("hello", input=number) for number in range(20)]
        client.raise_orchestration_event(ids[0], "e", data="kept")
        client.signal_entity(EntityInstanceId("counter", "a"), "add", input=1)
        server.kill()
        server.start()
    with client_of(server) as client:
        assert {state.instance_id for state in client.get_all_orchestration_states()} == set(ids)
        raised = [event for event in client.get_orchestration_history(ids[0]) if isinstance(event, history.EventRaisedEvent)]
        assert [(event.name, event.input) for event in raised] == [("e", '"kept"')]
        assert len(client.get_all_entities(sdk.EntityQuery(include_transient=True))) == 1
    assert server.stop() == 0


async def test_the_clients_of_the_managed_service(server: GrpcServer):
    azuremanaged = pytest.importorskip("durabletask.azuremanaged.client")
    options: Any = {"host_address": server.address, "token_credential": None, "secure_channel": False, "logger": SILENT}
    ours = azuremanaged.DurableTaskSchedulerClient(taskhub="Orders", **options)
    theirs = azuremanaged.AsyncDurableTaskSchedulerClient(taskhub="other", **options)
    try:
        ours.schedule_new_orchestration("hello", instance_id="i")
        assert await theirs.get_orchestration_state("i") is None
        await theirs.schedule_new_orchestration("hello", instance_id="j", input=1)
        # The async client names its task hub in all calls but in streams.
        events = await theirs.get_orchestration_history("j")
        assert any(isinstance(event, history.ExecutionStartedEvent) for event in events)
        assert ours.get_orchestration_state("j") is None
    finally:
        ours.close()
        await theirs.close()


def test_a_token_is_asked_for(tmp_path: Path):
    (tmp_path / "tokens").write_text("\nsecret\n", encoding="utf-8")
    with grpc_server(tmp_path, "--grpc-token-file", "tokens", "--store", "memory://") as server:
        with client_of(server) as client:
            assert code_of(lambda: client.get_orchestration_state("i")) == "UNAUTHENTICATED"
        with client_of(server, metadata=[("authorization", "Bearer secret")]) as client:
            assert client.get_orchestration_state("i") is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "would let everybody in"),
        (["--grpc-token", " "], "the token is empty"),
        (["--grpc-token-file", "none"], "token file none can't be read"),
        (["--grpc-cert", "a"], "TLS needs both"),
        (["--store", "nonsense"], "names no store"),
    ],
)
def test_what_can_not_be_served_is_told(tmp_path: Path, arguments: list[str], message: str):
    with pytest.raises(AssertionError, match=message):
        GrpcServer(tmp_path, *arguments).start()
