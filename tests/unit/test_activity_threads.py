import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

import pytest

from perdure.engine.activities import activity_context
from tests.unit.activity_harness import Harness, activity, activity_threads, failure_of, work


async def test_blocking_activities_run_side_by_side_up_to_the_bound() -> None:
    barrier = threading.Barrier(4)
    lock = threading.Lock()
    inside = most = 0

    def meet(_: object) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        barrier.wait(60)
        with lock:
            inside -= 1

    async with Harness(activity(meet, "thread"), max_threads=4) as h:
        for task in range(40):
            h.dispatch(work("meet", task=task))
        await h.until(40)
        assert all(outcome.failure is None for outcome in h.outcomes)
        assert most == 4
        threads = activity_threads()
        assert len(threads) == 4
        assert all(thread.daemon for thread in threads)
        assert {thread.name for thread in threads} == {f"perdure-activity-{n}" for n in range(1, 5)}


async def test_a_finished_activity_is_reported_while_the_next_one_blocks() -> None:
    gate = threading.Event()

    def quick(n: int) -> int:
        return n

    def block(_: object) -> None:
        gate.wait(60)

    async with Harness(activity(quick, "thread"), activity(block, "thread")) as h:
        for task in range(3):
            h.dispatch(work("quick", str(task), task=task))
        h.dispatch(work("block", task=3))
        await h.until(3)
        assert sorted(str(result) for result in h.results) == ["0", "1", "2"]
        gate.set()
        await h.until(4)


async def test_many_short_activities_all_come_back_once() -> None:
    async with Harness(activity(len, "thread", name="len"), max_threads=3, max_concurrent=7) as h:
        for task in range(3000):
            h.dispatch(work("len", f'"{"x" * (task % 10)}"', task=task))
        await h.until(3000)
        assert h.executor.running == h.executor.backlog == 0
    assert {outcome.work.task_id: outcome.result for outcome in h.outcomes} == {task: str(task % 10) for task in range(3000)}
    assert len(h.outcomes) == 3000


async def test_a_hung_thread_is_replaced_and_its_late_result_dropped(caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()
    told: list[bool] = []

    def hang(_: object) -> str:
        token = activity_context().cancellation
        told.append(token.wait(60))
        gate.wait(60)
        return "late"

    async with Harness(activity(hang, "thread", timeout=0.01), activity(len, "thread", name="len"), max_threads=1) as h:
        failure = failure_of(await h.outcome(work("hang")))
        assert failure.type == "TimeoutError"
        assert "'hang'" in failure.message
        assert "was replaced" in caplog.text
        assert (await h.outcome(work("len", "[]", task=1))).result == "0"
        assert len(activity_threads()) == 2
        gate.set()
    assert told == [True]
    assert len(h.outcomes) == 2


async def test_hung_threads_are_bounded_and_their_end_makes_room_again(caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()

    def hang(_: object) -> None:
        gate.wait(60)

    async with Harness(activity(hang, "thread", timeout=0.01), activity(len, "thread", name="len"), max_threads=1) as h:
        await h.outcome(work("hang", task=0))
        assert "too many" not in caplog.text
        await h.outcome(work("hang", task=1))
        assert "only 0 activities at a time run in threads" in caplog.text
        h.dispatch(work("len", "[]", task=2))
        assert (h.executor.running, h.executor.backlog) == (0, 1)
        assert len(activity_threads()) == 2
        gate.set()
        assert (await h.until(3))[2].result == "0"


async def test_an_activity_in_time_is_untouched_by_its_timeout() -> None:
    async with Harness(activity(len, "thread", name="len", timeout=60), max_threads=1) as h:
        assert (await h.outcome(work("len", "[]"))).result == "0"


async def test_cancelling_an_instance_tells_its_thread_and_frees_the_slot() -> None:
    started = threading.Event()
    stopped = threading.Event()

    def cooperative(_: object) -> None:
        started.set()
        activity_context().cancellation.wait(60)
        stopped.set()
        activity_context().cancellation.raise_if_cancelled()

    async with Harness(activity(cooperative, "thread"), activity(len, "thread", name="len"), max_threads=1) as h:
        h.dispatch(work("cooperative", instance="a"))
        await asyncio.to_thread(started.wait)
        h.executor.cancel_instance("a")
        assert (await h.outcome(work("len", "[]", instance="b"))).result == "0"
        await asyncio.to_thread(stopped.wait, 60)
    assert [outcome.work.instance_id for outcome in h.outcomes] == ["b"]


async def test_closing_leaves_a_hanging_thread_behind_with_a_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.engine.activities.executor._MARGIN", 0.01)
    started = threading.Event()
    gate = threading.Event()

    def hang(_: object) -> None:
        started.set()
        gate.wait(60)

    h = Harness(activity(hang, "thread"), kill_grace=0)
    h.executor.start(asyncio.get_running_loop())
    h.executor.dispatch(work("hang"))
    await asyncio.to_thread(started.wait)
    await h.executor.close(timedelta())
    assert "left behind: perdure-activity-1" in caplog.text
    (thread,) = activity_threads()
    gate.set()
    await asyncio.to_thread(thread.join, 60)
    assert not activity_threads()
    assert not h.outcomes


@pytest.fixture
def no_further_thread(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[object]]:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    @contextmanager
    def patched() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            yield

    return patched


async def test_without_a_further_thread_activities_wait_for_those_there_are(
    caplog: pytest.LogCaptureFixture, no_further_thread: Callable[[], AbstractContextManager[object]]
) -> None:
    async with Harness(activity(len, "thread", name="len"), max_threads=4) as h:
        await h.outcome(work("len", "[]", task=0))
        with no_further_thread():
            for task in range(1, 9):
                h.dispatch(work("len", "[]", task=task))
            await h.until(9)
        assert "no further activity thread can be started" in caplog.text
        assert len(activity_threads()) == 1


async def test_a_lone_thread_reports_what_is_finished_before_it_starts_the_next(
    no_further_thread: Callable[[], AbstractContextManager[object]],
) -> None:
    gate = threading.Event()

    def block(_: object) -> None:
        gate.wait(60)

    async with Harness(activity(len, "thread", name="len"), activity(block, "thread")) as h:
        await h.outcome(work("len", "[]", task=0))
        with no_further_thread():
            h.dispatch(work("len", "[]", task=1))
            h.dispatch(work("block", task=2))
            await h.until(2)
            gate.set()
            await h.until(3)


async def test_the_time_limit_counts_from_the_start_not_from_the_dispatch(
    no_further_thread: Callable[[], AbstractContextManager[object]],
) -> None:
    gate = threading.Event()

    def block(_: object) -> None:
        gate.wait(60)

    async def endless(_: object) -> None:
        await asyncio.Event().wait()

    async with Harness(
        activity(block, "thread"),
        activity(len, "thread", name="len", timeout=0.02),
        activity(endless, "loop", timeout=0.05),
    ) as h:
        h.dispatch(work("block", task=0))
        with no_further_thread():
            h.dispatch(work("len", "[]", task=1))
            late = await h.outcome(work("endless", task=2))
            assert failure_of(late).type == "TimeoutError"
            gate.set()
            await h.until(3)
    assert all(outcome.failure is None for outcome in h.outcomes[1:])
