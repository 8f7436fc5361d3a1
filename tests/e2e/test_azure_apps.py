"""Unmodified apps of azure-functions-durable 1.7 in a hub: what their code sees, and that the SDK would have come to the same."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("azure.durable_functions")

import perdure as df
from perdure.core.codec import decode_segment
from perdure.core.events import ExecutionCompleted, ExecutionStarted
from perdure.host.azure.history import history_fields
from perdure.host.loading import load_app
from tests.e2e.lab import Kind, Lab

APPS = Path(__file__).parent / "azure_apps"
KINDS = [Kind("memory"), Kind("memory", cold=True), Kind("sqlite", cold=True)]

# The SDK says once in a process that types could be checked.
pytestmark = pytest.mark.filterwarnings("ignore:azure.functions:DeprecationWarning")


class Azure:
    """A hub on an app folder, and the calls that the SDK's client makes, as the management API stores them."""

    def __init__(self, lab: Lab, folder: str) -> None:
        loaded = load_app(APPS / folder)
        lab.app = SimpleNamespace(functions=lambda: loaded.functions)  # type: ignore[assignment]
        self.lab = lab
        self.functions = loaded.functions
        self.hub: df.TaskHub

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with self.lab.hub() as self.hub:
            yield

    async def start(self, name: str, client_input: Any = None, instance_id: str | None = None) -> str:
        body = None if client_input is None else json.dumps(client_input)
        return await self.hub.client.start_new(name, instance_id, body)

    async def raise_event(self, instance_id: str, name: str, data: Any) -> None:
        await self.hub.client.raise_event(instance_id, name, json.dumps(data))

    async def end(self, instance_id: str) -> df.DurableOrchestrationStatus:
        return await self.hub.client.wait_for_completion(instance_id, 20)

    async def run(self, name: str, client_input: Any = None) -> Any:
        status = await self.end(await self.start(name, client_input))
        assert status.runtime_status == "Completed", status.output
        return status.output

    async def sdk_says(self, instance_id: str) -> dict[str, Any]:
        """What the SDK's own replay makes of the history that the instance left."""
        stored = await self.hub.client._queries.history(instance_id)  # noqa: SLF001
        events = [event for segment in stored for event in decode_segment(segment.events)]
        started = next(event for event in events if isinstance(event, ExecutionStarted))
        fields = list(history_fields(event for event in events if not isinstance(event, ExecutionCompleted)))
        request = {
            "history": fields,
            "input": None if started.input is None else json.loads(started.input),
            "instanceId": instance_id,
            "isReplaying": False,
            "parentInstanceId": started.parent.instance_id if started.parent else None,
            "upperSchemaVersion": 1,
            "upperSchemaVersionNew": 2,
            "longRunningTimerIntervalDuration": "3.00:00:00",
            "maximumShortTimerDuration": "6.00:00:00",
        }
        from azure.durable_functions import Orchestrator

        function = self.functions.orchestrators[started.name.casefold()]
        handle: Any = Orchestrator.create(function.call)
        handle._df_input_type = function.input_type  # noqa: SLF001
        return json.loads(handle(json.dumps(request)))


@pytest.fixture(params=KINDS, ids=str)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    return Lab(request.param, tmp_path)


@pytest.fixture
def app(lab: Lab) -> Azure:
    return Azure(lab, "decorated")


def run(app: Azure, scenario: Coroutine[Any, Any, None]) -> None:
    async def main() -> None:
        async with app.open():
            await scenario

    app.lab.run(main, real_time=True)


@pytest.mark.parametrize(
    ("name", "client_input", "expected"),
    [
        ("hello_cities", "Tokyo", ["Hello Tokyo!", "Hello Seattle!", "Hello None!"]),
        ("HELLO_CITIES", 7, ["Hello 7!", "Hello Seattle!", "Hello None!"]),
        (
            "price_order",
            {"__class__": "Order", "__module__": "orders", "__data__": {"items": [{"count": 2}, {"count": 3}], "total": 0}},
            {"total": 10, "type": "Order", "pending": [True, True]},
        ),
        ("ShipOrder", "Main Street", "To: Main Street"),
        ("short_sleep", None, True),
    ],
)
def test_an_orchestration_ends_as_the_sdk_says(app: Azure, name: str, client_input: Any, expected: Any) -> None:
    async def scenario() -> None:
        instance_id = await app.start(name, client_input)
        status = await app.end(instance_id)
        assert status.output == expected
        said = await app.sdk_says(instance_id)
        assert said["isDone"]
        assert said["output"] == expected
        assert said.get("customStatus") == status.custom_status

    run(app, scenario())


def test_a_sub_orchestration_gets_its_input_with_its_type(app: Azure) -> None:
    async def scenario() -> None:
        instance_id = await app.start("parent")
        (text, number, parent) = (await app.end(instance_id)).output
        assert text[0] == "5"
        assert number == [5, "the-child", True]
        assert parent is None
        assert (await app.sdk_says(instance_id))["output"] == [text, number, parent]
        child = await app.hub.client.get_status("the-child", show_input=True)
        assert child.input_ == "5"  # a JSON string that holds JSON, as in Azure

    run(app, scenario())


def test_retries_follow_the_options_of_the_sdk(app: Azure) -> None:
    async def scenario() -> None:
        assert await app.run("flaky_caller") == "worked at 3"

    run(app, scenario())


def test_a_failure_reads_as_in_the_sdk_and_is_not_raised_by_result(app: Azure) -> None:
    async def scenario() -> None:
        caught, is_winner, shown, is_exception = await app.run("hopeless")
        assert caught == "Activity function 'always_fails' failed: KeyError: 'no it' \n null"
        assert shown == "Activity function 'always_fails' failed: KeyError: 'no that' \n null"
        assert is_winner
        assert is_exception

    run(app, scenario())


def test_a_failure_keeps_its_root_cause_through_sub_orchestrations(app: Azure) -> None:
    async def scenario() -> None:
        instance_id = await app.start("failing_parent")
        status = await app.end(instance_id)
        assert status.runtime_status == "Failed"
        assert status.failure is not None
        assert status.failure.message == (
            "Orchestrator function 'failing_child' failed: "
            "Activity function 'always_fails' failed: KeyError: 'no luck' \n null \n null"
        )
        assert status.failure.is_caused_by(KeyError)

    run(app, scenario())


def test_an_event_arrives_as_the_text_that_the_sdks_client_sends(app: Azure) -> None:
    async def scenario() -> None:
        instance_id = await app.start("approval")
        await app.raise_event(instance_id, "approval", {"ok": True})
        status = await app.end(instance_id)
        assert status.output == ["decided", '{"ok": true}', True, False]

    run(app, scenario())


def test_an_event_posted_as_json_arrives_as_its_value_and_generations_add_up(app: Azure) -> None:
    async def scenario() -> None:
        instance_id = await app.start("counts_events", 0)
        for _ in range(3):
            await app.hub.client.raise_event(instance_id, "Add", {"amount": 1})
        assert (await app.end(instance_id)).output == 3

    run(app, scenario())


def test_nothing_is_scheduled_before_it_is_yielded(app: Azure) -> None:
    async def scenario() -> None:
        instance_id = await app.start("one_by_one")
        expected = [[["first"], ["first", "second"]], ["first"], ["first"]]
        assert (await app.end(instance_id)).output == expected
        assert sys.modules["function_app"].calls == ["first", "second"]
        assert (await app.sdk_says(instance_id))["output"] == expected

    run(app, scenario())


def test_entities_run_and_the_sdk_comes_to_the_same(app: Azure) -> None:
    async def scenario() -> None:
        instance_id = await app.start("uses_entity")
        expected = [5, "not today", [6, ["counter", "a", "text"]], 1]
        assert (await app.end(instance_id)).output == expected
        said = await app.sdk_says(instance_id)
        assert (said["isDone"], said["output"]) == (True, expected)
        client = app.hub.client
        assert (await client.read_entity_state("@counter@a")).entity_state == 6, "the failed operation left its state"
        assert (await client.read_entity_state("@basket@b")).entity_state["__class__"] == "Order"
        await client.signal_entity("@counter@a", "add", json.dumps(4))  # as the SDK's client sends it
        await client.signal_entity("@counter@a", "add", 3)
        assert (await client.read_entity_state("@counter@a")).entity_state == 13
        await client.signal_entity("@counter@a", "reset")
        assert not (await client.read_entity_state("@counter@a")).entity_exists

    run(app, scenario())


def test_an_entity_of_a_function_json_folder_runs(lab: Lab) -> None:
    app = Azure(lab, "folders")

    async def scenario() -> None:
        for number in (1, 2):
            await app.hub.client.signal_entity("@counter@a", "add", json.dumps(number))
        assert (await app.hub.client.read_entity_state("@counter@a")).entity_state == 3

    run(app, scenario())


def test_an_app_of_function_json_folders_runs(lab: Lab) -> None:
    app = Azure(lab, "folders")

    async def scenario() -> None:
        instance_id = await app.start("Chain", "Tokyo")
        assert (await app.end(instance_id)).output == ["Hello Tokyo!", "Hello Hello Tokyo!!"]
        assert (await app.sdk_says(instance_id))["output"] == ["Hello Tokyo!", "Hello Hello Tokyo!!"]

    run(app, scenario())


def test_input_that_no_sdk_sent_arrives_as_its_value(app: Azure) -> None:
    async def scenario() -> None:
        for posted in ({"a": [1]}, [1, 2], 5, "no JSON"):
            instance_id = await app.hub.client.start_new("hello_cities", client_input=posted)
            assert (await app.end(instance_id)).output[0] == f"Hello {posted}!"

    run(app, scenario())


def test_many_at_once_on_two_apps_of_one_process(lab: Lab) -> None:
    first = Azure(lab, "decorated")
    Azure(lab, "folders")
    lab.app = SimpleNamespace(functions=lambda: first.functions)  # type: ignore[assignment]

    async def scenario() -> None:
        outputs = await asyncio.gather(*(first.run("ShipOrder", f"House {number}") for number in range(20)))
        assert outputs == [f"To: House {number}" for number in range(20)]

    run(first, scenario())
