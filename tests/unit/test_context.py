"""What the context tells: identity, time, unique ids, status, history; the same live and on replay."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_OID, NAMESPACE_URL, uuid5

import pytest

from perdure.core.context import FunctionReferenceError, function_name
from perdure.core.events import ParentLink
from tests.unit.driver import EPOCH, World

SECOND = timedelta(seconds=1)


@dataclass
class Order:
    number: int


def test_who_and_what(world: World):
    def tell(context):
        yield context.wait_for_external_event("go")
        return [
            context.instance_id,
            context.parent_instance_id,
            context.version,
            context.get_input(),
            context.will_continue_as_new,
        ]

    instance = world.start(world.app.orchestrator(tell), {"a": 1}, version="7", parent=ParentLink("p", "e", 0, 0))
    world.raise_event("go")
    assert instance.output == ["i", "p", "7", {"a": 1}, False]

    other = world.start(tell, instance_id="j")
    world.raise_event("go", instance_id="j")
    assert other.output == ["j", None, None, None, False]


def test_the_input_is_typed_by_the_decorator_or_by_the_call(world: World):
    def tell(context):
        return [type(context.get_input()).__name__, type(context.get_input(dict)).__name__]
        yield

    assert world.start(world.app.orchestrator(tell, input_type=Order), Order(1)).output == ["Order", "dict"]
    assert world.start(world.app.orchestrator(tell), Order(1)).output == ["dict", "dict"]


def test_an_input_that_does_not_fit_says_so(world: World):
    def tell(context):
        return context.get_input(Order).number
        yield

    failure = world.start(world.app.orchestrator(tell), {"number": "x"}).failure
    assert failure.type == "perdure.DeserializationError"
    assert "input of orchestrator 'tell'" in failure.message


def test_time_stands_still_within_a_turn_and_is_the_turns(world: World):
    def tell(context):
        times = [context.current_utc_datetime]
        yield context.create_timer(SECOND)
        times += [context.current_utc_datetime, context.current_utc_datetime]
        yield context.wait_for_external_event("go")
        times.append(context.current_utc_datetime)
        assert all(time.tzinfo is UTC for time in times)
        return [(time - EPOCH).total_seconds() for time in times]

    instance = world.start(world.app.orchestrator(tell))
    world.pass_time(5 * SECOND)
    world.raise_event("go")
    assert instance.output == [0, 1, 1, 5]


def test_microseconds_survive():
    world = World()

    def tell(context):
        return context.current_utc_datetime.isoformat()
        yield

    world.now_us = (datetime(1999, 12, 31, 23, 59, 59, 999_999, UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        microseconds=1
    )
    assert world.start(world.app.orchestrator(tell)).output == "1999-12-31T23:59:59.999999+00:00"


def test_unique_ids_have_the_formula_of_azure_functions_durable_and_share_its_counter(world: World):
    def tell(context):
        ids = [context.new_uuid(), str(context.new_guid())]
        yield context.wait_for_external_event("go")
        return [*ids, context.new_uuid(), str(context.new_guid())]

    instance = world.start(world.app.orchestrator(tell))
    world.pass_time(SECOND / 4)
    world.raise_event("go")
    namespace = uuid5(NAMESPACE_OID, "9e952958-5e33-4daf-827f-2fa12937b875")
    assert instance.output == [
        str(uuid5(namespace, "i_2030-01-01T00:00:00.000000Z_0")),
        str(uuid5(NAMESPACE_URL, "i_2030-01-01 00:00:00+00:00_1")),
        str(uuid5(namespace, "i_2030-01-01T00:00:00.250000Z_2")),
        str(uuid5(NAMESPACE_URL, "i_2030-01-01 00:00:00.250000+00:00_3")),
    ]


@pytest.mark.parametrize("style", ["generator", "coroutine"])
def test_is_replaying_tells_repeats_from_news(style):
    world = World(style, evict=True)
    news: list[str] = []

    def tell(context):
        for name in ("a", "b", "c"):
            if not context.is_replaying:
                news.append(name)
            yield context.wait_for_external_event(name)
        if not context.is_replaying:
            news.append("end")

    world.start(world.app.orchestrator(tell))
    for name in ("a", "b", "c"):
        world.raise_event(name)
    assert news == ["a", "b", "c", "end"]


def test_the_custom_status_shows_and_can_be_read_back(world: World):
    def show(context):
        seen = [context.custom_status]
        context.set_custom_status({"step": 1})
        seen.append(context.custom_status)
        yield context.wait_for_external_event("go")
        seen.append(context.custom_status)
        context.set_custom_status(None)
        seen.append(context.custom_status)
        return seen

    instance = world.start(world.app.orchestrator(show))
    assert instance.custom_status == '{"step":1}'
    assert instance.steps[-1].turn.projection_changed
    world.raise_event("go")
    assert instance.output == [None, {"step": 1}, {"step": 1}, None]
    assert instance.custom_status is None
    assert world.retrace() == 1


def test_a_custom_status_set_later_is_not_seen_by_the_replay_of_what_came_before(world: World):
    """The row holds the newest status only; code that reads it earlier must see what it saw then."""

    def show(context):
        if context.custom_status is None:
            yield context.create_timer(SECOND)
        context.set_custom_status("shown")
        yield context.wait_for_external_event("go")
        return context.custom_status

    instance = world.start(world.app.orchestrator(show))
    world.run()
    assert instance.custom_status == '"shown"'
    world.rehydrate()
    world.raise_event("go")
    assert instance.output == "shown"


def test_histories_are_the_events_of_the_turns_before(world: World):
    def tell(context):
        sizes = [len(context.histories)]
        yield context.wait_for_external_event("a")
        sizes.append(len(context.histories))
        yield context.wait_for_external_event("b")
        names = [type(event).__name__ for event in context.histories]
        return [*sizes, names]

    instance = world.start(world.app.orchestrator(tell))
    world.raise_event("a")
    world.raise_event("b")
    assert instance.output == [0, 2, ["OrchestratorStarted", "ExecutionStarted", "OrchestratorStarted", "EventRaised"]]


def test_a_function_stands_for_its_registered_name():
    def decorated():
        pass

    decorated.perdure_function_name = "registered"  # type: ignore[attr-defined]
    assert function_name("Name") == "Name"
    assert function_name(decorated) == "registered"
    for other in (len, None, 5, lambda: None):
        with pytest.raises(FunctionReferenceError, match="is not a registered function"):
            function_name(other)
