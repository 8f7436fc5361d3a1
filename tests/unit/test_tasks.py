"""Tasks as bookkeeping: settling, watching, joining, retrying. No history, no code."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from perdure.core.converter import JsonConverter
from perdure.core.events import EventRaised, TimerCanceled, TimerCreated
from perdure.core.recorder import Dehydrated, Recorder
from perdure.core.tasks import EventTask, RetryTask, Task, TaskNotCompletedError, TimerTask, WhenAll, WhenAny


def settled(value: object = None, error: Exception | None = None) -> Task[Any]:
    task: Task[Any] = Task()
    task.settle(value, error)
    return task


def recorder() -> Recorder:
    return Recorder("i", JsonConverter(), lambda action: None)


def test_a_task_is_open_then_settled_for_ever():
    task: Task[int] = Task()
    assert (task.is_completed, task.is_faulted, task.error) == (False, False, None)
    with pytest.raises(TaskNotCompletedError, match="await or yield it first"):
        _ = task.result
    task.settle(1)
    task.settle(2)
    task.settle(None, ValueError())
    assert (task.is_completed, task.is_faulted, task.error, task.result) == (True, False, None, 1)


def test_a_faulted_task_raises_its_error_every_time():
    error = ValueError("no")
    task = settled(None, error)
    assert (task.is_completed, task.is_faulted, task.error) == (True, True, error)
    for _ in range(2):
        with pytest.raises(ValueError, match="no") as caught:
            _ = task.result
        assert caught.value is error


def test_awaiting_yields_the_task_once_if_open_and_not_at_all_if_settled():
    task: Task[int] = Task()
    steps = task.__await__()
    assert next(steps) is task
    task.settle(1)
    with pytest.raises(StopIteration) as stop:
        steps.send(None)
    assert stop.value.value == 1
    with pytest.raises(StopIteration) as stop:
        next(task.__await__())
    assert stop.value.value == 1


def test_settling_is_linear_in_the_width_of_a_fan_in():
    tasks: list[Task[Any]] = [Task() for _ in range(20_000)]
    everything = WhenAll(tasks)
    for number, task in enumerate(tasks):
        assert not everything.is_completed
        task.settle(number)
    assert everything.result == list(range(20_000))


def test_when_all_of_settled_tasks_is_settled():
    assert WhenAll([settled(1), settled(2)]).result == [1, 2]
    assert WhenAll([]).result == []
    error = ValueError()
    assert WhenAll([settled(1), settled(None, error), Task()]).error is error


def test_when_all_counts_a_task_that_is_in_it_twice():
    task: Task[Any] = Task()
    both = WhenAll([task, task])
    task.settle(1)
    assert both.result == [1, 1]


def test_when_all_takes_no_notice_after_its_first_failure():
    tasks: list[Task[Any]] = [Task() for _ in range(3)]
    everything = WhenAll(tasks)
    first, second = ValueError("first"), ValueError("second")
    tasks[1].settle(None, first)
    tasks[0].settle(None, second)
    tasks[2].settle(1)
    assert everything.error is first


def test_when_any_is_the_first_task_whatever_became_of_it():
    good, bad = Task[Any](), Task[Any]()
    race = WhenAny([good, bad])
    bad.settle(None, ValueError())
    good.settle(1)
    assert race.result is bad
    assert not race.is_faulted
    assert WhenAny([settled(1), settled(2)]).result.result == 1


def test_when_any_of_nothing_is_refused():
    with pytest.raises(ValueError, match="task_any needs at least one task"):
        WhenAny([])


def test_what_leads_to_what():
    leaf, other = Task[Any](), Task[Any]()
    inner = WhenAny([leaf])
    outer = WhenAll([inner, other])
    assert leaf.leads_to(leaf)
    assert leaf.leads_to(inner)
    assert leaf.leads_to(outer)
    assert other.leads_to(outer)
    assert not outer.leads_to(leaf)
    assert not other.leads_to(inner)
    assert not leaf.leads_to(None)
    other.settle(None, ValueError())
    assert outer.is_completed
    assert not leaf.leads_to(Task())


# --- timers and events ------------------------------------------------------------------------------------------------


def test_cancelling_a_timer_writes_it_down_once():
    notes = recorder()
    timer = notes.create_timer(5)
    timer.cancel()
    timer.cancel()
    assert notes.actions == [TimerCreated(0, 5), TimerCanceled(0)]
    assert (timer.is_cancelled, timer.is_completed, notes.tasks) == (True, False, {})


def test_a_fired_timer_cannot_be_cancelled():
    notes = recorder()
    timer = notes.create_timer(5)
    timer.settle(None)
    with pytest.raises(ValueError, match="cannot cancel a timer that has already fired"):
        timer.cancel()
    assert notes.actions == [TimerCreated(0, 5)]


def limited(notes: Recorder) -> tuple[EventTask[Any], TimerTask]:
    wait = notes.wait_for_event("go", None)
    timer = notes.create_timer(5)
    wait.limit(timer)
    return wait, timer


def test_an_event_in_time_cancels_the_timer_behind_its_wait():
    notes = recorder()
    wait, timer = limited(notes)
    notes.event_arrived(EventRaised("GO", "1"), None)
    assert (wait.result, timer.is_cancelled) == (1, True)


def test_a_time_out_settles_the_wait_and_leaves_later_events_alone():
    notes = recorder()
    wait, timer = limited(notes)
    timer.settle(None)
    assert isinstance(wait.error, TimeoutError)
    notes.event_arrived(EventRaised("go", "1"), None)
    assert notes.unprocessed_events() == [EventRaised("go", "1")]
    assert notes.actions == [TimerCreated(0, 5)]


def test_a_cancelled_wait_drops_its_timer_and_takes_nothing():
    notes = recorder()
    wait, timer = limited(notes)
    wait.cancel()
    wait.cancel()
    notes.event_arrived(EventRaised("go"), None)
    assert (wait.is_cancelled, wait.is_completed, timer.is_cancelled) == (True, False, True)
    assert notes.unprocessed_events() == [EventRaised("go")]


def test_a_closed_recorder_lets_nothing_be_asked_for():
    notes = recorder()
    (limited_wait, _), timer = limited(notes), notes.create_timer(6)
    notes.closed = True
    before = list(notes.actions)
    actions: list[Callable[[], object]] = [
        lambda: notes.schedule_activity("a", None, None),
        lambda: notes.schedule_sub_orchestration(9, "a", "i", None, None, None),
        lambda: notes.create_timer(1),
        lambda: notes.wait_for_event("x", None),
        limited_wait.cancel,
        timer.cancel,
    ]
    for action in actions:
        with pytest.raises(Dehydrated):
            action()
    assert notes.actions == before


# --- retries ----------------------------------------------------------------------------------------------------------


class Attempts:
    """Makes attempts, and keeps them."""

    def __init__(self, delays: list[int | Exception | None]) -> None:
        self.tasks: list[Task[Any]] = []
        self.timers: list[TimerTask] = []
        self.asked: list[tuple[int, BaseException]] = []
        self.delays = delays
        self.task: RetryTask[Any] = RetryTask(self.attempt, self.delay, self.wait)

    def attempt(self, number: int) -> Task[Any]:
        assert number == len(self.tasks) + 1
        self.tasks.append(Task())
        return self.tasks[-1]

    def delay(self, number: int, error: BaseException) -> int | None:
        self.asked.append((number, error))
        delay = self.delays[number - 1]
        if isinstance(delay, Exception):
            raise delay
        return delay

    def wait(self, delay_us: int) -> Task[None]:
        self.timers.append(recorder().create_timer(delay_us))
        return self.timers[-1]


def test_a_call_that_succeeds_is_not_retried():
    attempts = Attempts([])
    attempts.tasks[0].settle(7)
    assert (attempts.task.result, attempts.asked) == (7, [])


def test_a_call_is_made_again_after_its_wait():
    attempts = Attempts([5, 6])
    errors = [ValueError("1"), ValueError("2")]
    for error in errors:
        attempts.tasks[-1].settle(None, error)
        assert len(attempts.tasks) == len(attempts.timers)
        attempts.timers[-1].settle(None)
        assert not attempts.task.is_completed
    attempts.tasks[-1].settle(7)
    assert attempts.task.result == 7
    assert attempts.asked == [(1, errors[0]), (2, errors[1])]


def test_the_final_failure_is_the_last_one():
    attempts = Attempts([5, None])
    attempts.tasks[-1].settle(None, ValueError("1"))
    attempts.timers[-1].settle(None)
    last = ValueError("2")
    attempts.tasks[-1].settle(None, last)
    assert attempts.task.error is last
    assert len(attempts.timers) == 1


def test_an_error_of_the_policy_itself_ends_the_call():
    error = LookupError("in the predicate")
    attempts = Attempts([error])
    attempts.tasks[-1].settle(None, ValueError())
    assert attempts.task.error is error


def test_errors_of_tasks_can_be_pickled():
    again = pickle.loads(pickle.dumps(TaskNotCompletedError("early")))
    assert (type(again), again.message) == (TaskNotCompletedError, "early")
