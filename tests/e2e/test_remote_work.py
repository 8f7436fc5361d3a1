"""How work goes to workers and back: tokens, limits, filters, leases, workers that vanish, hang or give things back."""

import asyncio

import pytest

import perdure as df
from perdure.core.answer_checks import StaleAnswerError
from perdure.core.answers import EntityAnswer, OperationResult, OrchestratorAnswer
from perdure.core.events import TimerCreated
from perdure.core.failures import FailureDetails
from perdure.engine.errors import NoRemoteWorkError
from perdure.engine.remote.work import ActivityWork, WorkFilter
from tests.e2e.remote_bench import (
    Bench,
    OrchestratorWork,
    calls,
    connect,
    ends,
    entity_state,
    on_bench,
    one,
    status,
    works,
)

Status = df.OrchestrationRuntimeStatus


@on_bench
async def test_a_chain_of_work(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        name = await hub.client.start_new("chain", client_input=1)
        work = await one(worker)
        assert isinstance(work, OrchestratorWork)
        assert (work.instance_id, work.started.input, work.past_count, len(work.new)) == (name, "1", 0, 1)
        await hub.remote.answer_orchestrator(work.token, calls("add"))
        activity = await one(worker)
        assert isinstance(activity, ActivityWork)
        assert (activity.call.name, activity.call.task_id) == ("add", 1)
        hub.remote.answer_activity(activity.token, "2")
        work = await one(worker)
        assert [type(event).__name__ for event in work.past.past[: work.past_count]] == [
            "OrchestratorStarted",
            "ExecutionStarted",
            "TaskScheduled",
        ]
        assert [type(event).__name__ for event in work.new] == ["TaskCompleted"]
        await hub.remote.answer_orchestrator(work.token, ends("3"))
        assert (await status(hub, name)).output == 3
        assert not await works(worker)
        assert hub.remote.out == hub.remote.waiting == 0


@on_bench
async def test_a_client_is_not_kept_waiting_by_missing_workers_and_a_restart_loses_nothing(bench: Bench) -> None:
    async with bench.hub() as hub:
        name = await hub.client.start_new("waits")
        await hub.client.raise_event(name, "go", 1)
        await hub.client.signal_entity("@counter@a", "add", 1)
        assert (await status(hub, name)).runtime_status is Status.Pending
    async with bench.hub(max_sessions=0) as hub:
        worker = connect(hub.remote)
        await bench.settle()
        got = {type(work).__name__: work for work in await works(worker)}
        assert [type(event).__name__ for event in got["OrchestratorWork"].new] == ["ExecutionStarted", "EventRaised"]
        assert [operation.operation for operation in got["EntityWork"].operations] == ["add"]
        await hub.remote.answer_orchestrator(got["OrchestratorWork"].token, calls("later"))
        await hub.remote.answer_entity(got["EntityWork"].token, EntityAnswer((OperationResult("1"),), "5"))
        assert (await entity_state(hub, "@counter@a")).entity_state == 5
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        await bench.settle()
        activity = await one(worker)
        hub.remote.answer_activity(activity.token, failure=FailureDetails("E", "m"))
        work = await one(worker)
        assert type(work.new[0]).__name__ == "TaskFailed"


@on_bench
async def test_what_a_vanished_worker_had_goes_to_others_at_once_and_its_late_answer_is_refused(bench: Bench) -> None:
    async with bench.hub() as hub:
        first, second = connect(hub.remote, 1), connect(hub.remote, 1)
        await hub.client.start_new("a")
        lost = [work for worker in (first, second) for work in await works(worker)]
        assert len(lost) == 1
        had, other = (first, second) if first.tokens else (second, first)
        had.disconnect()
        again = await one(other)
        assert again.instance_id == lost[0].instance_id
        with pytest.raises(StaleAnswerError):
            await hub.remote.answer_orchestrator(lost[0].token, ends())
        await hub.remote.answer_orchestrator(again.token, ends())
        assert await had.next() == []


@on_bench
async def test_a_token_is_good_for_one_answer_of_its_kind(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        await hub.client.start_new("a")
        work = await one(worker)
        for token in ("", "nonsense", work.token[:-1]):
            with pytest.raises(StaleAnswerError):
                await hub.remote.answer_orchestrator(token, ends())
            with pytest.raises(StaleAnswerError):
                hub.remote.abandon(token)
        with pytest.raises(StaleAnswerError):
            hub.remote.answer_activity(work.token, "1")
        with pytest.raises(StaleAnswerError):
            await hub.remote.answer_entity(work.token, EntityAnswer(()))
        await hub.remote.answer_orchestrator(work.token, calls("a"))
        with pytest.raises(StaleAnswerError):
            await hub.remote.answer_orchestrator(work.token, ends())
        assert len(await works(worker)) == 1


@on_bench
async def test_what_is_given_back_goes_to_others_first_and_rests_longer_each_time(bench: Bench) -> None:
    async with bench.hub() as hub:
        fussy = connect(hub.remote)
        await hub.client.start_new("a")
        hub.remote.abandon((await one(fussy)).token)
        other = connect(hub.remote)
        await asyncio.sleep(0.2)
        assert not await works(fussy)
        hub.remote.abandon((await one(other)).token)
        other.disconnect()
        rests: list[float] = []
        for _ in range(12):
            before = bench.clock.elapsed()
            (work,) = await fussy.next()
            rests.append(round(bench.clock.elapsed() - before, 3))
            hub.remote.abandon(work.token)
        assert rests == sorted(rests)
        assert 0.1 < rests[0] < 0.3
        assert rests[-1] == pytest.approx(30, abs=0.1)


@on_bench
async def test_a_worker_gets_only_what_its_filter_names(bench: Bench) -> None:
    async with bench.hub() as hub:
        only = WorkFilter({"a": ("", "2"), "c": ()}, {}, {"counter": ()})
        worker = connect(hub.remote, filter_=only)
        for name, version in (("a", None), ("a", "2"), ("a", "3"), ("A", None), ("b", None), ("c", "9")):
            await hub.client.start_new(name, f"{name}{version}", version=version)
        await hub.client.signal_entity("@counter@x", "add")
        await hub.client.signal_entity("@other@x", "add")
        got = await works(worker)
        assert {work.instance_id for work in got} == {"aNone", "a2", "c9", "@counter@x"}
        await hub.remote.answer_orchestrator(next(work for work in got if work.instance_id == "a2").token, calls("act"))
        assert not await works(worker)
        everything = connect(hub.remote)
        assert {getattr(work, "instance_id", "act") for work in await works(everything)} == {
            "a3",
            "ANone",
            "bNone",
            "@other@x",
            "act",
        }


@on_bench
async def test_nobody_gets_more_than_its_limit_and_the_least_busy_get_more(bench: Bench) -> None:
    async with bench.hub() as hub:
        small, large = connect(hub.remote, 2), connect(hub.remote, 6)
        for number in range(20):
            await hub.client.start_new("a", str(number))
        has = {small: await works(small), large: await works(large)}
        assert [len(got) for got in has.values()] == [2, 6]
        assert hub.remote.waiting == 12
        await hub.remote.answer_orchestrator(has[small][0].token, ends())
        assert len(await works(small)) == 1
        order = [work.instance_id for got in has.values() for work in got]
        assert sorted(order, key=int) == [str(number) for number in range(8)]
    async with bench.hub() as hub:
        equal = [connect(hub.remote) for _ in range(3)]
        for number in range(30, 60):
            await hub.client.start_new("b", str(number))
        assert {sum(work.started.name == "b" for work in await works(worker)) for worker in equal} <= {9, 10, 11}


@on_bench
async def test_waiting_for_work_can_be_cancelled_without_losing_any(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        waiting = asyncio.create_task(worker.next())
        await bench.settle()
        await hub.client.start_new("a")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert len(await works(worker)) == 1 or not waiting.cancelled()


@on_bench
async def test_cold_instances_are_loaded_when_a_worker_has_room_and_not_before(bench: Bench) -> None:
    async with bench.hub(max_sessions=0) as hub:
        for number in range(50):
            await hub.client.start_new("a", str(number))
        await bench.settle()
        assert hub.hydrated_instances == 0
        worker = connect(hub.remote, 3)
        await bench.settle()
        done = 0
        while got := await works(worker):
            assert len(got) <= 3
            for work in got:
                await hub.remote.answer_orchestrator(work.token, ends("1"))
                done += 1
            await bench.settle()
        assert done == 50


@on_bench
async def test_activities_of_a_terminated_instance_are_called_off(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote, 1)
        name = await hub.client.start_new("a")
        await hub.remote.answer_orchestrator((await one(worker)).token, calls("x", "y"))
        running = await one(worker)
        await hub.client.terminate(name, "enough")
        with pytest.raises(StaleAnswerError):
            hub.remote.answer_activity(running.token, "1")
        assert not await works(worker)
        assert hub.remote.waiting == 0


@on_bench
async def test_the_outcome_of_an_activity_that_nobody_waits_for_any_more_is_accepted(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        name = await hub.client.start_new("a")
        await hub.remote.answer_orchestrator((await one(worker)).token, calls("x"))
        activity = await one(worker)
        await hub.client.raise_event(name, "now")
        await hub.remote.answer_orchestrator((await one(worker)).token, ends())
        hub.remote.answer_activity(activity.token, "1")
        assert not await works(worker)


@on_bench
async def test_closing_waits_for_what_workers_have_and_takes_no_more(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        name = await hub.client.start_new("a")
        await hub.remote.answer_orchestrator((await one(worker)).token, calls("x"))
        activity = await one(worker)
        closing = asyncio.create_task(hub.close())
        await asyncio.sleep(1)
        assert not closing.done()
        with pytest.raises(df.EngineStoppedError):
            connect(hub.remote)
        hub.remote.answer_activity(activity.token, "1")
        await closing
        assert await worker.next() == []
    async with bench.hub() as hub:
        work = await one(connect(hub.remote))
        assert (work.instance_id, [type(event).__name__ for event in work.new]) == (name, ["TaskCompleted"])


@on_bench
async def test_an_activity_with_the_id_of_a_timer_before_it_is_none(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        await hub.client.start_new("a", "x")
        timer = TimerCreated(1, bench.clock.now_us() + 1_000_000)
        await hub.remote.answer_orchestrator((await one(worker)).token, OrchestratorAnswer((timer,)))
        await asyncio.sleep(5)
        await hub.remote.answer_orchestrator((await one(worker)).token, calls("act"))
        await works(worker)
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        await hub.client.raise_event("x", "e", 1)
        activity, decision = sorted(await works(worker), key=lambda work: type(work).__name__)
        assert isinstance(activity, ActivityWork)
        assert [type(event).__name__ for event in decision.new] == ["EventRaised"]


@on_bench
async def test_a_hub_without_remote_work_says_so(bench: Bench) -> None:
    async with df.TaskHub(df.DFApp(), clock=bench.clock) as hub:
        with pytest.raises(NoRemoteWorkError, match="RemoteSettings"):
            _ = hub.remote
