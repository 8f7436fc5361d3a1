"""External events: buffering, waiters, time-outs."""

from dataclasses import dataclass
from datetime import timedelta

import pytest

from perdure.core.converter import DeserializationError
from perdure.core.events import EventRaised, TimerCanceled
from perdure.core.messages import Message
from tests.unit.driver import World

SECOND = timedelta(seconds=1)


def event(name: str, payload: str = "null") -> Message:
    return Message("i", EventRaised(name, payload))


def test_an_event_wakes_its_waiter_with_its_payload(world: World):
    def wait(context):
        return (yield context.wait_for_external_event("go"))

    instance = world.start(world.app.orchestrator(wait))
    world.raise_event("other", 1)
    assert instance.status == "Running"
    world.raise_event("go", {"a": 1})
    assert instance.output == {"a": 1}
    assert world.retrace() == 2


def test_events_that_come_before_the_wait_are_kept_first_in_first_out(world: World):
    def wait(context):
        yield context.wait_for_external_event("ready")
        first = yield context.wait_for_external_event("n")
        second = yield context.wait_for_external_event("n")
        third = yield context.wait_for_external_event("n")
        return [first, second, third]

    instance = world.start(world.app.orchestrator(wait))
    for number in (1, 2, 3):
        world.raise_event("n", number)
    world.raise_event("ready")
    assert instance.output == [1, 2, 3]


@pytest.mark.parametrize("in_one_turn", [True, False])
def test_two_events_of_one_name_are_two_events(world: World, in_one_turn: bool):
    def wait(context):
        first = yield context.wait_for_external_event("n")
        second = yield context.wait_for_external_event("n")
        return [first, second]

    instance = world.start(world.app.orchestrator(wait))
    if in_one_turn:
        world.turn("i", event("n", "1"), event("n", "2"))
    else:
        world.raise_event("n", 1)
        world.raise_event("n", 2)
    assert instance.output == [1, 2]


def test_names_are_compared_without_case(world: World):
    def wait(context):
        first = yield context.wait_for_external_event("Straße")
        second = yield context.wait_for_external_event("GO")
        return [first, second]

    instance = world.start(world.app.orchestrator(wait))
    world.raise_event("go", 2)
    world.raise_event("STRASSE", 1)
    assert instance.output == [1, 2]


def test_waiters_are_served_first_come_first_served(world: World):
    def wait(context):
        waits = [context.wait_for_external_event("n") for _ in range(3)]
        return (yield context.task_all(waits))

    instance = world.start(world.app.orchestrator(wait))
    for number in (1, 2, 3):
        world.raise_event("n", number)
    assert instance.output == [1, 2, 3]


def test_the_waiter_that_is_awaited_goes_before_one_that_was_left_behind(world: World):
    """Or the loser of an earlier task_any would swallow the event that the code is waiting for now."""

    def wait(context):
        loser = context.wait_for_external_event("n")
        timer = context.create_timer(SECOND)
        yield context.task_any([loser, timer])
        awaited = yield context.task_any([context.wait_for_external_event("n"), context.create_timer(SECOND)])
        return [awaited.result, loser.is_completed, (yield loser)]

    instance = world.start(world.app.orchestrator(wait))
    world.pass_time(SECOND)
    world.raise_event("n", "first")
    assert instance.status == "Running"
    world.raise_event("n", "second")
    assert instance.output == ["first", False, "second"]


def test_a_wait_that_was_cancelled_takes_no_event(world: World):
    def wait(context):
        given_up = context.wait_for_external_event("n")
        given_up.cancel()
        given_up.cancel()  # twice is once
        result = yield context.wait_for_external_event("n")
        return [result, given_up.is_cancelled, given_up.is_completed]

    instance = world.start(world.app.orchestrator(wait))
    world.raise_event("n", 1)
    assert instance.output == [1, True, False]


def test_a_wait_whose_event_has_arrived_cannot_be_cancelled(world: World):
    def wait(context):
        arrived = context.wait_for_external_event("n")
        yield arrived
        arrived.cancel()

    instance = world.start(world.app.orchestrator(wait))
    world.raise_event("n")
    assert instance.failure.type == "ValueError"
    assert instance.failure.message == "cannot cancel the wait for event 'n': it has already arrived"


def wait_a_minute(context):
    wait = context.wait_for_external_event("go", timeout=timedelta(minutes=1))
    try:
        result = yield wait
    except TimeoutError as error:
        result = f"late: {error}"
    yield context.wait_for_external_event("end")
    return result


def test_a_wait_with_a_time_out_gives_the_event_and_cleans_up_its_timer(world: World):
    instance = world.start(world.app.orchestrator(wait_a_minute))
    world.pass_time(59 * SECOND)
    world.raise_event("go", "in time")
    assert instance.history[-1] == TimerCanceled(0)
    assert world.next_wake() is None
    world.raise_event("end")
    assert instance.output == "in time"
    assert world.retrace() == 2


def test_a_wait_with_a_time_out_fails_when_its_time_is_up_and_takes_no_event_any_more(world: World):
    instance = world.start(world.app.orchestrator(wait_a_minute))
    world.pass_time(60 * SECOND)
    world.raise_event("go", "too late")
    assert world.next_wake() is None
    world.raise_event("end")
    assert instance.output == "late: external event 'go' did not arrive in time"
    assert world.retrace() == 3


def test_a_wait_with_a_time_out_for_an_event_that_is_there_needs_no_timer(world: World):
    def wait(context):
        yield context.wait_for_external_event("ready")
        result = yield context.wait_for_external_event("go", timeout=SECOND)
        yield context.wait_for_external_event("end")
        return result

    instance = world.start(world.app.orchestrator(wait))
    world.raise_event("go", 1)
    world.raise_event("ready")
    assert world.next_wake() is None
    world.raise_event("end")
    assert instance.output == 1


def test_cancelling_a_wait_with_a_time_out_cleans_up_its_timer(world: World):
    def wait(context):
        context.wait_for_external_event("go", timeout=SECOND).cancel()
        yield context.wait_for_external_event("end")

    instance = world.start(world.app.orchestrator(wait))
    assert world.next_wake() is None
    assert instance.history[-1] == TimerCanceled(0)


def test_two_waits_with_time_outs_in_a_task_any(world: World):
    def wait(context):
        approved = context.wait_for_external_event("approved", timeout=SECOND)
        rejected = context.wait_for_external_event("rejected", timeout=2 * SECOND)
        first = yield context.task_any([approved, rejected])
        return [first is approved, first.is_faulted, (yield rejected)]

    instance = world.start(world.app.orchestrator(wait))
    world.pass_time(SECOND)
    world.raise_event("rejected", "no")
    assert instance.output == [True, True, "no"]


@dataclass
class Order:
    number: int


def test_a_typed_wait_gives_the_type_or_says_why_not(world: World):
    def wait(context):
        order = yield context.wait_for_external_event("order", Order)
        try:
            yield context.wait_for_external_event("order", Order)
        except DeserializationError as error:
            return [isinstance(order, Order), order.number, type(error).__name__, "payload of event 'order'" in str(error)]

    instance = world.start(world.app.orchestrator(wait))
    world.raise_event("order", {"number": 7})
    world.raise_event("order", {"number": "seven"})
    assert instance.output == [True, 7, "DeserializationError", True]
