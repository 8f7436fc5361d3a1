"""Continue-as-new: the next generation, its events, its status, its version."""

from datetime import timedelta

import pytest

from perdure.core.events import EventRaised, ExecutionResumed, ExecutionSuspended
from perdure.core.messages import Message
from tests.unit.driver import World

SECOND = timedelta(seconds=1)


def event(name: str, payload: str = "null") -> Message:
    return Message("i", EventRaised(name, payload))


def generation(world: World) -> int:
    return world.instances["i"].orchestration.started.generation


def test_continue_as_new_begins_anew_with_the_next_input(world: World):
    world.app.activity("double", lambda value, job: value * 2)

    def grow(context):
        value = yield context.call_activity("double", context.get_input())
        if value < 20:
            context.continue_as_new(value)
            return "of no interest"
        return value

    instance = world.start(world.app.orchestrator(grow), 3, version="1", tags={"a": "b"})
    first = instance.orchestration.started
    world.settle()
    assert instance.output == 24
    last = instance.orchestration.started
    assert (last.generation, last.input) == (2, "12")
    assert (last.execution_id, last.version, last.tags) == (first.execution_id, "1", {"a": "b"})
    assert [seq for seq, _ in instance.stored] == [2, 3]
    assert instance.orchestration.first_seq == 2
    assert world.retrace() == 3


def test_continue_as_new_takes_effect_as_soon_as_the_code_waits(world: World):
    def wait(context):
        if context.get_input() == 0:
            context.continue_as_new(1)
            assert context.will_continue_as_new
            yield context.wait_for_external_event("never")
            raise AssertionError("the old code went on")
        return [context.get_input(), context.will_continue_as_new]

    assert world.start(world.app.orchestrator(wait), 0).output == [1, False]


def test_the_last_of_several_continue_as_new_counts(world: World):
    def twice(context):
        if context.get_input() == 0:
            context.continue_as_new(1)
            context.continue_as_new(2)
            return None
        return context.get_input()
        yield

    assert world.start(world.app.orchestrator(twice), 0).output == 2


def test_an_error_after_continue_as_new_fails_the_instance(world: World):
    def fail(context):
        context.continue_as_new(1)
        raise ValueError("after all")
        yield

    assert world.start(world.app.orchestrator(fail), 0).failure.message == "after all"


def test_what_was_asked_for_before_continue_as_new_is_honoured_but_its_results_are_dropped(world: World):
    done: list[object] = []
    world.app.activity("log", lambda value, job: done.append(value))

    def child(context):
        return context.get_input()
        yield

    def fire_and_forget(context):
        number = context.get_input()
        if number == 0:
            context.call_activity("log", "sent")
            context.call_sub_orchestrator("child", 7, "child")
            context.create_timer(SECOND)
            context.continue_as_new(1)
            return None
        return (yield context.wait_for_external_event("end"))

    world.app.orchestrator(child)
    instance = world.start(world.app.orchestrator(fire_and_forget), 0)
    world.settle()
    assert done == ["sent"]
    assert world.instances["child"].output == 7
    assert world.next_wake() is None
    dropped = [disposition.name for step in instance.steps for disposition in step.turn.dispositions]
    assert dropped == ["ACCEPTED", "DROPPED", "DROPPED"]
    assert len(instance.stored) == 1
    world.raise_event("end", "ok")
    assert instance.output == "ok"


def test_results_that_come_with_the_decision_are_dropped_like_those_that_come_later(world: World):
    world.app.activity("double", lambda value, job: value * 2)

    def race(context):
        if context.get_input() == 1:
            return (yield context.call_activity("double", "new"))
        yield context.task_any([context.call_activity("double", "old"), context.call_activity("double", "late")])
        context.continue_as_new(1)

    instance = world.start(world.app.orchestrator(race), 0)
    outcomes = [world.answer(job) for job in world.pending]
    world.pending.clear()
    turn = world.turn("i", *outcomes)
    assert [disposition.name for disposition in turn.dispositions] == ["ACCEPTED", "DROPPED"]
    world.settle()
    assert instance.output == "newnew"


def collect(context):
    """Takes two events per generation."""
    seen = context.get_input()
    first = yield context.wait_for_external_event("n")
    second = yield context.wait_for_external_event("n")
    seen = [*seen, first, second]
    if len(seen) < 6:
        context.continue_as_new(seen)
        return None
    return seen


@pytest.mark.parametrize("sizes", [[6], [1] * 6, [3, 3], [5, 1], [2, 4]], ids=str)
def test_no_event_is_lost_or_out_of_order_however_turns_are_cut(world: World, sizes: list[int]):
    instance = world.start(world.app.orchestrator(collect), [])
    numbers = iter(range(6))
    for size in sizes:
        world.turn("i", *(event("n", str(next(numbers))) for _ in range(size)))
    assert instance.output == [0, 1, 2, 3, 4, 5]


def test_unprocessed_events_of_all_names_are_handed_on_in_the_order_of_their_arrival(world: World):
    def wait(context):
        if context.get_input() == 0:
            yield context.wait_for_external_event("next")
            context.continue_as_new(1)
            return None
        yield context.wait_for_external_event("end")

    instance = world.start(world.app.orchestrator(wait), 0)
    for name in ("b", "A", "b", "a", "c"):
        world.raise_event(name)
    world.raise_event("next")
    assert [one.name for one in instance.history if isinstance(one, EventRaised)] == ["b", "A", "b", "a", "c"]
    assert world.retrace() == 6


@pytest.mark.parametrize("sizes", [[4], [1, 1, 1, 1], [2, 2], [3, 1]], ids=str)
def test_without_save_events_only_what_came_before_the_decision_is_lost(world: World, sizes: list[int]):
    def wait(context):
        if context.get_input() < 2:
            yield context.wait_for_external_event("next")
            context.continue_as_new(context.get_input() + 1, save_events=False)
            return None
        return (yield context.wait_for_external_event("n"))

    instance = world.start(world.app.orchestrator(wait), 0)
    messages = iter([event("n", '"early"'), event("next"), event("next"), event("n", '"late"')])
    for size in sizes:
        world.turn("i", *(next(messages) for _ in range(size)))
    assert instance.output == "late"


def test_events_parked_by_a_suspension_belong_to_the_generation_that_takes_them(world: World):
    instance = world.start(world.app.orchestrator(collect), [])
    world.suspend()
    for number in range(6):
        world.raise_event("n", number)
    world.resume()
    assert instance.output == [0, 1, 2, 3, 4, 5]


def test_the_custom_status_survives_continue_as_new(world: World):
    def show(context):
        if context.get_input() == 0:
            context.set_custom_status("shown")
            context.continue_as_new(1)
            return None
        yield context.wait_for_external_event("go")
        return context.custom_status

    instance = world.start(world.app.orchestrator(show), 0)
    assert instance.custom_status == '"shown"'
    world.raise_event("go")
    assert instance.custom_status == '"shown"'
    assert instance.output is None  # what this generation set


def test_a_new_version_holds_from_the_next_generation_on(world: World):
    def upgrade(context):
        if context.get_input() == 0:
            context.continue_as_new(1, new_version="2")
            return None
        if context.get_input() == 1:
            context.continue_as_new(2)
            return None
        return context.version
        yield

    assert world.start(world.app.orchestrator(upgrade), 0, version="1").output == "2"


def test_an_orchestrator_that_continues_without_end_lets_others_have_their_turn(world: World):
    def endless(context):
        context.continue_as_new(context.get_input() + 1)
        return None
        yield

    instance = world.start(world.app.orchestrator(endless), 0)
    assert generation(world) == 100
    assert world.next_wake() == (world.now_us + 1, "i")
    assert instance.status == "Pending"
    assert len(instance.stored) == 1
    world.raise_event("n", 1)  # does not make it run early
    assert generation(world) == 100
    world.now_us += 1
    world.turn("i")
    assert generation(world) == 200
    assert EventRaised("n", "1") in instance.history
    world.terminate("enough")
    assert instance.status == "Terminated"


def test_control_messages_that_come_with_the_decision_apply_to_the_next_generation(world: World):
    instance = world.start(world.app.orchestrator(collect), [])
    controls = [ExecutionResumed(), ExecutionSuspended(), ExecutionSuspended()]
    messages = [event("n", "0"), event("n", "1"), *(Message("i", one) for one in controls), event("n", "2")]
    turn = world.turn("i", *messages)
    assert {disposition.name for disposition in turn.dispositions} == {"ACCEPTED"}
    assert (generation(world), instance.status) == (1, "Suspended")
    world.resume()
    for number in (3, 4, 5):
        world.raise_event("n", number)
    assert instance.output == [0, 1, 2, 3, 4, 5]


def test_a_suspension_is_not_lost_by_a_generation_that_ends_at_once(world: World):
    def hop(context):
        if context.get_input() == 0:
            yield context.wait_for_external_event("go")
        if context.get_input() < 3:
            context.continue_as_new(context.get_input() + 1, save_events=False)
            return None
        return (yield context.wait_for_external_event("end"))

    instance = world.start(world.app.orchestrator(hop), 0)
    world.turn("i", event("go"), Message("i", ExecutionSuspended()))
    assert (generation(world), instance.status) == (3, "Suspended")
