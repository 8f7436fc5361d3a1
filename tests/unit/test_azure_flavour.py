"""What code written for azure-functions-durable 1.7 is shown, piece by piece. Whole apps: tests/e2e/test_azure_apps.py."""

import inspect
import json
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("azure.durable_functions")

import azure.durable_functions as adf
from azure.durable_functions.models.history.HistoryEventType import HistoryEventType
from azure.durable_functions.models.Task import TaskState
from azure.durable_functions.models.utils.df_serialization import df_dumps, df_loads

from perdure.core.context import DurableOrchestrationContext
from perdure.core.converter import DeserializationError, JsonConverter, PayloadTooLargeError, SerializationError
from perdure.core.durable_http import HTTP_ACTIVITY
from perdure.core.failures import FailureDetails, TaskFailedError, failure_from_exception
from perdure.host.azure.context import AzureOrchestrationContext
from perdure.host.azure.converter import AzureConverter
from perdure.host.azure.errors import AzureTaskFailedError
from perdure.host.azure.flavour import FLAVOUR
from tests.unit.driver import EPOCH, World

pytestmark = pytest.mark.filterwarnings("ignore:azure.functions:DeprecationWarning")


class Point:
    """A class as the SDK wants it."""

    def __init__(self, x: int) -> None:
        self.x = x

    def to_json(self) -> int:
        return self.x

    @classmethod
    def from_json(cls, data: int) -> "Point":
        return cls(data)


@pytest.fixture(params=[False, True], ids=["hot", "evicted"])
def world(request: pytest.FixtureRequest) -> World:
    return World(evict=request.param)


def start(world: World, function: Any, input_: Any = None, **started: Any) -> Any:
    return world.start(world.app.orchestrator(function, flavour=FLAVOUR), input_, **started)


def test_the_context_has_every_public_member_of_the_sdks() -> None:
    theirs = {name for name in dir(adf.DurableOrchestrationContext) if not name.startswith("_")}
    # What the SDK's own machinery needs; nothing that an orchestrator would touch.
    internal = {"from_json"}
    assert theirs - internal - set(dir(AzureOrchestrationContext)) == set()


def test_the_parameters_of_the_context_are_those_of_the_sdk() -> None:
    for name, theirs in inspect.getmembers(adf.DurableOrchestrationContext, inspect.isfunction):
        if not name.startswith("_") and hasattr(AzureOrchestrationContext, name):
            ours = inspect.signature(getattr(AzureOrchestrationContext, name)).parameters
            wanted = inspect.signature(theirs).parameters
            assert [(p.name, p.default) for p in ours.values()] == [(p.name, p.default) for p in wanted.values()], name


def test_a_task_shows_its_state_and_its_result_without_raising(world: World) -> None:
    def orchestrator(context: Any) -> Any:
        good, bad = context.call_activity("good"), context.call_activity("bad")
        before = [good.is_completed, good.result, good.state is TaskState.RUNNING]
        yield context.task_any([good])
        try:
            yield bad
        except Exception as error:  # noqa: BLE001 - what the SDK raises
            same = error is bad.result
        after = [good.result, good.state is TaskState.SUCCEEDED, bad.state is TaskState.FAILED, same]
        return [before, after]

    world.app.activity("good", lambda value, job: "yes")
    world.app.activity("bad", lambda value, job: {}["x"])
    instance = start(world, orchestrator)
    world.run()
    assert instance.output == [[False, None, True], ["yes", True, True, True]]


def test_calls_that_are_never_yielded_leave_no_trace(world: World) -> None:
    def orchestrator(context: Any) -> Any:
        context.call_activity("a")
        context.create_timer(context.current_utc_datetime)
        context.call_sub_orchestrator("b")
        context.call_http("GET", "http://api/x")
        timer = context.create_timer(context.current_utc_datetime + timedelta(days=1))
        timer.cancel()
        return [timer.is_cancelled, timer.is_completed]
        yield

    instance = start(world, orchestrator)
    assert instance.output == [True, False]
    assert [type(event).__name__ for event in instance.history] == [
        "OrchestratorStarted",
        "ExecutionStarted",
        "ExecutionCompleted",
    ]


def test_what_is_yielded_after_continue_as_new_is_dropped(world: World) -> None:
    def orchestrator(context: Any) -> Any:
        if context.get_input() == [2]:
            return context.will_continue_as_new
        context.continue_as_new([2])
        yield context.call_activity("never")

    instance = start(world, orchestrator, [1])
    world.run()
    assert instance.output is False
    assert not [event for event in instance.history if type(event).__name__ == "TaskScheduled"]


def test_an_event_that_came_early_is_there_when_the_wait_is_yielded(world: World) -> None:
    def orchestrator(context: Any) -> Any:
        yield context.wait_for_external_event("go")
        first = yield context.wait_for_external_event("data")
        second = yield context.wait_for_external_event("data")
        return [first, second]

    instance = start(world, orchestrator)
    world.raise_event("data", 1)
    world.raise_event("data", 2)
    world.raise_event("go")
    assert instance.output == [1, 2]  # 1.7 loses the first


def test_custom_classes_cross_all_borders(world: World) -> None:
    def orchestrator(context: Any) -> Any:
        point = yield context.call_activity("move", Point(1))
        event = yield context.wait_for_external_event("point")
        child = yield context.call_sub_orchestrator("echo", Point(7))
        return [type(point).__name__, point.x, event.x, child]

    def echo(context: Any) -> Any:
        return [type(context.get_input()).__name__, context.get_input().x]

    seen: list[Any] = []
    world.app.activity("move", lambda value, job: seen.append(value) or {**value, "__data__": 2})
    world.app.orchestrator(echo, flavour=FLAVOUR)
    instance = start(world, orchestrator)
    world.raise_event("point", {"__class__": "Point", "__module__": __name__, "__data__": 3})
    world.run()
    assert seen == [{"__class__": "Point", "__module__": __name__, "__data__": 1}]
    assert instance.output == ["Point", 2, 3, ["Point", 7]]


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ('{"a": 1}', {"a": 1}),
        ('"5"', "5"),
        ({"a": 1}, {"a": 1}),
        ([1], [1]),
        (5, 5),
        ("no JSON", "no JSON"),
        (None, None),
        (True, True),
    ],
)
def test_input_loses_the_layers_that_clients_put_around_it(world: World, stored: Any, shown: Any) -> None:
    def orchestrator(context: Any) -> Any:
        return context.get_input()

    assert start(world, orchestrator, stored).output == shown


def test_custom_status_is_the_very_object_and_unique_ids_are_the_sdks(world: World) -> None:
    def orchestrator(context: Any) -> Any:
        status = {"at": [1]}
        context.set_custom_status(status)
        return [context.custom_status is status, context.new_uuid(), str(context.new_guid())]

    instance = start(world, orchestrator)
    assert instance.custom_status == '{"at": [1]}'
    made = adf.DurableOrchestrationContext.from_json(
        json.dumps(
            {
                "history": [{"EventType": 12, "EventId": -1, "IsPlayed": False, "Timestamp": EPOCH.isoformat()}],
                "instanceId": "i",
                "isReplaying": False,
                "parentInstanceId": None,
            }
        )
    )
    assert instance.output == [True, made.new_uuid(), str(made.new_guid())]


def test_histories_are_the_sdks_events(world: World) -> None:
    def orchestrator(context: Any) -> Any:
        yield context.task_all([context.call_activity("a", 1), context.create_timer(datetime(2030, 1, 1, 1, tzinfo=UTC))])
        yield context.wait_for_external_event("go")
        return [[int(event.event_type), event.event_id, event.Name] for event in context.histories]

    world.app.activity("a", lambda value, job: value)
    instance = start(world, orchestrator)
    world.run()
    world.raise_event("go")
    kind = HistoryEventType
    assert instance.output == [
        [kind.ORCHESTRATOR_STARTED, -1, None],
        [kind.EXECUTION_STARTED, -1, "orchestrator"],
        [kind.TASK_SCHEDULED, 0, "a"],
        [kind.TIMER_CREATED, 1, None],
        [kind.ORCHESTRATOR_COMPLETED, -1, None],
        [kind.ORCHESTRATOR_STARTED, -1, None],
        [kind.TASK_COMPLETED, -1, None],
        [kind.ORCHESTRATOR_COMPLETED, -1, None],
        [kind.ORCHESTRATOR_STARTED, -1, None],
        [kind.TIMER_FIRED, -1, None],
    ]


def test_an_http_call_is_made_as_the_sdk_describes_it(world: World) -> None:
    seen: list[Any] = []

    def orchestrator(context: Any) -> Any:
        token = adf.ManagedIdentityTokenSource("https://vault")
        return (yield context.call_http("POST", "http://api/x", {"a": 1}, {"X-A": "1"}, token))

    world.app.activity(
        HTTP_ACTIVITY, lambda request, job: seen.append(request) or {"statusCode": 200, "headers": {}, "content": "c"}
    )
    instance = start(world, orchestrator)
    world.run()
    assert instance.output == {"statusCode": 200, "headers": {}, "content": "c"}
    assert json.loads(seen[0]["content"]) == {"a": 1}
    assert seen[0]["tokenSource"] == {"resource": "https://vault", "kind": "AzureManagedIdentity"}


def test_an_invalid_call_fails_where_it_is_yielded(world: World) -> None:
    def orchestrator(context: Any) -> Any:
        task = context.call_sub_orchestrator("b", None, "@not/valid")
        try:
            yield task
        except Exception as error:  # noqa: BLE001 - of Perdure
            return type(error).__name__

    assert start(world, orchestrator).output == "InvalidInstanceIdError"


@pytest.mark.parametrize("wrong", [print, 5, None])
def test_only_names_and_decorated_functions_can_be_called(world: World, wrong: Any) -> None:
    def orchestrator(context: Any) -> Any:
        yield context.call_activity(wrong)

    assert start(world, orchestrator).failure.type == "ValueError"


def test_a_decorated_function_stands_for_the_name_in_its_trigger(world: World) -> None:
    app = adf.DFApp()

    @app.activity_trigger(input_name="value", activity="Renamed")
    def act(value: int) -> int:
        return value

    def orchestrator(context: Any) -> Any:
        results = [(yield context.call_activity(act, 1))]
        try:
            context.call_sub_orchestrator(act)
        except ValueError as error:
            results.append("activityTrigger" in str(error))
        return results

    world.app.activity("Renamed", lambda value, job: value)
    instance = start(world, orchestrator)
    world.run()
    assert instance.output == [1, True]


def test_a_mismatch_with_history_shows_where_the_code_stands() -> None:
    world = World()

    def orchestrator(context: Any) -> Any:
        yield context.call_activity("a")

    world.app.activity("b", lambda value, job: 1)
    start(world, orchestrator)

    def changed(context: Any) -> Any:
        yield context.call_activity("b")

    world.app.orchestrator(changed, "orchestrator", flavour=FLAVOUR)
    world.rehydrate()
    world.raise_event("x")
    failure = world.instances["i"].failure
    assert failure.type == "perdure.NonDeterminismError"
    assert "test_azure_flavour.py" in failure.message


def test_a_failure_survives_pickling_and_description() -> None:
    error = AzureTaskFailedError("activity", "A", 3, FailureDetails("m.BoomError", "boom"))
    copy = pickle.loads(pickle.dumps(error))
    text = "Activity function 'A' failed: BoomError: boom \n null"
    assert str(error) == str(copy) == copy.args[0] == text
    assert copy.is_caused_by("BoomError")
    assert isinstance(copy, TaskFailedError)
    assert [link.type for link in failure_from_exception(error).chain()] == ["perdure.AzureTaskFailedError", "m.BoomError"]


class TestConverter:
    converter = AzureConverter(JsonConverter(max_payload_bytes=20))

    def test_values_come_back_as_they_were(self) -> None:
        for value in (None, True, 1.5, "ä", [1, {"a": None}]):
            assert self.converter.decode(self.converter.encode(value, "w", "n"), None, "w", "n") == value

    @pytest.mark.parametrize("strict", ["", "1"])
    def test_the_text_is_the_sdks_in_both_of_its_modes(self, monkeypatch: pytest.MonkeyPatch, strict: str) -> None:
        monkeypatch.setenv("AZURE_FUNCTIONS_DURABLE_STRICT_TYPING", strict)
        converter = AzureConverter(JsonConverter())
        for value in ("ä\n", 1, 1.5, True, [1, (2,)], {"a": {"b": None}, 1: 2}, Point(3), (1,)):
            text = converter.encode(value, "w", "n")
            assert text == df_dumps(value)
            assert text is not None
            if not isinstance(value, Point):
                assert converter.decode(text, None, "w", "n") == df_loads(text)
        assert converter.decode(df_dumps(Point(4)), Point, "w", "n").x == 4
        nested = converter.encode([Point(3)], "w", "n") if not strict else None
        assert nested == (None if strict else df_dumps([Point(3)]))

    def test_escaped_markers_are_read_as_the_sdk_reads_them(self) -> None:
        text = json.dumps({"__class__": "Point", "__module__": __name__, "__data__": 1}).replace("__class__", "\\u005f_class__")
        assert isinstance(AzureConverter(JsonConverter()).decode(text, None, "w", "n"), Point)

    @pytest.mark.parametrize("value", [float("nan"), [float("inf")], object(), {1, 2}])
    def test_what_is_not_json_is_refused(self, value: Any) -> None:
        with pytest.raises(SerializationError, match="w 'n'"):
            self.converter.encode(value, "w", "n")

    def test_text_that_only_speaks_of_infinity_is_fine(self) -> None:
        assert self.converter.encode("NaN or Infinity", "w", "n") == '"NaN or Infinity"'

    def test_what_is_too_long_is_refused(self) -> None:
        with pytest.raises(PayloadTooLargeError, match="20"):
            self.converter.encode("x" * 20, "w", "n")

    @pytest.mark.parametrize("text", ["{", '{"__class__": "C", "__module__": "nowhere", "__data__": 1}'])
    def test_what_cannot_be_read_is_refused(self, text: str) -> None:
        with pytest.raises(DeserializationError, match="w 'n'"):
            self.converter.decode(text, None, "w", "n")


def test_other_orchestrators_of_the_same_hub_are_not_touched(world: World) -> None:
    def own(context: DurableOrchestrationContext) -> Any:
        return (yield context.call_sub_orchestrator("theirs", 5))

    def theirs(context: Any) -> Any:
        return [context.get_input(), type(context).__name__]

    world.app.orchestrator(theirs, flavour=FLAVOUR)
    instance = world.start(world.app.orchestrator(own))
    world.run()
    assert instance.output == [5, "AzureOrchestrationContext"]
