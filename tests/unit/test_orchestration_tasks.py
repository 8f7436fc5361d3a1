"""Activities, timers, and what joins them: what an orchestrator sees of its tasks."""

from datetime import timedelta
from typing import Any

import pytest

from perdure.core.converter import DeserializationError
from perdure.core.effects import CommitReceipt, DispatchActivity
from perdure.core.errors import EngineInvariantError
from perdure.core.events import TimerCanceled, TimerCreated, TimerFired
from perdure.core.failures import TaskFailedError
from perdure.core.turn import Disposition
from tests.unit.driver import EPOCH, World, replaced

SECOND = timedelta(seconds=1)


def register(world: World) -> None:
    """Activities that all tests may use."""

    def fail(value: Any, job: DispatchActivity) -> Any:
        raise ValueError(value)

    world.app.activity("double", lambda value, job: value * 2)
    world.app.activity("fail", fail)


def test_a_chain_of_activities(world: World):
    register(world)

    def chain(context):
        first = yield context.call_activity("double", 1)
        second = yield context.call_activity("double", first)
        return [first, second]

    instance = world.start(world.app.orchestrator(chain))
    assert instance.status == "Running"
    world.settle()
    assert instance.output == [2, 4]
    assert world.retrace() == 2


def test_an_activity_is_dispatched_with_all_that_identifies_it(world: World):
    def once(context):
        yield context.call_activity("Double", {"a": 1})

    world.start(world.app.orchestrator(once))
    (job,) = world.pending
    assert job == DispatchActivity("i", "execution-of-i", 0, 0, "Double", '{"a":1}', 1, "execution-of-i-0-0")


def test_an_activity_that_takes_and_returns_nothing(world: World):
    world.app.activity("nothing", lambda value, job: value)

    def once(context):
        return repr((yield context.call_activity("nothing")))

    instance = world.start(world.app.orchestrator(once))
    world.settle()
    assert instance.output == "None"


def test_tasks_may_be_started_first_and_awaited_later_in_any_order(world: World):
    register(world)

    def started_first(context):
        tasks = [context.call_activity("double", number) for number in range(3)]
        third = yield tasks[2]
        second = yield tasks[1]
        first = yield tasks[0]
        return [third, second, first]

    instance = world.start(world.app.orchestrator(started_first))
    assert len(world.pending) == 3
    world.settle()
    assert instance.output == [4, 2, 0]
    assert world.retrace() == 3


def test_a_finished_task_may_be_awaited_again_whatever_became_of_it(world: World):
    register(world)

    def again(context):
        good, bad = context.call_activity("double", 1), context.call_activity("fail", "x")
        results = []
        for _ in range(3):
            results.append((yield good))
            try:
                yield bad
            except TaskFailedError as error:
                results.append(error.details.message)
        return [*results, good.result, bad.is_completed, bad.is_faulted, str(bad.error)]

    instance = world.start(world.app.orchestrator(again))
    world.settle()
    told = "[PD1101] activity 'fail' (task 1) failed: ValueError: x"
    assert instance.output == [2, "x", 2, "x", 2, "x", 2, True, True, told]


def test_task_all_gives_the_results_in_the_order_of_the_tasks(world: World):
    register(world)

    def fan_out(context):
        return (yield context.task_all([context.call_activity("double", number) for number in range(4)]))

    instance = world.start(world.app.orchestrator(fan_out))
    world.deliver(*reversed(world.pending))
    assert instance.output == [0, 2, 4, 6]


@pytest.mark.parametrize("shape", [list, tuple, iter], ids=["list", "tuple", "iterator"])
def test_task_all_takes_any_iterable(world: World, shape: Any):
    register(world)

    def fan_out(context):
        return (yield context.task_all(shape([context.call_activity("double", 1), context.call_activity("double", 2)])))

    instance = world.start(world.app.orchestrator(fan_out))
    world.settle()
    assert instance.output == [2, 4]


def test_an_empty_task_all_is_an_empty_list_at_once(world: World):
    def nothing(context):
        return (yield context.task_all([]))

    assert world.start(world.app.orchestrator(nothing)).output == []


def test_an_empty_task_any_is_refused(world: World):
    def nothing(context):
        yield context.task_any([])

    failure = world.start(world.app.orchestrator(nothing)).failure
    assert failure.type == "ValueError"
    assert failure.message == "task_any needs at least one task: nothing could ever complete it"


def test_task_all_fails_with_the_first_failure_without_waiting_for_the_rest(world: World):
    register(world)

    def fan_out(context):
        slow = context.call_activity("double", 1)
        try:
            yield context.task_all([slow, context.call_activity("fail", "first"), context.call_activity("fail", "second")])
        except TaskFailedError as error:
            message = error.details.message
        return [message, slow.is_completed, (yield slow)]

    instance = world.start(world.app.orchestrator(fan_out))
    slow, first, second = world.pending
    world.deliver(second)
    assert instance.status == "Running"
    world.deliver(first)
    world.deliver(slow)
    assert instance.output == ["second", False, 2]


def test_task_any_gives_the_winner_and_never_fails_itself(world: World):
    register(world)

    def race(context):
        bad, good = context.call_activity("fail", "x"), context.call_activity("double", 1)
        first = yield context.task_any([good, bad])
        second = yield context.task_any([good])
        return [first is bad, first.is_faulted, second is good, second.result]

    instance = world.start(world.app.orchestrator(race))
    world.settle()
    assert instance.output == [True, True, True, 2]


def test_task_any_prefers_the_first_of_several_that_are_finished(world: World):
    register(world)

    def race(context):
        one, two = context.call_activity("double", 1), context.call_activity("double", 2)
        yield context.task_all([two, one])
        return (yield context.task_any([two, one])) is two

    instance = world.start(world.app.orchestrator(race))
    world.settle()
    assert instance.output is True


def test_losers_keep_their_results_for_whoever_awaits_them_later(world: World):
    register(world)

    def race(context):
        fast, slow = context.call_activity("double", 1), context.call_activity("double", 2)
        winner = yield context.task_any([slow, fast])
        yield context.call_activity("double", 0)  # the loser finishes meanwhile
        return [winner.result, slow.is_completed, (yield slow)]

    instance = world.start(world.app.orchestrator(race))
    fast, slow = world.pending
    world.deliver(fast)
    world.deliver(slow)
    world.settle()
    assert instance.output == [2, True, 4]


def test_losers_that_nobody_awaits_keep_nothing_waiting(world: World):
    register(world)

    def race(context):
        winner = yield context.task_any([context.call_activity("double", 1), context.call_activity("double", 2)])
        return winner.result

    instance = world.start(world.app.orchestrator(race))
    winner, loser = world.pending
    world.deliver(winner)
    assert instance.output == 2
    late = world.answer(loser)
    assert world.turn("i", late).dispositions == [Disposition.FINISHED]


def test_composites_nest_and_share_tasks(world: World):
    register(world)

    def nested(context):
        tasks = [context.call_activity("double", number) for number in range(4)]
        pair, other = context.task_all(tasks[:2]), context.task_all([tasks[1], tasks[2]])
        winner = yield context.task_any([context.task_all([pair, tasks[3]]), context.task_any([other, context.task_all(tasks)])])
        everything = yield context.task_all([pair, other, tasks[3], context.task_all([]), context.task_any([tasks[0]])])
        return [winner.result is other, everything[:4], everything[4] is tasks[0]]

    instance = world.start(world.app.orchestrator(nested))
    jobs = list(world.pending)
    for position in (2, 1, 0, 3):
        world.deliver(jobs[position])
    assert instance.output == [True, [[0, 2], [2, 4], 6, []], True]
    assert world.retrace() == 4


def test_a_timer_fires_when_its_time_has_come_and_not_before(world: World):
    def sleep(context):
        before = context.current_utc_datetime
        yield context.create_timer(before + 5 * SECOND)
        return (context.current_utc_datetime - before).total_seconds()

    instance = world.start(world.app.orchestrator(sleep))
    world.pass_time(4.999999 * SECOND)
    world.turn("i")  # woken too early
    assert instance.status == "Running"
    world.pass_time(2 * SECOND)
    assert instance.output == 5
    assert world.retrace() == 2


@pytest.mark.parametrize(
    "when",
    [EPOCH + 3 * SECOND, (EPOCH + 3 * SECOND).replace(tzinfo=None), 3 * SECOND],
    ids=["aware", "naive, which means UTC", "a duration"],
)
def test_a_timer_is_set_for_a_moment_or_a_duration(world: World, when: Any):
    def sleep(context):
        yield context.create_timer(when)
        return context.current_utc_datetime.isoformat()

    instance = world.start(world.app.orchestrator(sleep))
    world.run()
    assert instance.output == "2030-01-01T00:00:03+00:00"


@pytest.mark.parametrize("when", [EPOCH - timedelta(days=1), timedelta(0), timedelta(days=-1)])
def test_a_timer_of_the_past_fires_at_once(world: World, when: Any):
    def sleep(context):
        yield context.create_timer(when)
        return context.current_utc_datetime == EPOCH

    instance = world.start(world.app.orchestrator(sleep))
    world.pass_time(timedelta(0))
    assert instance.output is True


def test_a_timer_may_be_of_any_length(world: World):
    def sleep(context):
        yield context.create_timer(timedelta(days=365 * 500))
        return context.current_utc_datetime.year

    instance = world.start(world.app.orchestrator(sleep))
    assert instance.history[-1] == TimerCreated(0, instance.state.wake_at or 0)
    world.run()
    assert instance.output == 2529


def test_timers_due_in_one_turn_fire_in_the_order_of_their_times(world: World):
    def sleepers(context):
        late, early = context.create_timer(2 * SECOND), context.create_timer(SECOND)
        first = yield context.task_any([late, early])
        return [first is early, (yield late), (yield early)]

    instance = world.start(world.app.orchestrator(sleepers))
    world.now_us += 10_000_000
    world.turn("i")
    assert instance.output == [True, None, None]
    assert [event for event in instance.history if isinstance(event, TimerFired)] == [TimerFired(1), TimerFired(0)]


def test_a_cancelled_timer_does_not_fire_and_wakes_nobody(world: World):
    register(world)

    def race(context):
        timer = context.create_timer(5 * SECOND)
        work = context.call_activity("double", 1)
        winner = yield context.task_any([timer, work])
        timer.cancel()
        timer.cancel()  # twice is once
        yield context.create_timer(10 * SECOND)
        return [winner is work, timer.is_cancelled, timer.is_completed]

    instance = world.start(world.app.orchestrator(race))
    world.settle()
    assert [event for event in instance.history if isinstance(event, TimerCanceled)] == [TimerCanceled(0)]
    assert world.next_wake() == (world.now_us + 10_000_000, "i")
    world.run()
    assert instance.output == [True, True, False]
    assert world.retrace() == 2


def test_a_timer_that_has_fired_cannot_be_cancelled(world: World):
    def late(context):
        timer = context.create_timer(SECOND)
        yield timer
        timer.cancel()

    instance = world.start(world.app.orchestrator(late))
    world.run()
    assert (instance.failure.type, instance.failure.message) == ("ValueError", "cannot cancel a timer that has already fired")


def test_a_timer_can_be_cancelled_by_code_that_another_timer_of_the_same_turn_woke(world: World):
    def two(context):
        first, second = context.create_timer(SECOND), context.create_timer(2 * SECOND)
        yield first
        second.cancel()
        yield context.wait_for_external_event("go")
        return second.is_completed

    instance = world.start(world.app.orchestrator(two))
    world.now_us += 10_000_000
    world.turn("i")
    assert TimerFired(1) not in instance.history
    world.raise_event("go")
    assert instance.output is False


def test_an_open_timer_does_not_keep_an_orchestration_from_completing(world: World):
    def leave(context):
        context.create_timer(SECOND)
        return "done"
        yield

    instance = world.start(world.app.orchestrator(leave))
    assert instance.output == "done"
    assert world.next_wake() is None


def test_a_second_outcome_of_the_same_activity_is_dropped(world: World):
    register(world)

    def once(context):
        first = yield context.call_activity("double", 1)
        yield context.wait_for_external_event("go")
        return first

    instance = world.start(world.app.orchestrator(once))
    (job,) = world.pending
    outcome = world.answer(job)
    assert isinstance(job, DispatchActivity)
    other = replaced(outcome, event=replaced(outcome.event, result='"other"'))
    assert world.turn("i", outcome, other).dispositions == [Disposition.ACCEPTED, Disposition.DROPPED]
    before = list(instance.stored)
    assert world.turn("i", other).events is None
    assert instance.stored == before
    world.raise_event("go")
    assert instance.output == 2


def test_results_come_back_as_the_annotations_say(world: World):
    world.app.activity("when", lambda value, job: EPOCH, output_type=type(EPOCH))
    world.app.activity("plain", lambda value, job: EPOCH)

    def typed(context):
        declared = yield context.call_activity("when")
        expected = yield context.call_activity("plain", expected_type=type(EPOCH))
        plain = yield context.call_activity("plain")
        return [declared == EPOCH, expected == EPOCH, plain]

    instance = world.start(world.app.orchestrator(typed))
    world.settle()
    assert instance.output == [True, True, "2030-01-01T00:00:00Z"]


def test_a_result_that_does_not_fit_its_annotation_fails_the_await(world: World):
    world.app.activity("word", lambda value, job: "seven")

    def typed(context):
        try:
            yield context.call_activity("word", expected_type=int)
        except DeserializationError as error:
            return [type(error).__name__, str(error)]

    instance = world.start(world.app.orchestrator(typed))
    world.settle()
    name, message = instance.output
    assert name == "DeserializationError"
    assert "result of activity 'word'" in message


def test_turns_without_effects_have_seals_of_their_own(world: World):
    """Two hubs of one process commit at the same time; neither may open, or spoil, what is the other's."""

    def wait(context):
        yield context.wait_for_external_event("go")

    world.app.orchestrator(wait)
    turns, commits = [], [object(), object()]
    for number, commit in enumerate(commits):
        world.start(wait, instance_id=f"i{number}")
        turns.append(world.instances[f"i{number}"].orchestration.turn([], world.now_us))
        turns[-1].effects.bind(commit)
    assert [list(turn.effects.open(CommitReceipt(commit))) for turn, commit in zip(turns, commits, strict=True)] == [[], []]
    with pytest.raises(EngineInvariantError, match="with the receipt of another commit"):
        turns[0].effects.open(CommitReceipt(commits[1]))
