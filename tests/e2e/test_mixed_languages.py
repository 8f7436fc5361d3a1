"""One hub, three parties: a functions app, a worker in JavaScript and one in Microsoft's Python SDK, each in its own process."""

import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("durabletask.internal.orchestrator_service_pb2")
from durabletask import client, entities

import perdure as df
from tests.e2e import js_sdk
from tests.e2e.cli import Host, environment, perdure

SOURCES = Path(__file__).parent / "mixed"
PARTIES = ("host", "js", "sdk")
CALLED = ("TaskCompleted", "SubOrchestrationInstanceCompleted")
_GRPC = re.compile(r"^gRPC\s+(\S+)")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not js_sdk.AVAILABLE, reason="needs Node.js with npm"),
]


class Parties:
    """The processes. Each can be killed and started again; the host keeps its ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._node = js_sdk.install(folder)
        for source in SOURCES.iterdir():
            shutil.copy(source, folder)
        self.host: Host | None = None
        self.url = ""
        self.address = ""
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, party: str) -> None:
        match party:
            case "host":
                port, grpc_port = self.url.rpartition(":")[2] or "0", self.address.rpartition(":")[2] or "0"
                self.host = Host(self.folder, "--port", port, "--grpc", "--grpc-port", grpc_port)
                self.url = self.host.listening()
                self.address = self.host.says(_GRPC)
            case "js":
                self._worker(party, [self._node, "mixed_worker.js", self.address])
            case _:
                self._worker(party, [sys.executable, "sdk_worker.py", self.address])

    def kill(self, party: str) -> None:
        if party == "host":
            assert self.host is not None
            self.host.kill()
        else:
            process = self.workers.pop(party)
            process.kill()
            process.wait(30)

    def clean_up(self) -> None:
        for party in list(self.workers):
            self.kill(party)
        if self.host is not None:
            self.host.kill()

    def _worker(self, party: str, command: list[str]) -> None:
        with (self.folder / f"{party}.log").open("ab") as log:
            self.workers[party] = subprocess.Popen(command, cwd=self.folder, env=environment(), stdout=log, stderr=log)


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Generator[Parties]:
    started = Parties(tmp_path_factory.mktemp("mixed"))
    try:
        for party in PARTIES:
            started.start(party)
        yield started
    finally:
        started.clean_up()


@pytest.fixture(scope="module")
def http(parties: Parties) -> Callable[..., Any]:
    """The command line, which goes over HTTP: gives what it prints with ``--json``."""

    def run(command: str, *arguments: str) -> Any:
        done = perdure("instances", command, *arguments, "--url", parties.url, folder=parties.folder)
        assert done.exit_code in (0, 1), done.err
        return done.out

    return run


@pytest.fixture
def sdk(parties: Parties) -> Generator[client.TaskHubGrpcClient]:
    with client.TaskHubGrpcClient(host_address=parties.address) as found:
        yield found


def output(sdk: client.TaskHubGrpcClient, instance_id: str) -> Any:
    state = sdk.wait_for_orchestration_completion(instance_id, timeout=60)
    assert state is not None
    assert state.runtime_status is client.OrchestrationStatus.COMPLETED, state
    return state.get_output()


def run(sdk: client.TaskHubGrpcClient, name: str, value: Any) -> Any:
    return output(sdk, sdk.schedule_new_orchestration(name, input=value))


def until(holds: Callable[[], object]) -> None:
    """Waits for what another process does."""
    for _ in range(3000):
        if holds():
            return
        time.sleep(0.02)
    raise AssertionError("it does not come")


def status(sdk: client.TaskHubGrpcClient, instance_id: str) -> str:
    state = sdk.get_orchestration_state(instance_id)
    return "" if state is None else state.runtime_status.name


def waits(sdk: client.TaskHubGrpcClient, instance_id: str) -> bool:
    state = sdk.get_orchestration_state(instance_id)
    return state is not None and state.serialized_custom_status == '"waiting"'


def test_an_orchestrator_of_the_app_calls_activities_and_orchestrations_of_every_worker(sdk: client.TaskHubGrpcClient):
    # double, add 1; double and add 1; add 1; add 1000
    assert run(sdk, "around", 5) == ((5 * 2 + 1) * 2 + 1) + 1 + 1000


def test_an_orchestrator_in_javascript_calls_an_orchestration_and_an_entity_of_the_app(sdk: client.TaskHubGrpcClient):
    assert run(sdk, "from_js", 1) == [1001, 15]
    state = sdk.get_entity(entities.EntityInstanceId("counter", "js"))
    assert state is not None
    assert state.get_state(int) == 15


def test_an_orchestrator_of_the_app_locks_calls_and_signals_an_entity_in_javascript(sdk: client.TaskHubGrpcClient):
    assert run(sdk, "tallies", None) == [6, 7]


def test_clients_of_every_kind_signal_the_entities_of_all(sdk: client.TaskHubGrpcClient, parties: Parties):
    for name in ("counter", "tally"):
        sdk.signal_entity(entities.EntityInstanceId(name, "clients"), "add", input=2)
        request = urllib.request.Request(
            f"{parties.url}/runtime/webhooks/durabletask/entities/{name}/clients?op=add",
            data=b"3",
            headers={"Content-Type": "application/json", "x-functions-key": code(parties)},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 202

        def state(name: str = name) -> int | None:
            found = sdk.get_entity(entities.EntityInstanceId(name, "clients"))
            return None if found is None else found.get_state(int)

        until(lambda state=state: state() == 5)


def code(parties: Parties) -> str:
    from perdure.host.keys import load_or_create_keys

    return load_or_create_keys(parties.folder / ".perdure" / "keys.json").durable_task_key


def test_a_tree_over_three_languages_is_steered_from_anywhere(sdk: client.TaskHubGrpcClient, http: Callable[..., Any]):
    http("start", "tree", "--id", "steered")
    until(lambda: waits(sdk, "steered:js:leaf"))
    for instance_id in ("steered", "steered:js", "steered:js:leaf"):
        http("suspend", instance_id, "--reason", "a pause")
        assert status(sdk, instance_id) == "SUSPENDED"
    sdk.raise_orchestration_event("steered:js:leaf", "go", data={"by": "sdk"})
    assert [status(sdk, each) for each in ("steered", "steered:js", "steered:js:leaf")] == ["SUSPENDED"] * 3
    for instance_id in ("steered:js:leaf", "steered:js", "steered"):
        sdk.resume_orchestration(instance_id)
    assert output(sdk, "steered") == {"by": "sdk"}
    assert output(sdk, "steered:js") == {"by": "sdk"}


def test_termination_goes_down_through_all_languages(sdk: client.TaskHubGrpcClient, http: Callable[..., Any]):
    for how in ("cli", "sdk"):
        sdk.schedule_new_orchestration("tree", instance_id=how)
        until(lambda how=how: waits(sdk, f"{how}:js:leaf"))
    http("terminate", "cli", "--recursive", "--reason", "enough")
    sdk.terminate_orchestration("sdk", output="enough", recursive=True)
    for how in ("cli", "sdk"):
        for instance_id in (how, f"{how}:js", f"{how}:js:leaf"):
            until(lambda instance_id=instance_id: status(sdk, instance_id) == "TERMINATED")
    assert sdk.purge_orchestration("sdk", recursive=True).deleted_instance_count == 3
    listed = [line.split()[0] for line in http("list", "--prefix", "cli").splitlines()[1:]]
    assert listed == ["cli", "cli:js", "cli:js:leaf"]
    assert http("purge", *listed).startswith("3 deleted")
    assert sdk.get_orchestration_state("cli:js") is None


@pytest.mark.parametrize("how", ["cli", "sdk"])
def test_a_failure_is_rewound_through_all_languages(
    how: str, sdk: client.TaskHubGrpcClient, http: Callable[..., Any], parties: Parties
):
    name = f"rewound-by-{how}"
    sdk.schedule_new_orchestration("flaky_tree", instance_id=name, input=name)
    until(lambda: status(sdk, name) == "FAILED")
    assert "not yet" in http("show", name)
    assert status(sdk, f"{name}:js") == "FAILED"
    (parties.folder / f"{name}.works").touch()
    if how == "cli":
        http("rewind", name)
    else:
        sdk.rewind_orchestration(name, reason="try again")
    assert output(sdk, name) == "works"
    assert output(sdk, f"{name}:js") == "works"


async def functions_of(over_http: df.Client, name: str) -> list[str]:
    """What an instance has called, by its history."""
    found = await over_http.get_status(f"listed-{name}", show_history=True)
    return [event["FunctionName"] for event in found.history or [] if event["EventType"] in CALLED]


async def test_queries_and_histories_show_instances_of_all(sdk: client.TaskHubGrpcClient, parties: Parties):
    for name in ("around", "js_child", "sdk_child"):
        output(sdk, sdk.schedule_new_orchestration(name, instance_id=f"listed-{name}", input=1))
    async with df.Client(parties.url, code=code(parties)) as over_http:
        listed = await over_http.get_status_by(instance_id_prefix="listed-")
        assert sorted(str(each.name) for each in listed) == ["around", "js_child", "js_child", "sdk_child", "sdk_child"]
        assert {each.runtime_status for each in listed} == {df.OrchestrationRuntimeStatus.Completed}
        assert await functions_of(over_http, "around") == ["js_double", "sdk_add", "js_child", "sdk_child", "add_thousand"]
        assert await functions_of(over_http, "js_child") == ["js_double"]
    completed = client.OrchestrationQuery(runtime_status=[client.OrchestrationStatus.COMPLETED])
    asked = {state.instance_id: state.name for state in sdk.get_all_orchestration_states(completed)}
    assert asked.items() >= {each.instance_id: each.name for each in listed}.items()
    history = sdk.get_orchestration_history("listed-around")
    assert type(history[1]).__name__ == "ExecutionStartedEvent"


@pytest.mark.parametrize("party", PARTIES)
def test_each_party_may_be_killed_in_the_middle(party: str, parties: Parties, sdk: client.TaskHubGrpcClient):
    """All three have an activity; one of them dies and comes back; the orchestration ends as if nothing had been."""
    name = f"killed-{party}"
    marks = [parties.folder / f"{name}.{each}" for each in PARTIES]
    sdk.schedule_new_orchestration("together", instance_id=name, input=name)
    until(lambda: all(mark.exists() for mark in marks))
    marks[PARTIES.index(party)].unlink()
    parties.kill(party)
    parties.start(party)
    until(marks[PARTIES.index(party)].exists)  # it is done again, where it was in the middle
    (parties.folder / f"{name}.release").touch()
    with client.TaskHubGrpcClient(host_address=parties.address) as again:
        assert output(again, name) == ["host", "js", "sdk"]
