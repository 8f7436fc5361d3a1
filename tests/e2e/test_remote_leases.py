"""Work whose worker hangs, is slow or vanishes: others get it, and the first valid answer wins, whoever gives it."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

import perdure as df
from perdure.core.answer_checks import InvalidAnswerError, StaleAnswerError
from perdure.core.answers import EntityAnswer, OperationResult, OrchestratorAnswer
from perdure.core.events import TimerCanceled
from perdure.core.failures import FailureDetails
from perdure.engine.remote.worker import Worker
from tests.e2e.remote_bench import SHORT, ActivityWork, Bench, calls, connect, ends, on_bench, one, status, works

CAN_NOT_BE = OrchestratorAnswer((TimerCanceled(99),))


async def two_with_one_item(hub: df.TaskHub) -> tuple[Any, Any, Worker, Worker]:
    """The same decision, at a worker that is late and at another one."""
    slow, fast = connect(hub.remote, 1), connect(hub.remote, 1)
    await hub.client.start_new("a", "x")
    late = await one(slow)
    await asyncio.sleep(14)
    return late, await one(fast), slow, fast


@on_bench
async def test_what_hangs_is_offered_to_others_after_its_lease(bench: Bench) -> None:
    async with bench.hub(remote=SHORT) as hub:
        slow = connect(hub.remote)
        await hub.client.start_new("a")
        await works(slow)
        await asyncio.sleep(9)
        fast = connect(hub.remote)
        assert not await works(fast)
        await asyncio.sleep(5)
        assert len(await works(fast)) == 1


@on_bench
async def test_what_hangs_at_the_second_worker_too_goes_to_a_third(bench: Bench) -> None:
    async with bench.hub(remote=SHORT) as hub:
        await hub.client.start_new("a", "x")
        for _ in range(4):
            assert (await one(connect(hub.remote, 1))).instance_id == "x"
            await asyncio.sleep(100)


@pytest.mark.parametrize("late_first", [True, False])
def test_the_first_answer_counts_and_the_other_one_is_refused(late_first: bool) -> None:
    @on_bench
    async def check(bench: Bench) -> None:
        async with bench.hub(remote=SHORT) as hub:
            late, again, _, _ = await two_with_one_item(hub)
            first, second = (late, again) if late_first else (again, late)
            await hub.remote.answer_orchestrator(first.token, ends("1"))
            with pytest.raises(StaleAnswerError):
                await hub.remote.answer_orchestrator(second.token, ends("2"))
            assert (await status(hub, "x")).output == 1
            assert hub.remote.out == hub.remote.waiting == 0

    check()


@on_bench
async def test_of_two_answers_at_the_same_time_one_counts(bench: Bench) -> None:
    async with bench.hub(remote=SHORT) as hub:
        late, again, slow, fast = await two_with_one_item(hub)
        answers = (hub.remote.answer_orchestrator(work.token, calls(name)) for work, name in ((late, "one"), (again, "two")))
        told = await asyncio.gather(*answers, return_exceptions=True)
        assert [type(error) for error in told if error is not None] == [StaleAnswerError]
        (activity,) = await works(slow) + await works(fast)
        assert activity.call.name == ("one" if told[0] is None else "two")


@on_bench
async def test_an_answer_that_can_not_be_does_not_take_the_item_from_the_other_worker(bench: Bench) -> None:
    async with bench.hub(remote=SHORT) as hub:
        late, again, _, _ = await two_with_one_item(hub)
        with pytest.raises(InvalidAnswerError):
            await hub.remote.answer_orchestrator(late.token, CAN_NOT_BE)
        await hub.remote.answer_orchestrator(again.token, ends("1"))
        assert (await status(hub, "x")).output == 1


@on_bench
async def test_of_two_at_the_same_time_the_valid_one_counts(bench: Bench) -> None:
    async with bench.hub(remote=SHORT) as hub:
        late, again, slow, fast = await two_with_one_item(hub)
        answers = (
            hub.remote.answer_orchestrator(late.token, CAN_NOT_BE),
            hub.remote.answer_orchestrator(again.token, ends("1")),
        )
        told = await asyncio.gather(*answers, return_exceptions=True)
        assert [type(error) for error in told] == [InvalidAnswerError, type(None)]
        assert (await status(hub, "x")).output == 1
        await asyncio.sleep(60)
        assert not [*await works(slow), *await works(fast)]


@on_bench
async def test_who_gives_an_item_back_does_not_take_it_from_the_other_worker(bench: Bench) -> None:
    async with bench.hub(remote=SHORT) as hub:
        late, again, slow, fast = await two_with_one_item(hub)
        hub.remote.abandon(late.token)
        await asyncio.sleep(1)
        assert not await works(slow)
        hub.remote.abandon(again.token)
        await asyncio.sleep(1)
        (third,) = [*await works(slow), *await works(fast)]
        await hub.remote.answer_orchestrator(third.token, ends("1"))
        assert (await status(hub, "x")).output == 1


@on_bench
async def test_who_vanishes_takes_nothing_with_it(bench: Bench) -> None:
    async with bench.hub(remote=SHORT) as hub:
        late, again, _, fast = await two_with_one_item(hub)
        fast.disconnect()
        third = await one(connect(hub.remote, 1))
        await hub.remote.answer_orchestrator(late.token, ends("1"))
        for work in (again, third):
            with pytest.raises(StaleAnswerError):
                await hub.remote.answer_orchestrator(work.token, ends("2"))
        assert (await status(hub, "x")).output == 1


@on_bench
async def test_an_overdue_answer_counts_while_the_item_waits_for_somebody_else(bench: Bench) -> None:
    async with bench.hub(remote=SHORT) as hub:
        slow = connect(hub.remote, 1)
        name = await hub.client.start_new("a")
        hanging = await one(slow)
        await asyncio.sleep(60)  # its only place is taken, so nobody can have it
        await hub.remote.answer_orchestrator(hanging.token, ends("1"))
        assert (await status(hub, name)).output == 1
        assert not await works(slow)


@on_bench
async def test_an_overdue_answer_counts_while_the_item_is_being_loaded_for_somebody_else(bench: Bench) -> None:
    async with bench.hub(remote=SHORT, max_sessions=0) as hub:
        slow = connect(hub.remote, 1)
        name = await hub.client.start_new("a")
        hanging = await one(slow)
        await asyncio.sleep(60)
        fast = connect(hub.remote, 1)
        await hub.remote.answer_orchestrator(hanging.token, ends("1"))
        assert (await status(hub, name)).output == 1
        assert not await works(fast)
        await hub.client.start_new("a", "y")
        await hub.client.start_new("a", "z")
        assert {(await one(worker)).instance_id for worker in (slow, fast)} == {"y", "z"}, "a place was lost"


async def answer(hub: df.TaskHub, work: Any, result: str) -> None:
    if isinstance(work, ActivityWork):
        hub.remote.answer_activity(work.token, result)
    else:
        await hub.remote.answer_entity(work.token, EntityAnswer((OperationResult(result),), result))


@pytest.mark.parametrize("kind", ["activity", "entity"])
def test_work_that_takes_longer_than_its_lease_comes_to_an_end(kind: str) -> None:
    @on_bench
    async def check(bench: Bench) -> None:
        async with bench.hub(remote=SHORT) as hub:
            worker = connect(hub.remote)  # it has room, so that it gets the item again
            if kind == "activity":
                await hub.client.start_new("a", "x")
                await hub.remote.answer_orchestrator((await one(worker)).token, calls("long"))
            else:
                await hub.client.signal_entity("@c@x", "slow")
            first = await one(worker)
            await asyncio.sleep(3600)
            again = await works(worker)
            assert 1 <= len(again) <= 10
            await answer(hub, first, "1")
            for work in again:
                with pytest.raises(StaleAnswerError):
                    await answer(hub, work, "2")
            if kind == "activity":
                assert [event.result for event in (await one(worker)).new] == ["1"]
            else:
                await bench.settle()
                assert (await hub.client.read_entity_state("@c@x")).entity_state == 1

    check()


@on_bench
async def test_the_outcome_of_an_earlier_attempt_is_not_that_of_the_next_one_with_its_id(bench: Bench) -> None:
    async with bench.hub(remote=SHORT) as hub:
        slow, fast = connect(hub.remote, 1), connect(hub.remote, 2)
        await hub.client.start_new("a", "x")
        (work,) = [*await works(slow), *await works(fast)]
        await hub.remote.answer_orchestrator(work.token, calls("act"))
        (late,) = [*await works(slow), *await works(fast)]
        await asyncio.sleep(14)
        (again,) = [*await works(slow), *await works(fast)]
        hub.remote.answer_activity(again.token, failure=FailureDetails("E", "m"))
        decision = next(item for item in [*await works(slow), *await works(fast)] if not isinstance(item, ActivityWork))
        await hub.remote.answer_orchestrator(decision.token, calls("act"))
        (retry,) = [*await works(slow), *await works(fast)]
        assert (retry.call.task_id, retry.call.attempt) == (late.call.task_id, 2)
        with pytest.raises(StaleAnswerError):
            hub.remote.answer_activity(late.token, "late")
        hub.remote.answer_activity(retry.token, "2")


@pytest.mark.parametrize("how", ["vanishes", "gives it back", "is late", "answers nonsense"])
def test_what_is_out_while_its_instance_is_suspended_goes_to_nobody_else_before_it_is_resumed(how: str) -> None:
    @on_bench
    async def check(bench: Bench) -> None:
        async with bench.hub(remote=SHORT) as hub:
            had = connect(hub.remote)
            await hub.client.start_new("a", "x")
            work = await one(had)
            await hub.client.suspend("x", "r")
            match how:
                case "vanishes":
                    had.disconnect()
                case "gives it back":
                    hub.remote.abandon(work.token)
                case "answers nonsense":
                    with pytest.raises(InvalidAnswerError):
                        await hub.remote.answer_orchestrator(work.token, CAN_NOT_BE)
            other = connect(hub.remote)
            await asyncio.sleep(60)
            assert not [*await works(had), *await works(other)]
            await hub.client.resume("x", "r")
            await asyncio.sleep(5)
            (again,) = [*await works(had), *await works(other)]
            assert [type(event).__name__ for event in again.new] == ["ExecutionStarted", "ExecutionSuspended", "ExecutionResumed"]
            await hub.remote.answer_orchestrator(again.token, ends("1"))
            assert (await status(hub, "x")).output == 1

    check()


@pytest.mark.parametrize("resumed", [True, False])
def test_what_was_out_before_its_instance_was_suspended_may_be_answered(resumed: bool) -> None:
    @on_bench
    async def check(bench: Bench) -> None:
        async with bench.hub() as hub:
            worker = connect(hub.remote)
            await hub.client.start_new("a", "x")
            work = await one(worker)
            await hub.client.suspend("x", "r")
            if resumed:
                await hub.client.resume("x", "r")
            assert not await works(worker)
            await hub.remote.answer_orchestrator(work.token, ends("1"))
            assert (await status(hub, "x")).output == 1
            assert hub.remote.out == hub.remote.waiting == 0

    check()


@on_bench
async def test_an_answer_that_can_not_be_and_that_nobody_waits_for_any_more_is_asked_for_again(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        await hub.client.start_new("a", "x")
        answering = asyncio.create_task(hub.remote.answer_orchestrator((await one(worker)).token, CAN_NOT_BE))
        await asyncio.sleep(0)
        answering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answering
        await hub.remote.answer_orchestrator((await one(worker)).token, ends("1"))
        assert (await status(hub, "x")).output == 1


@pytest.mark.parametrize("how", ["vanishes", "loses it"])
def test_closing_waits_no_longer_than_somebody_works(how: str) -> None:
    @on_bench
    async def check(bench: Bench) -> None:
        async with bench.hub(drain_grace=timedelta(seconds=30)) as hub:
            worker = connect(hub.remote)
            await hub.client.start_new("a", "x")
            await hub.remote.answer_orchestrator((await one(worker)).token, calls("act"))
            await one(worker)
            before = bench.clock.elapsed()
            closing = asyncio.create_task(hub.close())
            await asyncio.sleep(1)
            assert not closing.done()
            if how == "vanishes":
                worker.disconnect()
            else:
                hub.remote.cancel_activities("x")
            await closing
            assert bench.clock.elapsed() - before < 5

    check()
