"""Suspend, resume, terminate, delayed starts, and apps that lack an orchestrator."""

from datetime import timedelta

import pytest

from perdure.core.effects import CancelActivities, InstanceEnded
from perdure.core.errors import EngineInvariantError
from perdure.core.events import (
    EventRaised,
    ExecutionResumed,
    ExecutionSuspended,
    ExecutionTerminated,
    OrchestratorStarted,
    TaskCompleted,
    TimerFired,
)
from perdure.core.messages import Message
from perdure.core.orchestration import Orchestration
from perdure.core.outbound import open_activities
from perdure.core.times import to_us
from perdure.core.turn import Disposition
from tests.unit.driver import EPOCH, App, World

SECOND = timedelta(seconds=1)


def two_events(context):
    first = yield context.wait_for_external_event("n")
    second = yield context.wait_for_external_event("n")
    return [first, second]


# --- suspend and resume -----------------------------------------------------------------------------------------------


def test_events_that_come_while_suspended_reach_the_code_on_resume_in_order(world: World):
    instance = world.start(world.app.orchestrator(two_events))
    world.suspend()
    assert instance.status == "Suspended"
    world.raise_event("n", 1)
    world.raise_event("n", 2)
    assert instance.status == "Suspended"
    world.resume()
    assert instance.output == [1, 2]
    assert world.retrace() == 4


def test_suspend_events_and_resume_may_come_in_one_turn(world: World):
    instance = world.start(world.app.orchestrator(two_events))
    events = [ExecutionSuspended("why"), EventRaised("n", "1"), ExecutionResumed("so"), EventRaised("n", "2")]
    world.turn("i", *(Message("i", event) for event in events))
    assert instance.output == [1, 2]


def test_activities_that_finish_while_suspended_wait_for_the_resume(world: World):
    world.app.activity("double", lambda value, job: value * 2)

    def work(context):
        results = yield context.task_all([context.call_activity("double", 1), context.call_activity("double", 2)])
        return [results, (yield context.call_activity("double", 3))]

    instance = world.start(world.app.orchestrator(work))
    world.suspend()
    world.settle()
    assert instance.status == "Suspended"
    assert instance.state.pending == 0
    world.resume()
    world.settle()
    assert instance.output == [[2, 4], 6]
    assert world.retrace() == 5


def test_a_second_suspend_or_resume_is_accepted_without_effect(world: World):
    instance = world.start(world.app.orchestrator(two_events))
    assert world.resume() is Disposition.ACCEPTED
    assert world.suspend() is Disposition.ACCEPTED
    before = list(instance.stored)
    assert world.suspend() is Disposition.ACCEPTED
    assert instance.stored == before
    world.resume()
    before = list(instance.stored)
    assert world.resume() is Disposition.ACCEPTED
    assert instance.stored == before
    assert instance.status == "Running"


def test_timers_that_are_due_while_suspended_fire_but_wait_for_the_resume(world: World):
    def sleep(context):
        yield context.create_timer(SECOND)
        return (context.current_utc_datetime - EPOCH).total_seconds()

    instance = world.start(world.app.orchestrator(sleep))
    world.suspend()
    world.pass_time(10 * SECOND)
    assert TimerFired(0) in instance.history
    assert (instance.status, world.next_wake()) == ("Suspended", None)
    world.resume()
    assert instance.output == 10


def test_an_instance_suspended_before_its_start_time_starts_when_resumed_after_it(world: World):
    def late(context):
        return (context.current_utc_datetime - EPOCH).total_seconds()
        yield

    instance = world.start(world.app.orchestrator(late), start_at=to_us(EPOCH + SECOND))
    assert instance.status == "Pending"
    world.suspend()
    assert (instance.status, world.next_wake()) == ("Suspended", None)
    world.pass_time(5 * SECOND)
    world.turn("i")
    assert instance.status == "Suspended"
    world.resume()
    assert instance.output == 5


def test_an_instance_suspended_and_resumed_before_its_start_time_still_waits_for_it(world: World):
    instance = world.start(world.app.orchestrator(two_events), start_at=to_us(EPOCH + SECOND))
    world.suspend()
    world.raise_event("n", 1)
    world.resume()
    assert (instance.status, world.next_wake()) == ("Pending", (to_us(EPOCH + SECOND), "i"))
    world.raise_event("n", 2)
    assert instance.status == "Pending"
    world.run()
    assert instance.output == [1, 2]


def test_events_parked_when_the_code_ends_are_dropped_with_it(world: World):
    def two_then_end(context):
        numbers = yield from two_events(context)
        context.set_custom_status("end")
        return numbers

    instance = world.start(world.app.orchestrator(two_then_end))
    world.suspend()
    for number in range(4):
        world.raise_event("n", number)
    world.resume()
    assert instance.output == [0, 1]
    # Its history fits its code: or the code would have no say in what a rebuilt instance shows.
    assert world.rebuilt(instance.stored, None, "i").custom_status == '"end"'
    assert world.turn("i").events is None
    assert world.raise_event("n", 9) is Disposition.FINISHED


# --- terminate --------------------------------------------------------------------------------------------------------


def test_terminate_ends_with_its_reason_and_lets_the_code_do_nothing_more(world: World):
    world.app.activity("clean_up", lambda value, job: None)

    def work(context):
        try:
            yield context.wait_for_external_event("never")
        finally:
            context.set_custom_status("cleaned up")
            yield context.call_activity("clean_up")

    instance = world.start(world.app.orchestrator(work))
    assert world.terminate("enough") is Disposition.ACCEPTED
    assert (instance.status, instance.end.result, instance.end.failure) == ("Terminated", '"enough"', None)
    assert (world.pending, instance.custom_status) == ([], None)
    assert world.effects[-1] == InstanceEnded("i", "work", "Terminated", None)
    before = list(instance.stored)
    assert world.terminate("again") is Disposition.FINISHED
    assert world.turn("i").events is None
    assert (instance.stored, instance.end.result) == (before, '"enough"')


def test_terminate_stops_running_activities(world: World):
    world.app.activity("work", lambda value, job: None)

    def work(context):
        yield context.call_activity("work")

    instance = world.start(world.app.orchestrator(work))
    world.terminate()
    assert CancelActivities("i") in world.effects
    assert open_activities("i", instance.state) == []
    (job,) = world.pending
    assert world.turn("i", world.answer(job)).dispositions == [Disposition.FINISHED]  # type: ignore[arg-type]


@pytest.mark.parametrize("before", ["suspended", "pending"])
def test_terminate_works_from_every_status(world: World, before: str):
    start_at = to_us(EPOCH + SECOND) if before == "pending" else None
    instance = world.start(world.app.orchestrator(two_events), start_at=start_at)
    if before == "suspended":
        world.suspend()
        world.raise_event("n", 1)
    world.terminate("enough")
    assert (instance.status, world.next_wake()) == ("Terminated", None)
    assert world.turn("i").events is None


def test_terminate_beats_a_continue_as_new_of_the_same_turn(world: World):
    def again(context):
        yield context.wait_for_external_event("n")
        context.continue_as_new(None)

    instance = world.start(world.app.orchestrator(again))
    terminate = ExecutionTerminated("enough")
    turn = world.turn("i", Message("i", EventRaised("n")), Message("i", EventRaised("n")), Message("i", terminate))
    assert (instance.status, turn.reset) == ("Terminated", False)
    assert instance.orchestration.started.generation == 0
    assert instance.history[-2] == terminate


def test_what_comes_after_the_end_in_one_turn_is_told_so(world: World):
    world.start(world.app.orchestrator(two_events))
    events = [EventRaised("n"), ExecutionTerminated("enough"), EventRaised("n"), ExecutionSuspended()]
    names = [disposition.name for disposition in world.turn("i", *(Message("i", event) for event in events)).dispositions]
    assert names == ["ACCEPTED", "ACCEPTED", "FINISHED", "FINISHED"]


# --- delayed start ----------------------------------------------------------------------------------------------------


def test_a_delayed_start_runs_no_code_before_its_time_and_keeps_events(world: World):
    entered: list[int] = []

    def late(context):
        entered.append(1)
        first = yield context.wait_for_external_event("n")
        return [first, (context.current_utc_datetime - EPOCH).total_seconds()]

    instance = world.start(world.app.orchestrator(late), start_at=to_us(EPOCH + 5 * SECOND))
    assert (instance.status, world.next_wake()) == ("Pending", (to_us(EPOCH + 5 * SECOND), "i"))
    world.pass_time(2 * SECOND)
    world.raise_event("n", 1)
    assert (instance.status, entered) == ("Pending", [])
    world.pass_time(3 * SECOND)
    assert instance.output == [1, 5]


def test_a_start_time_in_the_past_is_now(world: World):
    instance = world.start(world.app.orchestrator(two_events), start_at=to_us(EPOCH - SECOND))
    assert instance.status == "Running"
    assert world.next_wake() is None


# --- missing orchestrators --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start_at", [None, to_us(EPOCH + SECOND)], ids=["now", "later"])
def test_starting_an_unknown_orchestrator_fails_the_instance_and_names_those_there_are(world: World, start_at: int | None):
    world.app.orchestrator(two_events, "Zebra")
    world.app.orchestrator(two_events, "apple")
    world.app.orchestrator(two_events, "BuiltIn::Timer")  # the host's own
    failure = world.start("Unknown", start_at=start_at).failure
    assert failure.type == "perdure.OrchestratorNotRegisteredError"
    assert failure.message == "[PD1105] there is no orchestrator named 'Unknown'. Registered: Zebra, apple."


def test_names_of_orchestrators_are_compared_without_case(world: World):
    world.app.orchestrator(two_events, "Two")
    instance = world.start("tWO")
    world.raise_event("n", 1)
    world.raise_event("n", 2)
    assert instance.output == [1, 2]


def deploy_nothing(world: World) -> App:
    """An app that lacks what the instance needs."""
    complete = world.app
    world.rehydrate(app=App(complete.style))
    assert not world.instances["i"].orchestration.registered
    return complete


def test_events_are_kept_while_the_app_lacks_the_orchestrator_and_taken_when_it_is_back(world: World):
    world.app.activity("double", lambda value, job: value * 2)

    def work(context):
        doubled = yield context.call_activity("double", 1)
        yield context.create_timer(5 * SECOND)
        return [doubled, (yield context.wait_for_external_event("n"))]

    instance = world.start(world.app.orchestrator(work))
    outcome = world.answer(world.pending.pop())  # type: ignore[arg-type]
    complete = deploy_nothing(world)
    world.turn("i", outcome)
    world.raise_event("n", 7)
    assert instance.status == "Running"
    assert TaskCompleted(0, "2") in instance.history
    assert OrchestratorStarted(world.now_us, idle=True) in instance.history
    world.rehydrate(app=complete)
    world.turn("i")
    assert world.next_wake() == (world.now_us + 5_000_000, "i")
    complete = deploy_nothing(world)
    world.now_us += 10_000_000
    world.turn("i")
    assert TimerFired(1) in instance.history
    world.rehydrate(app=complete)
    world.turn("i")
    assert instance.output == [2, 7]
    assert world.retrace() == 5


def test_an_instance_that_lacks_its_orchestrator_wants_to_be_looked_at_again_once_it_has_something_for_it(world: World):
    instance = world.start(world.app.orchestrator(two_events))
    complete = deploy_nothing(world)
    world.turn("i")
    assert instance.projection[3] is None
    world.raise_event("n", 1)
    assert instance.projection[3] == world.now_us
    world.rehydrate(app=complete)
    assert world.next_wake() == (world.now_us, "i")
    world.run()
    assert world.next_wake() is None
    world.raise_event("n", 2)
    assert instance.output == [1, 2]


@pytest.mark.parametrize("start_at", [None, to_us(EPOCH + SECOND)], ids=["now", "later"])
def test_a_passive_engine_lets_a_new_instance_wait_for_an_app_that_has_its_orchestrator(world: World, start_at: int | None):
    complete, world.app, world.passive = world.app, App(world.app.style), True
    complete.orchestrator(two_events)
    instance = world.start("two_events", start_at=start_at)
    world.raise_event("n", 1)
    assert instance.status == "Pending"
    world.rehydrate(app=complete)
    world.run()
    assert instance.status == "Running"
    world.raise_event("n", 2)
    assert instance.output == [1, 2]


def test_an_instance_without_its_orchestrator_can_be_suspended_resumed_and_terminated(world: World):
    instance = world.start(world.app.orchestrator(two_events))
    complete = deploy_nothing(world)
    world.suspend()
    world.raise_event("n", 1)
    assert instance.status == "Suspended"
    world.resume()
    world.raise_event("n", 2)
    assert instance.status == "Running"
    world.rehydrate(app=complete)
    world.turn("i")
    assert instance.output == [1, 2]

    other = world.start(two_events)
    deploy_nothing(world)
    world.terminate("enough")
    assert other.status == "Terminated"


def test_a_delayed_instance_whose_orchestrator_is_missing_at_its_start_time_starts_when_it_is_back(world: World):
    instance = world.start(world.app.orchestrator(two_events), start_at=to_us(EPOCH + SECOND))
    complete = deploy_nothing(world)
    world.now_us += 1_000_000
    assert world.turn("i").events is None
    world.raise_event("n", 1)
    assert instance.status == "Pending"
    world.rehydrate(app=complete)
    world.turn("i")
    assert instance.status == "Running"
    world.raise_event("n", 2)
    assert instance.output == [1, 2]


def test_a_suspension_outlives_the_time_without_orchestrator(world: World):
    instance = world.start(world.app.orchestrator(two_events))
    world.suspend()
    complete = deploy_nothing(world)
    world.raise_event("n", 1)
    world.rehydrate(app=complete)
    world.raise_event("n", 2)
    assert instance.status == "Suspended"
    world.resume()
    assert instance.output == [1, 2]


# --- what would be bugs of the engine's -------------------------------------------------------------------------------


def test_a_completion_that_was_never_asked_for_is_a_bug_and_said_to_be_one(world: World):
    world.start(world.app.orchestrator(two_events))
    message = Message("i", TaskCompleted(3), "execution-of-i", 0)
    with pytest.raises(EngineInvariantError, match=r"TaskCompleted for task 3 of instance 'i', which was never asked for"):
        world.turn("i", message)


@pytest.mark.parametrize(("execution", "generation"), [("another", 0), ("execution-of-i", 1)])
def test_a_completion_for_another_execution_or_generation_is_dropped(world: World, execution: str, generation: int):
    world.start(world.app.orchestrator(two_events))
    turn = world.turn("i", Message("i", TaskCompleted(0), execution, generation))
    assert (turn.dispositions, turn.events) == ([Disposition.DROPPED], None)


def test_segments_that_are_no_history_are_refused(world: World):
    orchestration = Orchestration("i", world.app, world.converter, 0)
    with pytest.raises(EngineInvariantError, match="turn 1 of instance 'i' doesn't begin with OrchestratorStarted"):
        orchestration.replay([(0, b'[{"type":"ExecutionResumed"}]')], None)
    with pytest.raises(EngineInvariantError, match="instance 'i' has no ExecutionStarted event"):
        _ = Orchestration("i", world.app, world.converter, 0).started
