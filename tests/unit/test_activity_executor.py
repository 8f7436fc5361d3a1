"""What holds for all pools, shown on those that need no process; and what is special about async activities."""

import asyncio
import threading
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta

import pytest

from perdure.core.functions import Pool
from perdure.engine.activities import activity_context
from tests.unit.activity_harness import Harness, activity, failure_of, work

PYTHON_POOLS: list[Pool] = ["loop", "thread"]


def in_pool(pool: Pool, call):
    """The same function, for either pool."""
    if pool == "thread":
        return call

    async def wrapper(*args: object) -> object:
        return call(*args)

    return wrapper


@dataclass
class Order:
    item: str
    count: int


@pytest.mark.parametrize("pool", PYTHON_POOLS)
async def test_values_are_converted_both_ways(pool: Pool) -> None:
    double = in_pool(pool, lambda order: Order(order.item, order.count * 2))
    nothing = in_pool(pool, lambda: None)
    async with Harness(
        activity(double, pool, name="double", input_type=Order), activity(nothing, pool, name="nothing", takes_input=False)
    ) as h:
        outcome = await h.outcome(work("Double", '{"item":"tea","count":2}'))
        assert (outcome.result, outcome.failure) == ('{"item":"tea","count":4}', None)
        assert outcome.work.name == "Double"
        outcome = await h.outcome(work("nothing", "5"))
        assert (outcome.result, outcome.failure) == (None, None)


@pytest.mark.parametrize("pool", PYTHON_POOLS)
async def test_the_context_is_there_at_any_depth_and_only_for_its_activity(pool: Pool) -> None:
    leak: ContextVar[str] = ContextVar("leak", default="clean")

    def deeper() -> list[object]:
        seen = leak.get()
        leak.set("dirty")
        context = activity_context()
        return [seen, context.name, context.instance_id, context.task_id, context.attempt, context.idempotency_key]

    call = in_pool(pool, lambda _: deeper())
    async with Harness(activity(call, pool, name="Charge"), max_threads=1) as h:
        first = await h.outcome(work("charge", task=3))
        second = await h.outcome(work("charge", task=4))
    assert first.result == '["clean","Charge","i",3,1,"i/0/3"]'
    assert second.result == '["clean","Charge","i",4,1,"i/0/4"]'


@pytest.mark.parametrize("pool", PYTHON_POOLS)
@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
async def test_whatever_an_activity_raises_is_its_own_failure(pool: Pool, error: type[BaseException]) -> None:
    def explode(_: object) -> None:
        raise error("boom")  # the line to show

    async with Harness(activity(in_pool(pool, explode), pool, name="explode")) as h:
        failure = failure_of(await h.outcome(work("explode")))
    assert failure.type.endswith(error.__name__)
    assert failure.message == "boom"
    assert not failure.non_retriable
    assert "the line to show" in (failure.traceback or "")


@pytest.mark.parametrize("pool", PYTHON_POOLS)
async def test_what_cannot_cross_the_json_border_is_not_worth_a_retry(pool: Pool) -> None:
    async with Harness(
        activity(in_pool(pool, lambda order: order.count), pool, name="typed", input_type=Order),
        activity(in_pool(pool, lambda _: object()), pool, name="opaque"),
        activity(in_pool(pool, lambda _: "x" * 2000), pool, name="long"),
        max_payload_bytes=1000,
    ) as h:
        for name, text in [("typed", '{"item":1}'), ("opaque", None), ("long", None)]:
            failure = failure_of(await h.outcome(work(name, text)))
            assert failure.non_retriable
            assert name in failure.message


async def test_an_unregistered_activity_fails_with_a_hint() -> None:
    async with Harness(activity(len, "thread", name="ChargeCard")) as h:
        h.dispatch(work("ChargeCrad"))
        h.dispatch(work("ChargeCrad"))
        assert not h.outcomes  # never from within dispatch
        await h.until(1)
        await h.outcome(work("ChargeCard", "[]", task=1))
    first, second = h.outcomes
    failure = failure_of(first)
    assert failure.type == "perdure.ActivityNotRegisteredError"
    assert failure.non_retriable
    assert "Did you mean 'ChargeCard'?" in failure.message
    assert second.result == "0"


async def test_outcomes_come_in_batches() -> None:
    async def quick(_: object) -> None: ...

    async with Harness(activity(quick, "loop"), activity(len, "thread", name="len")) as h:
        for task in range(50):
            h.dispatch(work("quick", task=task))
        await h.until(50)
        assert len(h.batches) == 1


async def test_a_dispatched_activity_runs_once_until_it_is_reported() -> None:
    gate = asyncio.Event()
    runs: list[int] = []

    async def gated(_: object) -> None:
        runs.append(activity_context().task_id)
        await gate.wait()

    async with Harness(activity(gated, "loop"), max_concurrent=1) as h:
        for _ in range(3):
            h.dispatch(work("gated", task=1))
            h.dispatch(work("gated", task=2))
        h.dispatch(work("gated", task=1, generation=1))
        assert (h.executor.running, h.executor.backlog) == (1, 2)
        gate.set()
        await h.until(3)
        assert runs == [1, 2, 1]
        await h.outcome(work("gated", task=1))
        assert runs == [1, 2, 1, 1]
        assert (h.executor.running, h.executor.backlog) == (0, 0)


async def test_a_full_pool_does_not_hold_up_another() -> None:
    gate = threading.Event()

    def block(_: object) -> None:
        gate.wait(60)

    async def quick(_: object) -> str:
        return "quick"

    async with Harness(activity(block, "thread"), activity(quick, "loop"), max_threads=1) as h:
        for task in range(3):
            h.dispatch(work("block", task=task))
        assert (h.executor.running, h.executor.backlog) == (1, 2)
        assert (await h.outcome(work("quick", task=3))).result == '"quick"'
        gate.set()
        await h.until(4)


async def test_at_the_overall_bound_the_longest_waiting_goes_first_whatever_its_pool() -> None:
    gate = asyncio.Event()
    order: list[str] = []

    async def gated(_: object) -> None:
        await gate.wait()

    async def on_loop(name: str) -> None:
        order.append(name)

    def in_thread(name: str) -> None:
        order.append(name)

    async with Harness(activity(gated, "loop"), activity(on_loop, "loop"), activity(in_thread, "thread"), max_concurrent=1) as h:
        h.dispatch(work("gated", task=9))
        for task, name in enumerate(["in_thread", "on_loop", "on_loop", "in_thread", "on_loop"]):
            h.dispatch(work(name, f'"{task}"', task=task))
        assert (h.executor.running, h.executor.backlog) == (1, 5)
        gate.set()
        await h.until(6)
    assert order == ["0", "1", "2", "3", "4"]


async def test_a_timeout_cancels_an_async_activity() -> None:
    ended: list[str] = []

    async def endless(_: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("cleaned up")

    async def quick(_: object) -> str:
        return "in time"

    async with Harness(activity(endless, "loop", timeout=0.01), activity(quick, "loop", timeout=60)) as h:
        failure = failure_of(await h.outcome(work("endless")))
        assert ended == ["cleaned up"]
        assert (await h.outcome(work("quick"))).result == '"in time"'
    assert failure.type == "TimeoutError"
    assert "'endless'" in failure.message
    assert "0:00:00.01" in failure.message
    assert not failure.non_retriable


async def test_an_async_activity_that_ignores_its_cancellation_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    gate = asyncio.Event()
    ended = asyncio.Event()

    async def stubborn(_: object) -> str:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue
        ended.set()
        return "late"

    async with Harness(activity(stubborn, "loop", timeout=0.01), max_concurrent=1, kill_grace=0.01) as h:
        assert failure_of(await h.outcome(work("stubborn"))).type == "TimeoutError"
        assert h.executor.running == 0
        assert "has ignored its cancellation" in caplog.text
        gate.set()
        await ended.wait()
        await h.outcome(work("unknown"))
        assert h.executor.running == 0
    assert len(h.outcomes) == 2


async def test_cancelling_an_instance_drops_and_stops_what_it_has_and_nothing_else() -> None:
    gate = asyncio.Event()
    started = asyncio.Event()
    seen: list[str] = []

    async def gated(name: str) -> str:
        seen.append(name)
        started.set()
        try:
            await gate.wait()
        except asyncio.CancelledError:
            seen.append(f"{name} cancelled")
            raise
        return name

    async with Harness(activity(gated, "loop"), max_concurrent=2) as h:
        h.dispatch(work("gated", '"a0"', instance="a", task=0))
        await started.wait()
        h.dispatch(work("gated", '"a1"', instance="a", task=1))  # has a slot, hasn't started
        for task in (2, 3):
            h.dispatch(work("gated", f'"a{task}"', instance="a", task=task))
            h.dispatch(work("gated", f'"b{task}"', instance="b", task=task))
        h.dispatch(work("unknown", instance="a", task=9))
        h.executor.cancel_instance("a")
        h.executor.cancel_instance("nobody")
        assert h.executor.backlog == 2
        h.dispatch(work("gated", '"again"', instance="a", task=0))
        gate.set()
        await h.until(3)
    assert seen[:2] == ["a0", "a0 cancelled"]
    assert seen[2:] == ["b2", "b3", "again"]
    assert sorted(str(result) for result in h.results) == ['"again"', '"b2"', '"b3"']


async def test_a_backlog_that_is_cancelled_again_and_again_does_not_grow() -> None:
    gate = asyncio.Event()

    async def gated(_: object) -> None:
        await gate.wait()

    async with Harness(activity(gated, "loop"), max_concurrent=1) as h:
        h.dispatch(work("gated", instance="keeper"))
        h.dispatch(work("gated", instance="patient"))
        for n in range(1000):
            h.dispatch(work("gated", instance=f"{n}"))
            h.executor.cancel_instance(f"{n}")
        assert h.executor.backlog == 1
        assert len(h.executor._lanes["loop"].backlog) < 5  # noqa: SLF001
        gate.set()
        await h.until(2)
    assert [outcome.work.instance_id for outcome in h.outcomes] == ["keeper", "patient"]


async def test_closing_waits_for_the_running_and_drops_the_queued() -> None:
    gate = asyncio.Event()
    ran: list[str] = []

    async def gated(name: str) -> str:
        ran.append(name)
        await gate.wait()
        return name

    async with Harness(activity(gated, "loop"), max_concurrent=1) as h:
        h.dispatch(work("gated", '"running"', task=0))
        h.dispatch(work("gated", '"queued"', task=1))
        h.dispatch(work("unknown", task=3))
        asyncio.get_running_loop().call_soon(gate.set)
        await h.executor.close(timedelta(seconds=60))
        assert h.results == ['"running"']
        assert ran == ["running"]
        h.dispatch(work("gated", '"too late"', task=2))
        assert (h.executor.running, h.executor.backlog) == (0, 0)


@pytest.mark.parametrize("pool", PYTHON_POOLS)
async def test_after_the_grace_closing_stops_what_runs_and_reports_nothing(pool: Pool) -> None:
    started = threading.Event()
    stopped = threading.Event()

    async def endless_on_loop(_: object) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    def endless_in_thread(_: object) -> None:
        started.set()
        activity_context().cancellation.wait()
        stopped.set()

    call = endless_on_loop if pool == "loop" else endless_in_thread
    async with Harness(activity(call, pool, name="endless")) as h:
        h.dispatch(work("endless"))
        await asyncio.to_thread(started.wait)
        await h.executor.close(timedelta())
        assert stopped.is_set()
    assert not h.outcomes


async def test_a_callback_may_dispatch_the_next_activity() -> None:
    async def count(n: int) -> int:
        return n + 1

    h = Harness(activity(count, "loop"), max_concurrent=1)
    receive = h._receive  # noqa: SLF001

    def chain(outcomes):
        receive(outcomes)
        n = int(outcomes[-1].result)
        if n < 10:
            h.dispatch(work("count", str(n), task=0))

    h.executor._on_outcomes = chain  # noqa: SLF001
    async with h:
        h.dispatch(work("count", "0", task=0))
        await h.until(10)
    assert h.results == [str(n) for n in range(1, 11)]
