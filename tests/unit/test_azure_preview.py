"""How apps of the 2.x preview are loaded and worked for; what the SDK itself does with them is seen in the end-to-end tests."""

import asyncio
import base64
import json
import re
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("durabletask.internal.orchestrator_service_pb2")

from durabletask.internal import orchestrator_service_pb2 as pb

import perdure as df
from perdure.core.failures import FailureDetails
from perdure.engine.remote.work import WorkerLimits
from perdure.engine.settings import RemoteSettings
from perdure.host.application import Application
from perdure.host.azure_preview.worker import AppWorker
from perdure.host.loading import load_app
from perdure.host.loading.problems import AppLoadError
from perdure.host.model import ClientParameter, LoadedApp, WorkFunction, WorkFunctions
from perdure.host.settings import HostSettings
from perdure.host.tracebacks import users_trace, with_users_trace
from perdure.store.memory import MemoryStore
from tests.e2e.lab import Kind, Lab

Answer = Callable[..., Any]
UNKNOWN = pb.OrchestratorAction(id=1)


def text(message: Any) -> str:
    return base64.b64encode(message.SerializeToString()).decode()


def completed(value: Any) -> str:
    action = pb.CompleteOrchestrationAction(orchestrationStatus=pb.ORCHESTRATION_STATUS_COMPLETED)
    action.result.value = json.dumps(value)
    return text(pb.OrchestratorResponse(actions=[pb.OrchestratorAction(id=1, completeOrchestration=action)]))


def app_of(orchestrators: dict[str, Answer] | None = None, entities: dict[str, Answer] | None = None) -> LoadedApp:
    def made(functions: dict[str, Answer] | None) -> dict[str, WorkFunction]:
        return {
            name.casefold(): WorkFunction(name, call, "app.py:1", "request", "context")
            for name, call in (functions or {}).items()
        }

    return LoadedApp(
        Path("app"), df.DFApp().functions(), (), "azure-decorators", WorkFunctions(made(orchestrators), made(entities))
    )


def run(app: LoadedApp, scenario: Callable[[df.TaskHub], Coroutine[Any, Any, None]], *, others: bool = False) -> None:
    """With the app's worker at work. The time jumps."""
    lab = Lab(Kind("memory"), Path())

    async def main() -> None:
        async with lab.hub(remote=RemoteSettings()) as hub:
            assert app.work is not None
            worker = AppWorker(app, app.work, others=others)
            worker.start(hub.remote)
            await scenario(hub)
        await worker.stop()

    lab.run(main, real_time=False)


async def outcome(hub: df.TaskHub, name: str) -> df.DurableOrchestrationStatus:
    return await hub.client.wait_for_completion(await hub.client.start_new(name), 3600)


def test_an_orchestrator_gets_its_history_and_its_context_by_name() -> None:
    seen: list[Any] = []

    async def go(*, request: Any, context: Any) -> str:
        asked = pb.OrchestratorRequest.FromString(base64.b64decode(request.body))
        seen.append(([event.WhichOneof("eventType") for event in asked.newEvents], context.function_name))
        return completed("there")

    async def scenario(hub: df.TaskHub) -> None:
        assert (await outcome(hub, "gO")).output == "there"

    run(app_of({"Go": go}), scenario)
    assert seen == [(["orchestratorStarted", "executionStarted"], "Go")]


def test_a_function_that_is_not_async_runs_in_a_thread() -> None:
    threads: list[threading.Thread] = []

    def go(*, request: Any, context: Any) -> str:
        threads.append(threading.current_thread())
        return completed(1)

    async def main() -> None:
        app = app_of({"go": go})
        assert app.work is not None
        async with df.TaskHub(df.DFApp(), settings=df.EngineSettings(remote=RemoteSettings())) as hub:
            worker = AppWorker(app, app.work, others=False)
            worker.start(hub.remote)
            assert (await outcome(hub, "go")).output == 1
        await worker.stop()

    asyncio.run(main())
    assert threads[0] is not threading.main_thread()


@pytest.mark.parametrize("wrong", [None, "!", text(pb.OrchestratorResponse(actions=[UNKNOWN])), OSError("gone")])
def test_what_is_no_answer_is_asked_for_again(wrong: Any, caplog: pytest.LogCaptureFixture) -> None:
    asked = 0

    async def go(*, request: Any, context: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked < 3:
            if isinstance(wrong, OSError):
                raise wrong
            return wrong
        return completed(asked)

    async def scenario(hub: df.TaskHub) -> None:
        assert (await outcome(hub, "go")).output == 3

    run(app_of({"go": go}), scenario)
    assert [record.levelname for record in caplog.records].count("ERROR") == 2
    assert "will be tried again" in caplog.text


def test_an_answer_that_can_not_be_is_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    asked = 0

    async def go(*, request: Any, context: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked > 1:
            return completed(asked)
        task = pb.ScheduleTaskAction(name="act")
        twice = [pb.OrchestratorAction(id=1, scheduleTask=task), pb.OrchestratorAction(id=1, scheduleTask=task)]
        return text(pb.OrchestratorResponse(actions=twice))

    async def scenario(hub: df.TaskHub) -> None:
        assert (await outcome(hub, "go")).output == 2

    run(app_of({"go": go}), scenario)
    assert "PD1121" in caplog.text


def test_an_entity_gets_its_operations_as_a_batch() -> None:
    async def counter(*, request: Any, context: Any) -> str:
        batch = pb.EntityBatchRequest.FromString(base64.b64decode(request.body))
        total = int(batch.entityState.value or 0) + sum(int(operation.input.value) for operation in batch.operations)
        result = pb.EntityBatchResult(results=[pb.OperationResult(success=pb.OperationResultSuccess()) for _ in batch.operations])
        result.entityState.value = str(total)
        return text(result)

    async def scenario(hub: df.TaskHub) -> None:
        for amount in (1, 2, 3):
            await hub.client.signal_entity(df.EntityId("Counter", "a"), "add", amount)
        await asyncio.sleep(1)  # of virtual time
        assert (await hub.client.read_entity_state(df.EntityId("counter", "a"))).entity_state == 6

    run(app_of(entities={"Counter": counter}), scenario)


def test_what_the_app_has_not_got_is_left_to_other_workers_where_there_may_be_any() -> None:
    async def go(*, request: Any, context: Any) -> str:
        return completed("here")

    async def scenario(hub: df.TaskHub) -> None:
        other = hub.remote.connect(WorkerLimits())
        missing = await hub.client.start_new("missing")
        (work,) = await other.next()
        other.disconnect()
        assert work.instance_id == missing  # type: ignore[union-attr]
        assert (await outcome(hub, "GO")).output == "here"

    run(app_of({"go": go}), scenario, others=True)


def test_what_the_app_has_not_got_fails_where_nobody_else_can_have_it() -> None:
    async def scenario(hub: df.TaskHub) -> None:
        status = await outcome(hub, "missing")
        assert status.runtime_status is df.OrchestrationRuntimeStatus.Failed
        assert "there is no orchestrator named 'missing'. Registered: go." in str(status.output)

    run(app_of({"go": lambda: None}), scenario)


def test_what_a_client_is_made_from_depends_on_where_the_app_is_mounted_but_not_on_what_callers_call_it(tmp_path: Path) -> None:
    parameter = ClientParameter("client", "azure-preview", None, None)

    async def main() -> list[str]:
        application = Application(app_of({}), HostSettings(folder=tmp_path), keys=None, store=MemoryStore())
        await application.start()
        asked = [None, "http://one:1/durable", "http://another/durable"]
        made = [str(application.client(parameter, blocking=False, base_url=url)) for url in asked]
        await application.stop()
        return made

    plain, one, another = asyncio.run(main())
    assert one == another
    binding = json.loads(one)
    assert binding["baseUrl"] == "http://localhost/durable/runtime/webhooks/durabletask"
    assert binding["managementUrls"]["statusQueryGetUri"].startswith(f"{binding['baseUrl']}/instances/INSTANCEID?")
    assert json.loads(plain)["baseUrl"] == "http://localhost/runtime/webhooks/durabletask"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", binding["rpcBaseUrl"])
    assert binding["maxGrpcMessageSizeInBytes"] > 4 * 1024 * 1024


def test_an_instance_that_runs_already_waits_for_its_function_to_come_back(caplog: pytest.LogCaptureFixture) -> None:
    async def go(*, request: Any, context: Any) -> str:
        asked = pb.OrchestratorRequest.FromString(base64.b64decode(request.body))
        if asked.pastEvents:
            return completed("in the end")
        return text(pb.OrchestratorResponse())  # waits for an event

    app = app_of({"go": go})
    assert app.work is not None
    functions = app.work.orchestrators

    async def scenario(hub: df.TaskHub) -> None:
        instance_id = await hub.client.start_new("go")
        await asyncio.sleep(1)  # of virtual time
        gone = dict(functions)
        functions.clear()
        await hub.client.raise_event(instance_id, "more", 1)
        await asyncio.sleep(600)
        assert (await hub.client.get_status(instance_id)).runtime_status is df.OrchestrationRuntimeStatus.Running
        functions.update(gone)
        assert (await hub.client.wait_for_completion(instance_id, 600)).output == "in the end"

    run(app, scenario)
    (record,) = [record for record in caplog.records if record.name == "perdure.functions"]
    assert "there is no orchestrator named 'go'. Registered: none. Register it again, or terminate them." in record.getMessage()


def test_an_entity_that_exists_waits_for_its_function_to_come_back(caplog: pytest.LogCaptureFixture) -> None:
    async def counter(*, request: Any, context: Any) -> str:
        batch = pb.EntityBatchRequest.FromString(base64.b64decode(request.body))
        result = pb.EntityBatchResult(results=[pb.OperationResult(success=pb.OperationResultSuccess()) for _ in batch.operations])
        result.entityState.value = str(int(batch.entityState.value or 0) + len(batch.operations))
        return text(result)

    app = app_of(entities={"Counter": counter})
    assert app.work is not None
    functions = app.work.entities
    known, unknown = df.EntityId("Counter", "a"), df.EntityId("Counter", "b")

    async def scenario(hub: df.TaskHub) -> None:
        await hub.client.signal_entity(known, "add")
        await asyncio.sleep(1)  # of virtual time
        gone = dict(functions)
        functions.clear()
        await hub.client.signal_entity(known, "add")
        await hub.client.signal_entity(unknown, "add")
        await asyncio.sleep(600)
        functions.update(gone)
        await asyncio.sleep(600)
        assert (await hub.client.read_entity_state(known)).entity_state == 2
        assert not (await hub.client.read_entity_state(unknown)).entity_exists, "as in any app: there is no such entity"

    run(app, scenario)
    (record,) = [record for record in caplog.records if record.name == "perdure.functions"]
    assert "there is no entity named 'counter'. Registered: none. Register it again." in record.getMessage()


# --- loading --------------------------------------------------------------------------------------------------------

MAIN = """
def user(context): yield
def main(context, *, extra=None): ...
main.{kind}_function = user
"""
ASYNC = """
async def user(context): ...
def main(context): ...
main.orchestrator_function = user
"""


def write(folder: Path, name: str, bindings: list[dict[str, Any]], code: str) -> None:
    (folder / name).mkdir()
    (folder / name / "function.json").write_text(json.dumps({"bindings": bindings}))
    (folder / name / "__init__.py").write_text(code)


def trigger(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": f"{kind}Trigger", "name": "context", "durableRequiresGrpc": True, **more}


CLIENT = {"type": "durableClient", "name": "client", "durableRequiresGrpc": True}


def test_functions_of_the_preview_are_those_whose_bindings_say_so(tmp_path: Path) -> None:
    write(tmp_path, "Go", [trigger("orchestration")], MAIN.format(kind="orchestrator"))
    write(tmp_path, "Count", [trigger("entity", entityName="Counter")], MAIN.format(kind="entity"))
    write(tmp_path, "Act", [trigger("activity"), CLIENT], "async def main(context, client): return [context, client]")
    http = {"type": "httpTrigger", "name": "context", "authLevel": "anonymous"}
    write(tmp_path, "Start", [http, CLIENT], "def main(context, client): ...")
    loaded = load_app(tmp_path)
    assert loaded.needs_grpc
    assert loaded.work is not None
    assert {key: function.name for key, function in loaded.work.orchestrators.items()} == {"go": "Go"}
    assert {key: function.name for key, function in loaded.work.entities.items()} == {"counter": "Counter"}
    assert [function.clients[0].kind for function in loaded.triggered] == ["azure-preview"]
    assert not loaded.functions.orchestrators
    activity = loaded.functions.activities["act"]
    assert activity.pool == "loop"
    loaded.work.client = lambda parameter: f"client for {parameter.name}"
    assert asyncio.run(activity.call(1)) == [1, "client for client"]


@pytest.mark.parametrize(
    ("bindings", "code", "problem"),
    [
        ([trigger("orchestration")], ASYNC, "2.x"),
        ([trigger("orchestration"), CLIENT], MAIN.format(kind="orchestrator"), "'durableClient'"),
        ([trigger("activity")], "def main(other): ...", "'other'"),
    ],
)
def test_what_the_sdk_could_not_run_is_a_problem(tmp_path: Path, bindings: list[dict[str, Any]], code: str, problem: str) -> None:
    write(tmp_path, "Go", bindings, code)
    with pytest.raises(AppLoadError, match=problem):
        load_app(tmp_path)


def test_a_function_file_has_to_say_that_it_is_of_the_preview(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.host.loading.checks.sdk_release", lambda: "2.0.0rc3")
    write(tmp_path, "Go", [{"type": "orchestrationTrigger", "name": "context"}], MAIN.format(kind="orchestrator"))
    with pytest.raises(AppLoadError, match=r'made by azure-functions-durable 2\.0\.0rc3.*\n.*"durableRequiresGrpc": true'):
        load_app(tmp_path)


def test_two_functions_of_one_name_are_a_problem(tmp_path: Path) -> None:
    for folder in ("A", "B"):
        write(tmp_path, folder, [trigger("orchestration", orchestration="Same")], MAIN.format(kind="orchestrator"))
    with pytest.raises(AppLoadError, match="two orchestrators have the name 'Same'"):
        load_app(tmp_path)


# --- tracebacks -----------------------------------------------------------------------------------------------------

SDK = '  File "/env/lib/durabletask/worker.py", line 9, in execute\n    run()\n'
USERS = '  File "/app/function_app.py", line 3, in go\n    return 1 / 0\n           ~~^~~\n'


def test_frames_of_the_sdk_are_left_out_of_what_it_tells() -> None:
    cause = FailureDetails("E", "root", USERS + SDK)
    failure = with_users_trace(FailureDetails("ZeroDivisionError", "by zero", SDK + USERS + SDK, cause))
    assert failure.traceback == f"Traceback (most recent call last):\n{USERS}ZeroDivisionError: by zero"
    assert failure.cause == FailureDetails("E", "root", f"Traceback (most recent call last):\n{USERS}E: root")


@pytest.mark.parametrize("trace", [None, "Traceback (most recent call last):\n  x", "unheard of"])
def test_what_is_not_such_a_traceback_stays(trace: str | None) -> None:
    assert with_users_trace(FailureDetails("E", "m", trace)).traceback == trace


def test_frames_of_the_sdk_alone_are_better_than_none() -> None:
    assert "worker.py" in str(with_users_trace(FailureDetails("E", "m", SDK)).traceback)


def test_a_traceback_begins_with_the_users_code() -> None:
    wrapper = compile("def outer(call):\n    call()\n", "/env/durabletask/x.py", "exec")
    scope: dict[str, Any] = {}
    exec(wrapper, scope)

    def users() -> None:
        raise ValueError

    def first(call: Callable[[], None]) -> str:
        try:
            scope["outer"](call)
        except ValueError:
            trace = sys.exc_info()[2]
            assert trace is not None
            kept = users_trace(trace.tb_next)
            assert kept is not None
            return kept.tb_frame.f_code.co_name
        return "?"

    assert first(users) == "users"
