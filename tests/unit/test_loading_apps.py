"""Loaded apps: what the host gets to know of functions in each programming model."""

import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

pytest.importorskip("azure.durable_functions")

from perdure.host.loading import load_app
from perdure.host.model import (
    AsgiRoute,
    ClientParameter,
    HttpTrigger,
    LoadedApp,
    Output,
    QueueTrigger,
    TimerTrigger,
    TriggeredFunction,
    WarmupTrigger,
    WsgiRoute,
)

APPS = Path(__file__).parents[1] / "e2e" / "azure_apps"


def load(folder: Path, code: str) -> LoadedApp:
    folder.mkdir(exist_ok=True)
    (folder / "function_app.py").write_text(dedent(code), encoding="utf-8")
    return load_app(folder)


def by_name(loaded: LoadedApp) -> dict[str, TriggeredFunction]:
    return {function.name: function for function in loaded.triggered}


OWN_APP = """
    import azure.functions as func
    import perdure as df

    app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
    more = df.Blueprint()

    @app.route(route="start/{name}", methods=["post"])
    @app.durable_client_input(client_name="client", task_hub="Hub")
    async def start(req, client): ...

    @app.durable_client_input(client_name="client")
    @app.function_name("Renamed")
    @app.route(auth_level="admin", binding_arg_name="answer")
    def other(req, client, answer, context): ...

    @more.timer_trigger(arg_name="timer", schedule="0 */5 * * * *", run_on_startup=True, use_monitor=False)
    def tick(timer): ...

    @more.queue_output(arg_name="$return", queue_name="out", connection="C")
    @more.queue_trigger(arg_name="message", queue_name="in", connection="C")
    def move(message): ...

    @more.warm_up_trigger("warm")
    def warm(warm): ...

    @app.function_name("Act")
    @app.activity_trigger(input_name="value")
    def act(value: int) -> int: return value

    @app.orchestration_trigger(context_name="context")
    @app.function_name("Orchestrate")
    def orchestrate(context): return (yield context.call_activity(act, 1))

    app.register_functions(more)
"""


def test_an_app_of_perdures_own_model(tmp_path: Path) -> None:
    loaded = load(tmp_path, OWN_APP)
    assert loaded.flavour == "perdure"
    assert [function.name for function in loaded.functions.activities.values()] == ["Act"]
    assert [function.name for function in loaded.functions.orchestrators.values()] == ["Orchestrate"]
    found = by_name(loaded)
    assert found["start"].trigger == HttpTrigger("start/{name}", ("POST",), "anonymous", "req")
    assert found["start"].clients == (ClientParameter("client", "perdure", "Hub", None),)
    assert found["start"].outputs == (Output("http", "$return", "", ""),)
    assert found["start"].place == f"{tmp_path / 'function_app.py'}:8"
    assert found["Renamed"].trigger == HttpTrigger("Renamed", (), "admin", "req")
    assert found["Renamed"].outputs == (Output("http", "answer", "", ""),)
    assert found["Renamed"].context_parameter == "context"
    assert found["tick"].trigger == TimerTrigger("0 */5 * * * *", "timer", run_on_startup=True, use_monitor=False)
    assert found["move"].trigger == QueueTrigger("in", "C", "message")
    assert found["move"].outputs == (Output("queue", "$return", "out", "C"),)
    assert found["warm"].trigger == WarmupTrigger("warm")
    assert found["move"].call is sys.modules["function_app"].move


def test_decorators_of_ones_own_may_stand_between_bindings(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        """
        import functools
        import perdure as df

        app = df.DFApp()

        def logged(function):
            @functools.wraps(function)
            async def wrapper(*args, **kwargs): return await function(*args, **kwargs)
            return wrapper

        @app.route(route="x")
        @logged
        @app.durable_client_input(client_name="client")
        async def start(req, client): ...
        """,
    )
    (function,) = loaded.triggered
    assert [client.name for client in function.clients] == ["client"]
    assert function.call is sys.modules["function_app"].start


def test_an_app_of_the_decorator_model(tmp_path: Path) -> None:
    del tmp_path
    loaded = load_app(APPS / "decorated")
    assert loaded.flavour == "azure-decorators"
    assert {"shiporder", "hello_cities"} <= set(loaded.functions.orchestrators)
    assert {"makelabel", "make_receipt", "say_hello"} <= set(loaded.functions.activities)
    found = by_name(loaded)
    assert found["http_start"].trigger == HttpTrigger("orchestrators/{functionName}", ("POST",), "anonymous", "req")
    assert found["http_start"].clients == (ClientParameter("client", "azure", None, None),)
    assert found["approve"].trigger == HttpTrigger("approvals/{instance_id}", (), "function", "req")
    assert found["Nightly"].trigger == TimerTrigger("0 0 3 * * *", "timer", run_on_startup=False, use_monitor=True)
    assert found["take_order"].outputs == (Output("queue", "receipt", "receipts", "AzureWebJobsStorage"),)
    assert found["warm"].trigger == WarmupTrigger("warm")


def test_an_app_of_function_json_folders() -> None:
    loaded = load_app(APPS / "folders")
    assert loaded.flavour == "azure-folders"
    assert [function.name for function in loaded.functions.orchestrators.values()] == ["Chain"]
    assert [function.name for function in loaded.functions.activities.values()] == ["Hello"]
    (start,) = loaded.triggered
    assert start.trigger == HttpTrigger("orchestrators/{functionName}", ("POST", "GET"), "anonymous", "req")
    assert start.clients == (ClientParameter("starter", "azure", None, None),)


def test_a_function_app_of_azure_functions_alone(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        """
        import azure.functions as func

        app = func.FunctionApp()

        @app.orchestration_trigger(context_name="context")
        def orchestrate(context): return 1

        @app.generic_trigger(arg_name="req", type="httpTrigger", route="generic")
        @app.generic_output_binding(arg_name="$return", type="http")
        def generic(req): ...
        """,
    )
    assert list(loaded.functions.orchestrators) == ["orchestrate"]
    (generic,) = loaded.triggered
    assert generic.trigger == HttpTrigger("generic", (), "function", "req")


@pytest.mark.parametrize(("kind", "expected"), [("Asgi", AsgiRoute), ("Wsgi", WsgiRoute)])
def test_web_applications_are_mounted(tmp_path: Path, kind: str, expected: Any) -> None:
    loaded = load(
        tmp_path,
        f"""
        import azure.functions as func

        async def web(scope, receive, send): ...

        app = func.{kind}FunctionApp(web, http_auth_level=func.AuthLevel.ANONYMOUS)
        """,
    )
    (function,) = loaded.triggered
    assert function.trigger == expected("{*route}", sys.modules["function_app"].web, "anonymous")


def test_the_users_orchestrator_runs_itself_not_the_sdks_replay() -> None:
    loaded = load_app(APPS / "decorated")
    call = loaded.functions.orchestrators["price_order"].call
    assert call.__code__.co_filename == str(APPS / "decorated" / "function_app.py")
    assert loaded.functions.orchestrators["price_order"].input_type is sys.modules["orders"].Order


def test_each_load_has_modules_of_its_own(tmp_path: Path) -> None:
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "helper.py").write_text(f"NUMBER = {number}\n")
        loaded = load(folder, f"import helper\nimport perdure as df\napp = df.DFApp()\nassert helper.NUMBER == {number}\n")
        assert loaded.folder == folder
        assert sys.path.count(str(folder)) == 1
    assert str(tmp_path / "1") not in sys.path
    assert load_app(tmp_path / "1").folder == tmp_path / "1"
    assert sys.modules["helper"].NUMBER == 1


def test_a_disabled_function_is_left_out(tmp_path: Path) -> None:
    for name, disabled in (("A", "true"), ("B", "false")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("def main(value): ...\n")
        (tmp_path / name / "function.json").write_text(
            f'{{"disabled": {disabled}, "bindings": [{{"type": "activityTrigger", "name": "value"}}]}}'
        )
    assert list(load_app(tmp_path).functions.activities) == ["b"]
