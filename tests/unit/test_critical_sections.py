"""Critical sections: what they exclude, what they forbid, and how they end. Messages come in any order that senders allow."""

from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import perdure as df
from perdure.core.events import EventRaised, ExecutionResumed, ExecutionSuspended, ExecutionTerminated
from perdure.core.messages import Message
from perdure.core.state import InstanceState
from tests.unit.entity_world import App, EntityWorld

A, B, C = (df.EntityId("log", key) for key in "abc")


def log(context: df.DurableEntityContext) -> Any:
    state = context.get_state(list)
    if context.operation_name == "fail":
        raise ValueError("refused")
    if context.operation_name == "read":
        return state
    context.set_state([*state, context.get_input()])
    return len(state)


def world(*orchestrators: Callable[..., Any], evict: bool = False) -> EntityWorld:
    app = App()
    app.entity(log)
    for orchestrator in orchestrators:
        app.orchestrator(orchestrator)
    return EntityWorld(app, evict=evict)


@pytest.fixture(params=[False, True], ids=["hot", "evicted"])
def evict(request: pytest.FixtureRequest) -> bool:
    return request.param


def nobody_holds(here: EntityWorld) -> None:
    for entity in (A, B, C):
        saved = here.saved(str(entity))
        assert saved.lock is None, f"{entity} is still locked by {saved.lock}"
        assert not saved.waiting


# --- the forms ----------------------------------------------------------------------------------------------------------


def generator_form(context: df.DurableOrchestrationContext) -> Any:
    with (yield context.lock_entities(B, A)):
        yield context.call_entity(A, "add", 1)
        yield context.call_entity(B, "add", 1)
    return "done"


async def coroutine_form(context: df.DurableOrchestrationContext) -> Any:
    async with context.lock_entities(B, A):
        await context.call_entity(A, "add", 1)
        await context.call_entity(B, "add", 1)
    return "done"


async def awaited_form(context: df.DurableOrchestrationContext) -> Any:
    async with await context.lock_entities([B, A]):
        await context.call_entity(A, "add", 1)
        await context.call_entity(B, "add", 1)
    return "done"


async def plain_form(context: df.DurableOrchestrationContext) -> Any:
    with await context.lock_entities(B, "@log@a", A):
        await context.call_entity(A, "add", 1)
        await context.call_entity(B, "add", 1)
    return "done"


async def by_hand(context: df.DurableOrchestrationContext) -> Any:
    section = await context.lock_entities(A, B)
    await context.call_entity(A, "add", 1)
    await context.call_entity(B, "add", 1)
    section.release()
    section.release()
    return "done"


@pytest.mark.parametrize("form", [generator_form, coroutine_form, awaited_form, plain_form, by_hand])
def test_every_form_locks_works_and_releases(form: Callable[..., Any], evict: bool) -> None:
    here = world(form, evict=evict)
    here.start(form.__name__)
    here.settle()
    assert here.output() == "done"
    assert here.state(str(A)) == here.state(str(B)) == [1]
    nobody_holds(here)


def test_a_with_block_around_a_lock_that_was_not_waited_for_is_an_error() -> None:
    def forgets(context: df.DurableOrchestrationContext) -> Any:
        with context.lock_entities(A):  # type: ignore[attr-defined]
            yield context.call_entity(A, "add", 1)

    here = world(forgets)
    here.start("forgets")
    here.settle()
    assert "with (yield context.lock_entities" in failure(here).message
    nobody_holds(here)


# --- exclusion ----------------------------------------------------------------------------------------------------------


def worker(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
    """Runs a program of signals, calls and critical sections; every operation carries who, which and in which section."""
    me = context.instance_id
    sent = 0

    def stamp(section: int | None) -> list[Any]:
        nonlocal sent
        sent += 1
        return [me, sent, section]

    for number, (kind, keys) in enumerate(context.get_input()):
        entities = [df.EntityId("log", key) for key in keys]
        if kind == "signal":
            context.signal_entity(entities[0], "add", stamp(None))
        elif kind == "call":
            yield context.call_entity(entities[0], "add", stamp(None))
        elif kind == "both":
            yield context.task_all([context.call_entity(entity, "add", stamp(None)) for entity in entities])
        elif kind == "refused":
            try:
                with (yield context.lock_entities(*entities)):
                    yield context.call_entity(entities[0], "fail")
            except df.TaskFailedError:
                pass
        else:
            with (yield context.lock_entities(*entities)):
                for _ in range(2):
                    yield context.task_all([context.call_entity(entity, "add", stamp(number)) for entity in entities])
    return sent


_KEYS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True)
_STEP = st.tuples(st.sampled_from(["signal", "call", "both", "section", "section", "refused"]), _KEYS)
_PROGRAMS = st.lists(st.lists(_STEP, min_size=1, max_size=4), min_size=2, max_size=5)


@settings(max_examples=150)
@given(programs=_PROGRAMS, luck=st.randoms(use_true_random=False), evict=st.booleans(), killed=st.booleans())
def test_sections_exclude_each_other_and_all_else_stays_in_order(programs: Any, luck: Any, evict: bool, killed: bool) -> None:
    here = world(worker, evict=evict)
    names = [f"w{number}" for number in range(len(programs))]
    for name, program in zip(names, programs, strict=True):
        here.start("worker", program, name)
    if killed:
        for _ in range(luck.randint(0, 30)):
            if here.channels:
                here.deliver(luck.choice(sorted(here.channels)))
        if here.status("w0") == "Running":
            here.turn("w0", Message("w0", ExecutionTerminated("enough")))
    here.settle(luck.choice)
    survivors = [name for name in names if here.status(name) != "Terminated"]
    assert {here.status(name) for name in survivors} <= {"Completed"}, "somebody waits for ever"
    nobody_holds(here)
    logs = {key: here.state(f"@log@{key}") or [] for key in "abc"}
    for entries in logs.values():
        for name in names:
            numbers = [number for who, number, _ in entries if who == name]
            assert numbers == sorted(set(numbers)), "operations of one sender were swapped or repeated"
        sections = [(who, section) for who, _, section in entries]
        for holder in {one for one in sections if one[1] is not None}:
            first, last = sections.index(holder), len(sections) - 1 - sections[::-1].index(holder)
            assert set(sections[first : last + 1]) == {holder}, f"somebody else was there during {holder}"
    for name in survivors:
        seen = sorted(number for entries in logs.values() for who, number, _ in entries if who == name)
        assert seen == list(range(1, here.output(name) + 1)), "an operation was lost"


def test_what_the_holder_sent_before_it_asked_is_applied_before_what_it_calls(evict: bool) -> None:
    """Also where the lock request, which comes by way of another entity, is faster."""

    def signals_first(context: df.DurableOrchestrationContext) -> Any:
        context.signal_entity(B, "add", "before")
        with (yield context.lock_entities(A, B)):
            return (yield context.call_entity(B, "read"))

    here = world(signals_first, evict=evict)
    here.start("signals_first")
    slow = ("i", str(B))
    while any(channel != slow for channel in here.channels):
        here.deliver(next(channel for channel in sorted(here.channels) if channel != slow))
    here.settle()
    assert here.output() == ["before"]


# --- how it ends --------------------------------------------------------------------------------------------------------


def holds_and_waits(context: df.DurableOrchestrationContext) -> Any:
    with (yield context.lock_entities(A, B)):
        go = yield context.wait_for_external_event("go")
        if go == "fail":
            raise ValueError("on purpose")
        if go == "again":
            context.continue_as_new(None)
            return
        if go == "again while waiting":
            context.continue_as_new(None)
            yield context.wait_for_external_event("never")


@pytest.mark.parametrize("end", ["return", "fail", "terminate", "again", "again while waiting"])
def test_every_end_releases(end: str, evict: bool) -> None:
    here = world(holds_and_waits, evict=evict)
    here.start("holds_and_waits")
    here.settle()
    lock = here.saved(str(A)).lock
    assert lock is not None
    assert lock.owner == "i"
    event = ExecutionTerminated("x") if end == "terminate" else EventRaised("go", f'"{end}"')
    here.turn("i", Message("i", event))
    here.settle()
    if end.startswith("again"):
        after = here.saved(str(A)).lock
        assert after is not None
        assert after.critical_section_id != lock.critical_section_id, "the first generation's lock was never released"
        here.turn("i", Message("i", ExecutionTerminated("x")))
        here.settle()
    nobody_holds(here)


def test_an_end_within_a_section_does_not_overtake_what_was_called_in_it(evict: bool) -> None:
    def calls_both(context: df.DurableOrchestrationContext) -> Any:
        with (yield context.lock_entities(A, B)):
            yield context.task_all([context.call_entity(entity, "add", "in it") for entity in (A, B)])

    here = world(calls_both, evict=evict)
    here.start("calls_both")
    while ("i", str(B)) not in here.channels:
        here.deliver(min(here.channels))
    here.turn("i", Message("i", ExecutionTerminated("enough")))
    here.signal(str(B), "add", "by others")
    here.settle(lambda channels: min(channels, key=lambda channel: channel == ("i", str(B))))  # everything else is faster
    assert here.state(str(B)) == ["in it", "by others"]
    nobody_holds(here)


@pytest.mark.parametrize("steps", range(8))
def test_terminating_at_any_moment_of_locking_leaves_nothing_locked(steps: int, evict: bool) -> None:
    here = world(holds_and_waits, evict=evict)
    here.start("holds_and_waits")
    for _ in range(steps):
        if here.channels:
            here.deliver(min(here.channels))
    here.turn("i", Message("i", ExecutionTerminated("x")))
    here.settle(max)
    nobody_holds(here)


def test_a_lock_that_is_cancelled_is_released_though_it_was_granted_meanwhile(evict: bool) -> None:
    def impatient(context: df.DurableOrchestrationContext) -> Any:
        lock = context.lock_entities(A, B)
        timer = context.create_timer(timedelta(seconds=1))
        if (yield context.task_any([lock, timer])) == timer:
            lock.cancel()
            yield context.call_entity(C, "add", "late")  # no critical section forbids it now
        return "gave up"

    here = world(impatient, evict=evict)
    here.start("impatient")
    here.deliver(("i", str(A)))
    here.now_us += 1_000_000
    here.turn("i")
    here.settle()
    assert here.output() == "gave up"
    assert here.state(str(C)) == ["late"]
    nobody_holds(here)


def test_suspension_keeps_the_lock_and_resuming_goes_on(evict: bool) -> None:
    here = world(generator_form, evict=evict)
    here.start("generator_form")
    here.turn("i", Message("i", ExecutionSuspended()))
    here.settle()
    assert here.saved(str(A)).lock is not None
    here.turn("i", Message("i", ExecutionResumed()))
    here.settle()
    assert here.output() == "done"
    nobody_holds(here)


# --- what it forbids ----------------------------------------------------------------------------------------------------


def failure(here: EntityWorld) -> df.FailureDetails:
    state = here.live["i"].durable
    assert isinstance(state, InstanceState)
    assert state.completed is not None, "the instance hasn't ended"
    assert state.completed.failure is not None, state.completed.result
    return state.completed.failure


def sub_orchestration(context: df.DurableOrchestrationContext) -> Any:
    with (yield context.lock_entities(A)):
        yield context.call_sub_orchestrator("generator_form")


def nested(context: df.DurableOrchestrationContext) -> Any:
    with (yield context.lock_entities(A)), (yield context.lock_entities(B)):
        pass


def other_entity(context: df.DurableOrchestrationContext) -> Any:
    with (yield context.lock_entities(A)):
        yield context.call_entity(B, "add", 1)


def signal_locked(context: df.DurableOrchestrationContext) -> Any:
    with (yield context.lock_entities(A)):
        context.signal_entity(A, "add", 1)


def call_before_granted(context: df.DurableOrchestrationContext) -> Any:
    context.lock_entities(A)
    yield context.call_entity(A, "add", 1)


def two_calls_at_once(context: df.DurableOrchestrationContext) -> Any:
    with (yield context.lock_entities(A)):
        yield context.task_all([context.call_entity(A, "add", 1), context.call_entity(A, "add", 2)])


def no_entity(context: df.DurableOrchestrationContext) -> Any:
    yield context.lock_entities()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (sub_orchestration, "no sub-orchestration can be called while @log@a are locked"),
        (nested, "critical sections can't be nested"),
        (other_entity, "'@log@b' can't be called from within this critical section"),
        (signal_locked, "'@log@a' can't be signaled from within a critical section"),
        (call_before_granted, "'@log@a' can't be called before the lock is granted"),
        (two_calls_at_once, "earlier call of it from this critical section is still open"),
        (no_entity, "without any entity"),
    ],
)
def test_what_a_critical_section_forbids_fails_at_the_call(code: Callable[..., Any], says: str, evict: bool) -> None:
    here = world(code, evict=evict)
    here.start(code.__name__)
    here.settle()
    details = failure(here)
    assert details.type == "perdure.CriticalSectionError"
    assert says in details.message
    assert f"in {code.__name__}" in (details.traceback or ""), "the error doesn't show the user's line"
    nobody_holds(here)


def test_what_it_allows(evict: bool) -> None:
    def fine(context: df.DurableOrchestrationContext) -> Any:
        with (yield context.lock_entities(A, B)):
            context.signal_entity(C, "add", 1)
            yield context.task_all([context.call_entity(A, "add", 1), context.call_entity(B, "add", 1)])
            yield context.call_entity(A, "add", 2)
            yield context.create_timer(timedelta(0))
        with (yield context.lock_entities(C)):
            yield context.call_entity(C, "add", 3)
        context.signal_entity(A, "add", 4)
        return (yield context.call_entity(A, "read"))

    here = world(fine, evict=evict)
    here.start("fine")
    here.settle()
    assert here.output() == [1, 2, 4]
    assert here.state(str(C)) == [1, 3]
