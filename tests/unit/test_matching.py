"""Non-determinism: code that no longer fits its history is found, and told what differs and where."""

import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from perdure.core.effects import DispatchActivity
from perdure.core.errors import EngineInvariantError
from perdure.core.events import (
    EventRaised,
    ExecutionCompleted,
    SubOrchestrationInstanceCreated,
    TaskScheduled,
    TimerCanceled,
    TimerCreated,
)
from perdure.core.failures import FailureDetails, TaskFailedError
from perdure.core.matching import NonDeterminismError, check_turn, describe, same
from perdure.core.messages import Message
from perdure.core.outbound import open_activities
from perdure.core.recorder import user_source
from perdure.core.retry import RetryOptions
from perdure.core.turn import Disposition
from tests.unit.driver import Instance, World, view

HOUR = timedelta(hours=1)


def place_in(function: Callable[..., Any], text: str) -> str:
    """Where that stands in the function, as messages show it."""
    lines, first = inspect.getsourcelines(function)
    (offset,) = [offset for offset, line in enumerate(lines) if text in line]
    return f"{__file__}:{first + offset} in {function.__name__}"


def redeployed(world: World, old: Callable[..., Any], new: Callable[..., Any], before: Callable[[], object] = bool) -> Instance:
    """Runs ``old`` (and ``before``), puts ``new`` in its place, and gives the instance its next turn."""
    world.app.activity("a", lambda value, job: "A")
    world.app.activity("b", lambda value, job: "B")
    world.app.orchestrator(lambda context: None, "child")
    instance = world.start(world.app.orchestrator(old, "orchestrator"))
    before()
    world.app.orchestrator(new, "orchestrator")
    assert not instance.orchestration.ended, "the old code left nothing to replay"
    instance.orchestration.close()
    instance.orchestration = world.rebuilt(instance.stored, instance.custom_status, "i")
    world.evict = False
    world.raise_event("wake up")
    return instance


def mismatch(instance: Instance) -> str:
    """The two middle parts of the message; the rest is the same for all."""
    failure = instance.failure
    assert failure.type == "perdure.NonDeterminismError"
    head, _, rest = failure.message.partition(" its history says that the code went on to ")
    assert head.startswith("[PD1201] orchestration 'i' can't be replayed: in turn ")
    says, _, advice = rest.partition(
        ". The orchestrator was changed while this instance was running, or reads something that differs "
    )
    assert "Bring back the earlier code, or give the new code a new name or version" in advice
    return f"{head.rpartition(' ')[2]} {says}"


def base(context):
    first = yield context.call_activity("a", 1)
    second = yield context.call_activity("b", first)
    yield context.create_timer(HOUR)
    return second


# Each of these differs from ``base`` in one way. The place is where the new code asks for what history doesn't have.


def renamed(context):
    first = yield context.call_activity("a", 1)
    second = yield context.call_activity("c", first)
    yield context.create_timer(HOUR)
    return second


def reordered(context):
    first = yield context.call_activity("b", 1)
    second = yield context.call_activity("a", first)
    yield context.create_timer(HOUR)
    return second


def added(context):
    first = yield context.call_activity("a", 1)
    yield context.call_activity("new", first)
    second = yield context.call_activity("b", first)
    yield context.create_timer(HOUR)
    return second


def added_in_front(context):
    context.create_timer(HOUR)
    first = yield context.call_activity("a", 1)
    second = yield context.call_activity("b", first)
    yield context.create_timer(HOUR)
    return second


def removed(context):
    yield context.call_activity("a", 1)
    yield context.create_timer(HOUR)


def waits_instead(context):
    first = yield context.call_activity("a", 1)
    yield context.wait_for_external_event("approval")
    second = yield context.call_activity("b", first)
    return second


def other_kind(context):
    first = yield context.call_activity("a", 1)
    second = yield context.call_sub_orchestrator("child", first)
    yield context.create_timer(HOUR)
    return second


def tail_added(context):
    first = yield context.call_activity("a", 1)
    second = yield context.call_activity("b", first)
    context.call_activity("audit", second)
    yield context.create_timer(HOUR)
    return second


def added_behind(context):
    first = yield context.call_activity("a", 1)
    second = yield context.call_activity("b", first)
    timer = context.create_timer(HOUR)
    context.call_activity("audit", second)
    yield timer


def ends_earlier(context):
    yield context.call_activity("a", 1)
    return "done"


def continues(context):
    first = yield context.call_activity("a", 1)
    yield context.call_activity("b", first)
    context.continue_as_new(first)


def continues_in_addition(context):
    first = yield context.call_activity("a", 1)
    yield context.call_activity("b", first)
    context.create_timer(HOUR)
    context.continue_as_new(first)


@pytest.mark.parametrize(
    ("new", "found"),
    [
        (renamed, "2 call activity 'b' (task 1), but the code now asked to call activity 'c' (task 1) at {'\"c\"'}"),
        (reordered, "1 call activity 'a' (task 0), but the code now asked to call activity 'b' (task 0) at {'\"b\"'}"),
        (added, "2 call activity 'b' (task 1), but the code now asked to call activity 'new' (task 1) at {'\"new\"'}"),
        (
            added_in_front,
            "1 call activity 'a' (task 0), but the code now asked to create a timer (task 0) at {'    context.create_timer'}",
        ),
        (removed, "2 call activity 'b' (task 1), but the code now asked to create a timer (task 1) at {'create_timer'}"),
        (waits_instead, "2 call activity 'b' (task 1), but the code now did not ask for it; it stands at {'wait_for'}"),
        (
            other_kind,
            "2 call activity 'b' (task 1), but the code now asked to call sub-orchestrator 'child' (task 1) at {'\"child\"'}",
        ),
        (tail_added, "3 create a timer (task 2), but the code now asked to call activity 'audit' (task 2) at {'\"audit\"'}"),
        (added_behind, "3 ask for nothing more, but the code now asked to call activity 'audit' (task 3) at {'\"audit\"'}"),
        (
            ends_earlier,
            "2 call activity 'b' (task 1), but the code now asked to end as Completed at its end, or by its retry policy",
        ),
        (continues, "3 create a timer (task 2), but the code now asked to continue as new at {'continue_as_new'}"),
        (continues_in_addition, "3 ask for nothing more, but the code now asked to continue as new at {'continue_as_new'}"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_change_is_found_with_what_history_says_what_the_code_asked_and_where(new: Callable[..., Any], found: str):
    world = World()
    instance = redeployed(world, base, new, world.settle)
    text, brace, place = found.partition("{")
    if brace:
        text += place_in(new, place.removesuffix("}").strip("'"))
    assert mismatch(instance) == text


def test_a_coroutine_is_shown_where_it_awaits():
    async def old(context):
        await context.call_activity("a")
        await context.create_timer(HOUR)

    async def new(context):
        await helper(context)

    async def helper(context):
        await context.wait_for_external_event("approval")

    instance = redeployed(World(), old, new)
    place = place_in(helper, "wait_for_external_event")
    assert mismatch(instance) == f"1 call activity 'a' (task 0), but the code now did not ask for it; it stands at {place}"


def test_a_changed_cancellation_is_found():
    def old(context):
        timer = context.create_timer(HOUR)
        yield context.call_activity("a")
        timer.cancel()
        yield context.call_activity("b")
        yield context.wait_for_external_event("end")

    def new(context):
        context.create_timer(HOUR)
        yield context.call_activity("a")
        yield context.call_activity("b")
        yield context.wait_for_external_event("end")

    world = World()
    found = mismatch(redeployed(world, old, new, world.settle))
    place = place_in(new, '"b"')
    assert found == f"2 cancel the timer of task 0, but the code now asked to call activity 'b' (task 2) at {place}"


def test_a_retry_that_goes_on_for_longer_is_found():
    def fail(value: Any, job: DispatchActivity) -> Any:
        raise ValueError("no")

    def old(context):
        try:
            yield context.call_activity("fail")
        except TaskFailedError:
            yield context.wait_for_external_event("end")

    def new(context):
        try:
            yield context.call_activity_with_retry("fail", RetryOptions(1000, 3))
        except TaskFailedError:
            yield context.wait_for_external_event("end")

    world = World()
    world.app.activity("fail", fail)
    found = mismatch(redeployed(world, old, new, world.settle))
    assert found == "2 ask for nothing more, but the code now asked to create a timer (task 1) at its end, or by its retry policy"


@pytest.mark.parametrize("what", ["input", "time", "instance id", "case of the name", "what it does next"])
def test_what_no_history_depends_on_may_change(what: str):
    def code(name: str, input_: int, length: timedelta, child: str, result: str):
        def orchestrator(context):
            yield context.call_activity(name, input_)
            yield context.task_all([context.create_timer(length), context.call_sub_orchestrator("child", instance_id=child)])
            yield context.wait_for_external_event("end")
            return result

        return orchestrator

    settings: dict[str, Any] = {"name": "a", "input_": 1, "length": HOUR, "child": "c1", "result": "old"}
    changes = {
        "input": {"input_": 2},
        "time": {"length": 2 * HOUR},
        "instance id": {"child": "c2"},
        "case of the name": {"name": "A"},
        "what it does next": {},
    }
    world = World()
    instance = redeployed(world, code(**settings), code(**(settings | changes[what] | {"result": "new"})), world.settle)
    world.run()
    world.raise_event("end")
    assert instance.output == "new"


def test_the_first_failure_is_not_masked():
    def new(context):
        raise LookupError("a bug of the new code's")
        yield

    world = World()
    instance = redeployed(world, base, new, world.settle)
    assert "asked to end as Failed at its end" in mismatch(instance)
    cause = instance.failure.cause
    assert cause is not None
    assert (cause.type, cause.message) == ("LookupError", "a bug of the new code's")
    assert "in new" in (cause.traceback or "")


def test_a_misfit_ends_the_instance_once_and_changes_nothing_else_about_it():
    """Above all it must not make anybody run activities that history never asked for, or run finished ones again."""

    def old(context):
        context.set_custom_status("old")
        yield context.call_activity("a")
        child = context.call_sub_orchestrator("waits", instance_id="w")
        yield context.call_activity("b")
        yield context.task_any([child, context.create_timer(HOUR), context.call_activity("slow")])

    def new(context):
        context.set_custom_status("new")
        try:
            yield context.call_activity("c")
            yield context.call_activity("d")
        finally:
            context.call_activity("e")

    def waits(context):
        yield context.wait_for_external_event("never")

    world = World()
    world.app.orchestrator(waits)

    def run_but_the_last():
        while not any(isinstance(item, DispatchActivity) and item.name == "slow" for item in world.pending):
            world.deliver(world.pending[0])

    world.app.activity("a", lambda value, job: "A")
    world.app.activity("b", lambda value, job: "B")
    instance = world.start(world.app.orchestrator(old, "orchestrator"))
    run_but_the_last()
    before = view(instance.state)
    live = instance.orchestration
    world.app.orchestrator(new, "orchestrator")
    doomed = world.rebuilt(instance.stored, instance.custom_status, "i")
    assert view(doomed.state) == before
    assert doomed.projection() == live.projection()
    assert doomed.custom_status == '"old"'
    assert [job.name for job in open_activities("i", doomed.state)] == ["slow"]

    first = doomed.turn([Message("i", EventRaised("x"))], world.now_us)
    assert first.dispositions == [Disposition.FINISHED]
    assert doomed.state.status == "Failed"
    assert first.messages == []
    again = doomed.turn([Message("i", EventRaised("x"))], world.now_us)
    assert (again.dispositions, again.events) == ([Disposition.FINISHED], None)


def test_a_doomed_instance_that_is_suspended_or_has_parked_events_fails_too():
    world = World()

    def suspend():
        world.settle()
        world.suspend()
        world.raise_event("x")

    instance = redeployed(world, base, renamed, suspend)
    assert "call activity 'c'" in mismatch(instance)


def test_a_failing_child_of_a_changed_orchestrator_tells_its_caller():
    def parent(context):
        try:
            yield context.call_sub_orchestrator("orchestrator", instance_id="i")
        except TaskFailedError as error:
            return error.is_caused_by(NonDeterminismError)

    world = World()
    world.app.activity("a", lambda value, job: "A")
    world.app.activity("b", lambda value, job: "B")
    world.app.orchestrator(base, "orchestrator")
    caller = world.start(world.app.orchestrator(parent), instance_id="p")
    world.settle()
    world.app.orchestrator(renamed, "orchestrator")
    instance = world.instances["i"]
    instance.orchestration = world.rebuilt(instance.stored, None, "i")
    world.turn("i")
    world.settle()
    assert caller.output is True


# --- the parts --------------------------------------------------------------------------------------------------------

FAILURE = FailureDetails("ValueError", "no")
KINDS = [
    TaskScheduled(0, "a"),
    SubOrchestrationInstanceCreated(0, "a", "child"),
    TimerCreated(0, 5),
    TimerCanceled(0),
    ExecutionCompleted("Completed"),
]


def test_actions_of_different_kinds_are_never_the_same():
    for position, one in enumerate(KINDS):
        for other_position, other in enumerate(KINDS):
            assert same(one, other) == (position == other_position)


@pytest.mark.parametrize(
    ("recorded", "asked", "equal"),
    [
        (TaskScheduled(0, "a"), TaskScheduled(1, "a"), False),
        (TaskScheduled(0, "a"), TaskScheduled(0, "b"), False),
        (TaskScheduled(0, "Straße", "1"), TaskScheduled(0, "STRASSE", "2", 2, 0), True),
        (SubOrchestrationInstanceCreated(0, "a", "x"), SubOrchestrationInstanceCreated(0, "A", "y", "1", "2"), True),
        (SubOrchestrationInstanceCreated(0, "a", "x"), SubOrchestrationInstanceCreated(0, "b", "x"), False),
        (TimerCreated(0, 5), TimerCreated(0, 6), True),
        (TimerCreated(0, 5), TimerCreated(1, 5), False),
        (TimerCanceled(0), TimerCanceled(1), False),
        (ExecutionCompleted("Completed", "1"), ExecutionCompleted("Completed", "2"), True),
        (ExecutionCompleted("Completed"), ExecutionCompleted("Failed", None, FAILURE), False),
    ],
)
def test_what_is_compared_is_kind_task_and_name(recorded: Any, asked: Any, equal: bool):
    assert same(recorded, asked) is equal


def test_every_action_can_be_told_in_words():
    assert [describe(action) for action in KINDS] == [
        "call activity 'a' (task 0)",
        "call sub-orchestrator 'a' (task 0)",
        "create a timer (task 0)",
        "cancel the timer of task 0",
        "end as Completed",
    ]


def test_an_equal_turn_passes_and_nobody_asks_where_the_code_stands():
    def stands_at() -> str:
        raise AssertionError

    check_turn("i", 1, KINDS, list(KINDS), [""] * len(KINDS), stands_at, continued_at=None)
    check_turn("i", 1, [], [], [], stands_at, continued_at=None)


def test_a_users_package_whose_name_begins_like_perdures_is_not_taken_for_perdure():
    source = "def ask():\n    return user_source()\n"
    place = str(inspect.getfile(user_source)).replace("/perdure/core/recorder.py", "/perdure_shop/orders.py")
    names: dict[str, Any] = {"user_source": user_source}
    exec(compile(source, place, "exec"), names)
    assert names["ask"]() == f"{place}:2 in ask"


def test_a_completed_instance_can_be_replayed_but_its_bytes_must_be_whole():
    world = World()
    instance = world.start(world.app.orchestrator(lambda context: 1, "orchestrator"))
    again = world.rebuilt(instance.stored, None, "i")
    assert view(again.state) == view(instance.state)
    with pytest.raises(EngineInvariantError, match="a stored history segment can't be read"):
        world.rebuilt([(0, instance.stored[0][1][:-5])], None, "i")
