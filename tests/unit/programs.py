"""Random orchestrators: small programs as values, their strategy, and the generator function that runs one.

What a program sees (results, errors, who won a race, unique ids) goes into its output, so that two runs that saw
different things can't end alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from perdure.core.effects import DispatchActivity
from perdure.core.retry import RetryOptions
from perdure.core.tasks import EventTask, Task, TimerTask
from tests.unit.driver import App

NAMES = ("go", "GO", "stop")


@dataclass(frozen=True)
class Act:
    fails: bool


@dataclass(frozen=True)
class Retry:
    failures: int
    attempts: int


@dataclass(frozen=True)
class Timer:
    seconds: int


@dataclass(frozen=True)
class Event:
    name: str
    timeout: int | None


@dataclass(frozen=True)
class Child:
    number: int
    retried: bool


@dataclass(frozen=True)
class Join:
    any: bool
    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Start:
    """Starts a task under a name."""

    slot: int
    task: Any


@dataclass(frozen=True)
class Await:
    """Awaits tasks that were started earlier: one, all of them, or any of them."""

    slots: tuple[int, ...]
    any: bool


@dataclass(frozen=True)
class Run:
    """Starts and awaits a task."""

    task: Any


@dataclass(frozen=True)
class Cancel:
    slot: int


@dataclass(frozen=True)
class Status:
    value: int


@dataclass(frozen=True)
class Unique:
    guid: bool


@dataclass(frozen=True)
class Continue:
    """Continues as new, in the first ``rounds`` generations."""

    rounds: int
    save_events: bool


@dataclass(frozen=True)
class Raise:
    """Fails, but for its first generations."""

    after: int


Program = list[Any]


def tasks(children: Sequence[int]) -> st.SearchStrategy[Any]:
    """Anything that can be awaited."""
    leaves: list[st.SearchStrategy[Any]] = [
        st.builds(Act, st.booleans()),
        st.builds(Retry, st.integers(0, 3), st.integers(1, 3)),
        st.builds(Timer, st.integers(1, 5)),
        st.builds(Event, st.sampled_from(NAMES), st.none() | st.integers(1, 5)),
    ]
    if children:
        leaves += [st.builds(Child, st.sampled_from(children), st.booleans())] * 2
    joins = st.recursive(
        st.one_of(leaves),
        lambda parts: st.builds(Join, st.booleans(), st.lists(parts, min_size=1, max_size=3).map(tuple)),
        max_leaves=5,
    )
    return st.one_of(*leaves, joins)


def statements(children: Sequence[int]) -> st.SearchStrategy[Any]:
    """Anything that a program does."""
    slots = st.integers(0, 2)
    return st.one_of(
        st.builds(Run, tasks(children)),
        st.builds(Run, tasks(children)),
        st.builds(Start, slots, tasks(children)),
        st.builds(Await, st.lists(slots, min_size=1, max_size=3).map(tuple), st.booleans()),
        st.builds(Start, slots, tasks(children)),
        st.builds(Cancel, slots),
        st.builds(Status, st.integers(0, 9)),
        st.builds(Unique, st.booleans()),
        st.builds(Continue, st.integers(1, 2), st.booleans()),
        st.builds(Raise, st.integers(0, 1)),
    )


def programs() -> st.SearchStrategy[list[Program]]:
    """Three programs; one may call those behind it."""
    return st.tuples(
        st.lists(statements([1, 2]), min_size=1, max_size=7),
        st.lists(statements([2]), max_size=4),
        st.lists(statements([]), max_size=3),
    ).map(list)


def registered(app: App, made: Sequence[Program]) -> None:
    """Puts programs into an app, as ``program0``..., with the activities that they call."""
    for number, program in enumerate(made):
        app.orchestrator(interpreter(program), f"program{number}")

    def act(fails: bool, job: DispatchActivity) -> str:
        if fails:
            raise ValueError(f"activity {job.task_id}")
        return f"result {job.task_id}"

    def flaky(failures: int, job: DispatchActivity) -> str:
        if job.attempt <= failures:
            raise ValueError(f"attempt {job.attempt}")
        return f"attempt {job.attempt}"

    app.activity("act", act)
    app.activity("flaky", flaky)


def interpreter(program: Program) -> Callable[[Any], Any]:
    """The orchestrator that does what the program says."""

    def orchestrator(context: Any) -> Any:
        run = _Run(context)
        for statement in program:
            match statement:
                case Run(task):
                    yield from run.await_(run.made(task))
                case Start(slot, task):
                    run.slots[slot] = run.made(task)
                case Await(slots, any_):
                    started = [run.slots[slot] for slot in slots if slot in run.slots]
                    if len(started) == 1:
                        yield from run.await_(started[0])
                    elif started:
                        yield from run.await_(run.joined(started, any_=any_))
                case Cancel(slot):
                    run.cancel(slot)
                case Status(value):
                    context.set_custom_status([value, context.custom_status is None])
                case Unique(guid):
                    run.log.append(str(context.new_guid() if guid else context.new_uuid()))
                case Continue(rounds, save_events):
                    if run.round < rounds:
                        context.continue_as_new(run.round + 1, save_events=save_events)
                        return None
                case Raise(after):
                    if run.round >= after:
                        raise LookupError(str(run.log))
        return run.log

    return orchestrator


class _Run:
    """One activation of a program."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.round: int = context.get_input() or 0
        self.log: list[Any] = []
        self.slots: dict[int, Task[Any]] = {}
        self.tasks: list[Task[Any]] = []

    def made(self, description: Any) -> Task[Any]:
        context = self.context
        match description:
            case Act(fails):
                task = context.call_activity("act", fails)
            case Retry(failures, attempts):
                task = context.call_activity_with_retry("flaky", RetryOptions(1000, attempts, 2), failures)
            case Timer(seconds):
                task = context.create_timer(timedelta(seconds=seconds))
            case Event(name, timeout):
                limit = None if timeout is None else timedelta(seconds=timeout)
                task = context.wait_for_external_event(name, timeout=limit)
            case Child(number, retried):
                name = f"program{number}"
                task = (
                    context.call_sub_orchestrator_with_retry(name, RetryOptions(1000, 2))
                    if retried
                    else context.call_sub_orchestrator(name)
                )
            case Join(any_, parts):
                return self.joined([self.made(part) for part in parts], any_=any_)
            case _:
                raise AssertionError(description)
        self.tasks.append(task)
        return task

    def joined(self, parts: list[Task[Any]], *, any_: bool) -> Task[Any]:
        task = self.context.task_any(parts) if any_ else self.context.task_all(parts)
        self.tasks.append(task)
        return task

    def await_(self, task: Task[Any]) -> Any:
        try:
            self.log.append(self.shown((yield task)))
        except Exception as error:  # noqa: BLE001 - the log is what the program saw
            self.log.append(f"{type(error).__name__}: {error}")

    def cancel(self, slot: int) -> None:
        task = self.slots.get(slot)
        if isinstance(task, TimerTask | EventTask):
            try:
                task.cancel()
            except ValueError as error:
                self.log.append(str(error))

    def shown(self, value: Any) -> Any:
        """Results as JSON; a task as its number."""
        if isinstance(value, Task):
            return f"task {next(number for number, task in enumerate(self.tasks) if task is value)}"
        return [self.shown(part) for part in value] if isinstance(value, list) else value
