"""gRPC beside an app: from settings to servers, in a host, in an ASGI app, and embedded."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

pb = pytest.importorskip("durabletask.internal.orchestrator_service_pb2")

import perdure as df  # noqa: E402 - without the extra these tests are skipped
from perdure.cli.child import start_command  # noqa: E402
from perdure.host.configuration import load_settings  # noqa: E402
from perdure.host.grpc_servers import GrpcServers  # noqa: E402
from perdure.host.settings import HostSettings  # noqa: E402
from perdure.protocol.errors import ServerSettingsError  # noqa: E402
from perdure.protocol.settings import ProtocolSettings, TlsFiles  # noqa: E402
from tests.e2e.cli import environment, perdure  # noqa: E402
from tests.unit.protocol_lab import Caller  # noqa: E402


def app() -> df.DFApp:
    made = df.DFApp()

    @made.orchestration_trigger(context_name="context")
    def elsewhere(context: df.DurableOrchestrationContext):
        return (yield context.call_activity("of_a_worker"))

    return made


def work_items(channel: grpc.aio.Channel) -> Any:
    method = channel.unary_stream("/TaskHubSidecarService/GetWorkItems", response_deserializer=pb.WorkItem.FromString)
    return method(pb.GetWorkItemsRequest().SerializeToString(), timeout=60)


async def served_by_a_worker(address: str) -> str:
    """Starts the orchestrator of the app, answers its activity as a worker would, and gives its output."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = Caller(channel)
        await call("StartInstance", pb.CreateInstanceRequest(name="elsewhere", instanceId="i"))
        stream = work_items(channel)
        item = await anext(aiter(stream))
        asked = item.activityRequest
        assert asked.name == "of_a_worker"
        answer = pb.ActivityResponse(instanceId="i", taskId=asked.taskId, completionToken=item.completionToken)
        answer.result.value = '"done"'
        await call("CompleteActivityTask", answer)
        stream.cancel()
        ended = await call("WaitForInstanceCompletion", pb.GetInstanceRequest(instanceId="i", getInputsAndOutputs=True))
        return ended.orchestrationState.output.value


# --- settings -------------------------------------------------------------------------------------------------------


def test_the_settings_of_a_host_become_those_of_its_server(tmp_path: Path):
    assert load_settings(tmp_path, environment={}).protocol() is None
    assert load_settings(tmp_path, environment={}).engine().remote is None
    (tmp_path / "host.json").write_text('{"extensions": {"durableTask": {"maxGrpcMessageSizeInBytes": 4096}}}')
    (tmp_path / "tokens").write_text("one\n\n two \n")
    variables = {"PERDURE_GRPC": "true", "PERDURE_GRPC_TOKEN": "three"}
    flags = {"grpc_port": 0, "grpc_token_file": tmp_path / "tokens", "grpc_cert": "/c.pem", "grpc_key": Path("/k.pem")}
    settings = load_settings(tmp_path, flags, variables)
    assert settings.engine().remote == df.RemoteSettings()
    assert settings.protocol() == ProtocolSettings(
        port=0,
        tokens=frozenset({"one", "two", "three"}),
        tls=TlsFiles(certificate=Path("/c.pem"), key=Path("/k.pem")),
        max_message_bytes=4096,
        drain_grace=settings.drain_grace,
    )


def test_files_are_meant_relative_to_where_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (tmp_path / "local.settings.json").write_text('{"Values": {"PERDURE_GRPC_CERT": "a.pem", "PERDURE_GRPC_CLIENT_CA": ""}}')
    settings = load_settings(tmp_path, {"grpc_key": "b.pem"}, {})
    assert (settings.grpc_cert, settings.grpc_key, settings.grpc_client_ca) == (tmp_path / "a.pem", here / "b.pem", None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"grpc_cert": Path("c.pem")}, "TLS needs both"),
        ({"grpc_client_ca": Path("c.pem")}, "TLS needs both"),
        ({"grpc_token_file": Path("missing")}, "the token file missing can't be read"),
        ({"grpc_token": "  "}, "the token is empty"),
    ],
)
def test_settings_that_make_no_server_are_refused(changes: dict[str, object], said: str, tmp_path: Path):
    settings = replace(HostSettings(folder=tmp_path), grpc=True, **changes)  # type: ignore[arg-type]
    with pytest.raises(ServerSettingsError, match=said):
        settings.protocol()


def test_the_command_for_a_child_has_its_flags(tmp_path: Path):
    command = start_command(tmp_path, {"hub_name": "h", "grpc": True, "grpc_port": 5, "grpc_host": None})
    assert command[-5:] == ["--hub", "h", "--grpc", "--grpc-port", "5"]


def test_a_token_is_not_shown_with_the_configuration(tmp_path: Path):
    (tmp_path / "function_app.py").touch()
    outcome = perdure("config", "--json", folder=tmp_path, variables={"PERDURE_GRPC_TOKEN": "hush"})
    assert json.loads(outcome.out)["settings"]["grpc_token"]["value"] == "***"
    assert "hush" not in outcome.out + outcome.err


def test_several_processes_are_refused(tmp_path: Path):
    (tmp_path / "function_app.py").touch()
    outcome = perdure("start", "--grpc", "--processes", "2", folder=tmp_path)
    assert (outcome.exit_code, "--grpc and --processes exclude each other" in outcome.err) == (2, True)


# --- servers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("public", "shared"),
    [
        (ProtocolSettings(port=0), True),
        (ProtocolSettings(port=0, host="localhost"), True),
        (ProtocolSettings(port=0, tokens=frozenset({"t"})), False),
        (None, False),
    ],
)
async def test_the_apps_own_clients_get_an_address_that_asks_for_nothing(public: ProtocolSettings | None, shared: bool):
    async with df.TaskHub(app(), "memory://") as hub:
        servers = GrpcServers(hub, "h", public, for_app=True)
        await servers.start()
        assert (servers.app_address == servers.public_address) is shared
        async with grpc.aio.insecure_channel(servers.app_address) as channel:
            assert not (await Caller(channel)("GetInstance", pb.GetInstanceRequest(instanceId="i"))).exists
        await servers.stop()


async def test_a_port_that_is_taken_leaves_nothing_behind():
    async with df.TaskHub(app(), "memory://") as hub:
        first = GrpcServers(hub, "h", ProtocolSettings(port=0), for_app=False)
        await first.start()
        assert first.public_address is not None
        port = int(first.public_address.rpartition(":")[2])
        second = GrpcServers(hub, "h", ProtocolSettings(port=port, tokens=frozenset({"t"})), for_app=True)
        with pytest.raises(ServerSettingsError, match="can't listen"):
            await second.start()
        await first.stop()


async def test_an_app_in_a_service_of_ones_own_serves_workers_too(tmp_path: Path):
    settings = replace(HostSettings(folder=tmp_path), grpc=True, grpc_port=0)
    durable = df.asgi(app(), "memory://", keys_file=None, settings=settings)
    await durable.open()
    assert durable.grpc_address is not None
    assert await served_by_a_worker(durable.grpc_address) == '"done"'
    await durable.close()


async def test_an_embedded_hub_serves_workers():
    settings = df.EngineSettings(remote=df.RemoteSettings())
    async with (
        df.TaskHub(app(), settings=settings) as hub,
        df.grpc_server(hub, df.ProtocolSettings(port=0)) as server,
    ):
        assert await served_by_a_worker(server.address) == '"done"'
        status = await hub.client.get_status("i")
        assert status is not None
        assert status.output == "done"


async def test_a_hub_that_leaves_nothing_to_workers_refuses_them_and_serves_clients():
    async with (
        df.TaskHub(app()) as hub,
        df.grpc_server(hub, df.ProtocolSettings(port=0), hub_name="mine") as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        call = Caller(channel)
        code, message = await call.refusal("GetWorkItems", pb.GetWorkItemsRequest())
        assert (code, "remote=RemoteSettings()" in message) == ("FAILED_PRECONDITION", True)
        request = pb.GetInstanceRequest(instanceId="i")
        assert not (await call("GetInstance", request, metadata=[("taskhub", "MINE")])).exists
        assert (await call.refusal("GetInstance", request, metadata=[("taskhub", "default")]))[0] == "NOT_FOUND"


async def test_a_server_that_stops_before_its_hub_waits_for_no_worker():
    served = df.ProtocolSettings(port=0, drain_grace=timedelta(hours=1), health_ping=timedelta(milliseconds=10))
    async with df.TaskHub(app(), settings=df.EngineSettings(remote=df.RemoteSettings())) as hub:
        server = df.grpc_server(hub, served)
        await server.start()
        async with grpc.aio.insecure_channel(server.address) as channel:
            stream = aiter(work_items(channel))
            assert (await anext(stream)).HasField("healthPing")
            assert hub.remote.workers == 1
            await server.stop()
            assert [item async for item in stream if not item.HasField("healthPing")] == []
        assert hub.remote.workers == 0


async def test_workers_are_refused_where_nothing_is_owned(postgres_url: str):
    settings = df.EngineSettings(remote=df.RemoteSettings(), role="http")
    async with (
        df.TaskHub(app(), postgres_url, settings=settings) as hub,
        df.grpc_server(hub, df.ProtocolSettings(port=0)) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        code, message = await Caller(channel).refusal("GetWorkItems", pb.GetWorkItemsRequest())
        assert (code, "Connect to one with the role 'all' or 'owner'" in message) == ("FAILED_PRECONDITION", True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["serve", "--grpc-port", "0"], 2, "pip install 'perdure[grpc]'"),
        (["start", "--port", "0", "--grpc"], 2, "pip install 'perdure[grpc]'"),
        (["config"], 0, ""),
        (["instances", "list", "--store", "sqlite:///hub.db", "--hub", "orders"], 3, "no store hub.orders.db"),
    ],
)
def test_without_the_extra_it_says_what_to_install_and_the_rest_works(arguments: list[str], code: int, said: str, tmp_path: Path):
    (tmp_path / "function_app.py").write_text("import perdure\napp = perdure.DFApp()\n", encoding="utf-8")
    missing = f"import sys; sys.modules['durabletask'] = None; sys.argv[1:] = {arguments!r}"
    program = f"{missing}; from perdure.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
