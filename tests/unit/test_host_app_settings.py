"""What the host's settings and app settings change for the app's functions."""

import logging
from typing import Any

import pytest

import perdure as df
from tests.unit.host_lab import http, served


def hello(req: Any) -> str:
    return "hello"


def other(req: Any) -> str:
    return "other"


@pytest.mark.parametrize(("value", "status"), [("true", 404), ("1", 404), ("True", 404), ("false", 200), ("0", 200), ("", 200)])
async def test_an_app_setting_disables_a_function(value: str, status: int) -> None:
    async with served(http(hello), http(other), app_settings={"AzureWebJobs.Hello.Disabled": value}) as client:
        assert (await client.get("/api/hello")).status_code == status
        assert (await client.get("/api/other")).text == "other"


async def test_a_durable_function_stays_enabled_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    app = df.DFApp()

    @app.activity_trigger(input_name="x")
    def step(x: int) -> int:
        return x

    with caplog.at_level(logging.WARNING, "perdure.host"):
        async with served(app=app, app_settings={"AzureWebJobs.step.Disabled": "true"}):
            pass
    assert "AzureWebJobs.step.Disabled changes nothing" in caplog.text


def waiting_app() -> df.DFApp:
    app = df.DFApp()

    @app.orchestration_trigger(context_name="context")
    def wait(context: df.DurableOrchestrationContext) -> Any:
        context.set_custom_status(context.version)
        yield context.wait_for_external_event("never")

    return app


def starts(version: str | None = None) -> Any:
    async def start(req: Any, client: Any) -> str:
        try:
            return await client.start_new("wait", "same", None, version)
        except df.InstanceAlreadyExistsError as error:
            return error.code

    return http(start, client="perdure")


@pytest.mark.parametrize(("own", "shown"), [(None, "2.1"), ("3.0", "3.0"), ("", "")])
async def test_an_instance_gets_the_default_version_unless_its_start_names_one(own: str | None, shown: str) -> None:
    async with served(starts(own), app=waiting_app(), default_version="2.1") as client:
        await client.post("/api/start")
        status = await client.get("/runtime/webhooks/durabletask/instances/same")
        assert status.json()["customStatus"] == shown


@pytest.mark.parametrize(("states", "second"), [("NonRunningStates", "PD1301"), ("AnyState", "same")])
async def test_which_instances_a_start_replaces_is_a_setting(states: str, second: str) -> None:
    async with served(starts(), app=waiting_app(), overridable_existing_instance_states=states) as client:
        assert (await client.post("/api/start")).text == "same"
        assert (await client.post("/api/start")).text == second
