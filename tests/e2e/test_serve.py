"""``perdure serve`` around gRPC: its management API, the shell on it and on its files, several servers on PostgreSQL."""

import signal
import ssl
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("durabletask.internal.orchestrator_service_pb2")

from durabletask import task

from tests.certificates import certificates
from tests.e2e.cli import Outcome, perdure
from tests.e2e.grpc_server import GrpcServer, grpc_server
from tests.e2e.sdk_lab import client_at, worker_at
from tests.e2e.sdk_programs import register

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

API = "/runtime/webhooks/durabletask"
Shell = Callable[..., Outcome]


def fails_without_file(_: task.ActivityContext, path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def reads(context: task.OrchestrationContext, path: str) -> Any:
    return (yield context.call_activity(fails_without_file, input=path))


def prepare(worker: Any) -> None:
    register(worker)
    worker.add_activity(fails_without_file)
    worker.add_orchestrator(reads)


@pytest.fixture
def server(tmp_path: Path) -> Generator[GrpcServer]:
    with grpc_server(tmp_path, "--http-port", "0") as running:
        yield running


def shell(folder: Path, *where: str) -> Shell:
    return lambda command, *arguments: perdure("instances", command, *arguments, *where, folder=folder)


def done(outcome: Outcome) -> str:
    assert outcome.exit_code == 0, outcome.err
    return outcome.out


def rows(outcome: Outcome) -> dict[str, str]:
    """Id and status of what ``list`` shows."""
    return {line.split()[0]: line.split()[2] for line in done(outcome).splitlines()[1:]}


def test_the_shell_does_everything_with_instances_of_workers(server: GrpcServer, tmp_path: Path):
    run = shell(tmp_path, "--url", server.management)
    with worker_at(server.address, prepare):
        done(run("start", "chain", "--id", "chain", "--input", "3", "--wait", "--timeout", "30"))
        assert "TaskCompleted" in done(run("history", "chain"))
        done(run("start", "waits", "--id", "waits", "--input", '["go"]'))
        done(run("suspend", "waits", "--reason", "a pause"))
        assert "Suspended" in done(run("show", "waits"))
        done(run("raise-event", "waits", "go", "--data", '{"a": 1}'))
        done(run("resume", "waits"))
        assert '{"a": 1}' in done(run("wait", "waits", "--timeout", "30")).replace('{"a":1}', '{"a": 1}')
        failed = run("start", "reads", "--id", "reads", "--input", f'"{tmp_path / "file"}"', "--wait")
        assert (failed.exit_code, "No such file" in failed.out) == (1, True)
        (tmp_path / "file").write_text("there", encoding="utf-8")
        done(run("rewind", "reads", "--reason", "it is there now"))
        assert "there" in done(run("wait", "reads", "--timeout", "30"))
        assert done(run("restart", "chain", "--same-id")).strip() == "chain"
        done(run("wait", "chain", "--timeout", "30"))
        done(run("start", "parent_of_waiting", "--id", "family", "--input", "null"))
        done(run("terminate", "family", "--reason", "enough", "--recursive"))
        assert rows(run("list", "--prefix", "family"))["family"] == "Terminated"
        assert rows(run("list", "--status", "completed")) == dict.fromkeys(("chain", "reads", "waits"), "Completed")
        assert done(run("purge", "chain", "waits")).startswith("2 deleted")
        assert run("show", "chain").exit_code == 3


def test_the_shell_works_on_what_a_server_left(server: GrpcServer, tmp_path: Path):
    with worker_at(server.address, prepare), client_at(server.address) as client:
        for name in ("waits", "ends", "pauses"):
            client.schedule_new_orchestration("waits", instance_id=name, input=["go"])
            client.wait_for_orchestration_start(name, timeout=30)
        client.schedule_new_orchestration("reads", instance_id="reads", input=str(tmp_path / "file"))
        client.wait_for_orchestration_completion("reads", timeout=30)
    stored = shell(tmp_path, "--store", "sqlite:///hub.db")
    assert stored("list").exit_code == 4  # the server has it
    server.stop()
    (tmp_path / "file").write_text("there", encoding="utf-8")
    assert rows(stored("list")) == {"ends": "Running", "pauses": "Running", "reads": "Failed", "waits": "Running"}
    done(stored("start", "chain", "--id", "chain", "--input", "2"))
    done(stored("raise-event", "waits", "go", "--data", "5"))
    done(stored("terminate", "ends"))
    done(stored("suspend", "pauses"))
    done(stored("rewind", "reads"))
    assert rows(stored("list", "--status", "terminated")) == {"ends": "Terminated"}
    done(stored("purge", "ends"))
    assert stored("list", "--hub", "orders").exit_code == 3
    server.start()
    with worker_at(server.address, prepare), client_at(server.address) as client:
        for name, output in (("chain", 2), ("waits", [5]), ("reads", "there")):
            assert client.wait_for_orchestration_completion(name, timeout=30).get_output() == output
        assert client.get_orchestration_state("pauses").runtime_status.name == "SUSPENDED"
        assert client.get_orchestration_state("ends") is None


def test_each_hub_is_reached_by_its_name(server: GrpcServer, tmp_path: Path):
    run = shell(tmp_path, "--url", server.management)
    orders = shell(tmp_path, "--url", server.management, "--hub", "orders")
    assert "there is no task hub 'orders'" in orders("list").err
    with worker_at(server.address, prepare, metadata=[("taskhub", "Orders")]):
        # The worker's connection has made it, which may be a moment ahead of this command or behind it.
        while (started := orders("start", "chain", "--id", "i", "--input", "2", "--wait", "--timeout", "30")).exit_code == 4:
            assert "there is no task hub" in started.err
        done(started)
    assert rows(orders("list")) == {"i": "Completed"}
    assert rows(run("list")) == {}
    server.stop()
    assert rows(perdure_on_files(tmp_path)) == {"i": "Completed"}


def perdure_on_files(folder: Path) -> Outcome:
    return perdure("instances", "list", "--store", "sqlite:///hub.db", "--hub", "orders", folder=folder)


def test_the_management_api_has_the_tls_and_the_tokens_of_grpc(tmp_path: Path):
    files = certificates(tmp_path)["server"]
    (tmp_path / "tokens").write_text("one\ntwo\n", encoding="utf-8")
    tls = ("--grpc-cert", str(files.certificate), "--grpc-key", str(files.key), "--grpc-token-file", "tokens")
    trusted = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    with grpc_server(tmp_path, "--http-port", "0", "--store", "memory://", *tls) as server:
        assert server.management.startswith("https://")
        with httpx.Client(base_url=server.management + API, verify=trusted) as http:
            assert http.get("/instances").status_code == 401
            assert http.get("/instances", headers={"authorization": "Bearer two"}).json() == []


def test_a_client_without_a_certificate_gets_in_nowhere(tmp_path: Path):
    files = certificates(tmp_path)["mutual"]
    tls = ("--grpc-cert", str(files.certificate), "--grpc-key", str(files.key), "--grpc-client-ca", str(files.client_ca))
    trusted = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    with grpc_server(tmp_path, "--http-port", "0", "--store", "memory://", *tls) as server:
        url = server.management + API
        with httpx.Client(verify=trusted) as stranger, pytest.raises(httpx.TransportError):
            stranger.get(f"{url}/instances")
        trusted.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
        with httpx.Client(verify=trusted) as known:
            assert known.get(f"{url}/instances").json() == []


def holds(_: task.ActivityContext, path: str) -> str:
    Path(f"{path}.begun").touch()
    for _attempt in range(1500):  # not for ever, so that a test that has failed can end
        if Path(path).exists():
            break
        time.sleep(0.02)
    return Path(path).read_text(encoding="utf-8")


def calls_holds(context: task.OrchestrationContext, path: str) -> Any:
    return (yield context.call_activity(holds, input=path))


def prepare_to_hold(worker: Any) -> None:
    worker.add_activity(holds)
    worker.add_orchestrator(calls_holds)


def test_it_drains_what_workers_have_and_a_second_signal_ends_it(tmp_path: Path):
    with grpc_server(tmp_path, "--drain", "3600", "--http-port", "0") as server, worker_at(server.address, prepare_to_hold):
        for name in ("drained", "hurried"):
            path = tmp_path / name
            run = shell(tmp_path, "--url", server.management)
            done(run("start", "calls_holds", "--id", name, "--input", f'"{path}"'))
            while not path.with_suffix(".begun").exists():
                time.sleep(0.02)
            server.signal()
            server.says("draining: 1 work items at workers get up to 3600 s")
            if name == "drained":
                path.write_text("held", encoding="utf-8")
                assert server.ended() == 0
                server.start()
                assert "held" in done(shell(tmp_path, "--url", server.management)("wait", name, "--timeout", "60"))
            else:
                server.signal()
                assert server.ended() == -signal.SIGTERM
                path.touch()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "0.0.0.0"), "would let everybody in"),
        (("--grpc-cert", "x"), "TLS needs both"),
        (("--grpc-token-file", "missing"), "can't be read"),
        (("--grpc-token", " "), "the token is empty"),
    ],
)
def test_what_can_not_be_served_is_told_at_once(arguments: tuple[str, ...], said: str, tmp_path: Path):
    outcome = perdure("serve", "--grpc-port", "0", *arguments, folder=tmp_path)
    assert (outcome.exit_code, said in outcome.err) == (2, True), outcome.err
    assert not (tmp_path / "hub.db").exists()


def test_servers_on_several_machines_share_a_hub_in_postgresql(tmp_path: Path, postgres_url: str):
    """Each has a worker of its own. When one is killed, the other takes over what it had."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    ids = [f"i{number}" for number in range(40)]
    with (
        grpc_server(folders[0], "--store", postgres_url) as first,
        grpc_server(folders[1], "--store", postgres_url, "--http-port", "0") as second,
        worker_at(first.address, prepare),
        worker_at(second.address, prepare),
    ):
        with client_at(first.address) as client:
            for instance_id in ids:
                client.schedule_new_orchestration("waits", instance_id=instance_id, input=["go"])
                client.wait_for_orchestration_start(instance_id, timeout=60)
        first.kill()
        with client_at(second.address) as client:
            for instance_id in ids:
                client.raise_orchestration_event(instance_id, "go", data=instance_id)
            for instance_id in ids:
                state = client.wait_for_orchestration_completion(instance_id, timeout=60)
                assert state.get_output() == [instance_id]
        over_http = shell(tmp_path, "--url", second.management)
        on_the_store = shell(tmp_path, "--store", postgres_url)  # which many processes may share
        for run in (over_http, on_the_store):
            assert set(rows(run("list", "--limit", "100"))) == set(ids)
