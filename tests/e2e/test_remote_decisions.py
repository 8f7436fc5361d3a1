"""What decisions of workers do to an instance, and which ones can't be."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

import perdure as df
from perdure.core.answer_checks import InvalidAnswerError, StaleAnswerError
from perdure.core.answers import Continuation, EntityAnswer, OperationResult, OrchestrationSent, OrchestratorAnswer
from perdure.core.events import (
    AnyEvent,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationSignaled,
    EntityUnlockSent,
    EventRaised,
    EventSent,
    ExecutionCompleted,
    OrchestratorStarted,
    SubOrchestrationInstanceCreated,
    TaskCompleted,
    TaskScheduled,
    TerminationSent,
    TimerCanceled,
    TimerCreated,
    WorkerSpan,
)
from perdure.core.failures import FailureDetails
from tests.e2e.remote_bench import Bench, OrchestratorWork, calls, connect, ends, entity_state, on_bench, one, status, works

Status = df.OrchestrationRuntimeStatus
FAILURE = FailureDetails("my.Error", "no")


def kinds(events: Sequence[AnyEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


def by_id(got: list[Any]) -> dict[str, Any]:
    return {work.instance_id: work for work in got}


@on_bench
async def test_what_arrives_while_a_worker_decides_comes_after_the_decision(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        name = await hub.client.start_new("a")
        work = await one(worker)
        await hub.client.raise_event(name, "x", 1)
        await hub.client.raise_event(name, "y", 2)
        assert not await works(worker)  # one item at a time
        await hub.remote.answer_orchestrator(work.token, calls("act"))
        second = next(work for work in await works(worker) if hasattr(work, "new"))
        assert kinds(second.past.past[: second.past_count]) == ["OrchestratorStarted", "ExecutionStarted", "TaskScheduled"]
        assert [event.name for event in second.new] == ["x", "y"]
        assert second.at >= work.at
        await hub.remote.answer_orchestrator(second.token, OrchestratorAnswer(seen=1))
        third = await one(worker)
        assert [event.name for event in third.new] == ["y"]
        history = [event for event in third.past.past[: third.past_count] if isinstance(event, OrchestratorStarted)]
        assert [event.at for event in history] == [work.at, second.at]


@on_bench
async def test_the_history_for_workers_is_the_same_after_a_restart(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        name = await hub.client.start_new("a")
        work = await one(worker)
        await hub.client.raise_event(name, "x")
        answer = OrchestratorAnswer((TimerCreated(1, 0),), '"busy"', span=WorkerSpan("s1", 5))
        await hub.remote.answer_orchestrator(work.token, answer)
        work = await one(worker)
        await hub.client.raise_event(name, "y")
        await hub.remote.answer_orchestrator(work.token, OrchestratorAnswer((TaskScheduled(2, "act"),), '"busy"'))
        first = next(work for work in await works(worker) if hasattr(work, "new"))
        assert first.span == WorkerSpan("s1", 5)
    async with bench.hub() as hub:
        await bench.settle()
        again = next(work for work in await works(connect(hub.remote)) if hasattr(work, "new"))
        assert again.past.past[: again.past_count] == first.past.past[: first.past_count]
        assert again.new == first.new
        assert again.span == first.span
        assert (await status(hub, name)).custom_status == "busy"


@on_bench
async def test_ids_can_be_used_again_once_their_work_has_ended(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        await hub.client.start_new("a", "p")
        child = SubOrchestrationInstanceCreated(2, "child", "c")
        await hub.remote.answer_orchestrator((await one(worker)).token, OrchestratorAnswer((TaskScheduled(1, "act"), child)))
        executions: set[str] = set()
        for attempt in (1, 2, 3):
            got = {getattr(work, "instance_id", "act"): work for work in await works(worker)}
            executions.add(got["c"].started.execution_id)
            assert got["act"].call.attempt == attempt
            hub.remote.answer_activity(got["act"].token, failure=FAILURE)
            await hub.remote.answer_orchestrator(
                got["c"].token, OrchestratorAnswer((ExecutionCompleted("Failed", None, FAILURE),))
            )
            seen: list[str] = []
            while len(seen) < 2:
                work = await one(worker)
                seen += kinds(work.new)
                last = len(seen) == 2
                again = (TaskScheduled(1, "act"), child) if last else ()
                await hub.remote.answer_orchestrator(work.token, OrchestratorAnswer(again))
            assert sorted(seen) == ["SubOrchestrationInstanceFailed", "TaskFailed"]
        assert len(executions) == 3


BAD = {
    "an id that is open": OrchestratorAnswer((TimerCreated(1, 5),)),
    "an id twice": OrchestratorAnswer((TaskScheduled(5, "a"), TimerCreated(5, 5))),
    "a negative id": OrchestratorAnswer((TaskScheduled(-1, "a"),)),
    "a huge id": OrchestratorAnswer((TaskScheduled(2**31, "a"),)),
    "not an action": OrchestratorAnswer((TaskCompleted(1),)),  # type: ignore[arg-type]
    "a timer that isn't one": OrchestratorAnswer((TimerCanceled(7),)),
    "two ends": OrchestratorAnswer((ExecutionCompleted("Completed"), ExecutionCompleted("Failed"))),
    "an end and a continuation": OrchestratorAnswer((ExecutionCompleted("Completed"),), continuation=Continuation()),
    "an end that is none": OrchestratorAnswer((ExecutionCompleted("Running"),)),
    "seen too much": OrchestratorAnswer(seen=2),
    "seen nothing": OrchestratorAnswer(seen=0),
    "an entity that isn't one": OrchestratorAnswer((EntityOperationSignaled("counter", "add", 3),)),
    "a child with an entity's id": OrchestratorAnswer((SubOrchestrationInstanceCreated(3, "c", "@c@d"),)),
    "no entities": OrchestratorAnswer((EntityLockRequested(3, "s", ()),)),
    "two sections": OrchestratorAnswer((EntityLockRequested(3, "s", ("@c@d",)), EntityLockRequested(4, "t", ("@c@e",)))),
}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD)
def test_an_answer_that_cannot_be_is_refused_and_changes_nothing(answer: OrchestratorAnswer) -> None:
    async def test(bench: Bench) -> None:
        async with bench.hub() as hub:
            worker = connect(hub.remote)
            name = await hub.client.start_new("a")
            await hub.remote.answer_orchestrator((await one(worker)).token, calls("act"))
            await one(worker)
            await hub.client.raise_event(name, "x")
            work = await one(worker)
            with pytest.raises(InvalidAnswerError, match="instance"):
                await hub.remote.answer_orchestrator(work.token, answer)
            (again,) = await worker.next()  # after a rest
            assert isinstance(again, OrchestratorWork)
            assert (again.new, again.past_count) == (work.new, work.past_count)
            await hub.remote.answer_orchestrator(again.token, ends("1"))
            assert (await status(hub, name)).output == 1

    on_bench(test)()


@on_bench
async def test_a_suspended_instance_asks_nobody_and_its_code_learns_of_all_in_order_later(bench: Bench) -> None:
    async with bench.hub() as hub:
        name = await hub.client.start_new("a")
        await hub.client.suspend(name, "wait")
        await hub.client.suspend(name, "again")
        worker = connect(hub.remote)
        await hub.client.raise_event(name, "x")
        assert not await works(worker)
        assert hub.remote.waiting == 0
        await hub.client.resume(name, "go")
        work = await one(worker)
        assert kinds(work.new) == ["ExecutionStarted", "ExecutionSuspended", "EventRaised", "ExecutionResumed"]
        await hub.client.suspend(name)
        await hub.remote.answer_orchestrator(work.token, calls("act"))  # decided before
        assert (await status(hub, name)).runtime_status is Status.Suspended
        hub.remote.answer_activity((await one(worker)).token, "1")
        assert not await works(worker)
        await hub.client.resume(name)
        assert kinds((await one(worker)).new) == ["ExecutionSuspended", "TaskCompleted", "ExecutionResumed"]
        assert (await status(hub, name)).runtime_status is Status.Running


@on_bench
async def test_what_was_decided_before_a_suspension_may_end_the_instance(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        name = await hub.client.start_new("a")
        work = await one(worker)
        await hub.client.suspend(name)
        await hub.remote.answer_orchestrator(work.token, ends("1"))
        assert (await status(hub, name)).runtime_status is Status.Completed


@on_bench
async def test_terminating_asks_no_worker_and_makes_its_answer_worthless(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        name = await hub.client.start_new("a")
        work = await one(worker)
        await hub.client.terminate(name, "enough")
        with pytest.raises(StaleAnswerError):
            await hub.remote.answer_orchestrator(work.token, calls("act"))
        found = await status(hub, name)
        assert (found.runtime_status, found.output) == (Status.Terminated, "enough")
        never = await hub.client.start_new("nobody has it")
        await hub.client.terminate(never, "no worker")
        assert (await status(hub, never)).runtime_status is Status.Terminated


@on_bench
async def test_continuing_as_new_keeps_what_arrived_and_drops_what_was_for_the_old_generation(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        name = await hub.client.start_new("a", client_input=1, tags={"team": "blue"})
        await hub.remote.answer_orchestrator((await one(worker)).token, calls("slow"))
        slow = await one(worker)
        await hub.client.raise_event(name, "x", 1)
        work = await one(worker)
        await hub.client.raise_event(name, "y", 2)
        await hub.client.suspend(name)
        await hub.client.resume(name)
        again = OrchestratorAnswer((TaskScheduled(2, "farewell"),), '"2nd"', Continuation("2", "v2", (EventRaised("x", "1"),)))
        await hub.remote.answer_orchestrator(work.token, again)
        got = {getattr(work, "instance_id", "farewell"): work for work in await works(worker)}
        second = got[name]
        assert (second.started.input, second.started.version, second.started.tags) == ("2", "v2", {"team": "blue"})
        assert second.started.generation == 1
        assert second.past_count == 0
        assert kinds(second.new) == ["ExecutionStarted", "EventRaised", "EventRaised", "ExecutionSuspended", "ExecutionResumed"]
        assert [event.name for event in second.new[1:3]] == ["x", "y"]
        hub.remote.answer_activity(slow.token, "1")
        found = await status(hub, name)
        assert (found.runtime_status, found.custom_status) == (Status.Running, "2nd")
        await hub.remote.answer_orchestrator(second.token, ends("3"))
        assert not await works(worker)
        assert (await status(hub, name)).output == 3
    async with bench.hub() as hub:
        assert not await works(connect(hub.remote))


@on_bench
async def test_a_scheduled_start_waits_for_its_time_also_over_a_restart(bench: Bench) -> None:
    async with bench.hub() as hub:
        await hub.client.start_new("a", start_at=timedelta(seconds=50))
        assert not await works(connect(hub.remote))
        assert hub.remote.waiting == 0
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        before = bench.clock.now_us()
        (work,) = await worker.next()
        assert isinstance(work, OrchestratorWork)
        assert bench.clock.now_us() - before > 40_000_000
        assert work.started.start_at is not None
        assert work.at >= work.started.start_at
        await hub.remote.answer_orchestrator(work.token, ends())


@on_bench
async def test_events_and_terminations_reach_other_instances(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        for name in ("target", "victim", "sender"):
            await hub.client.start_new(name, name)
        got = by_id(await works(worker))
        await hub.remote.answer_orchestrator(got["target"].token, OrchestratorAnswer())
        sent = (EventSent(1, "target", "hello", "7"), TerminationSent("victim", 2, '"bye"'), EventSent(3, "nobody", "x"))
        await hub.remote.answer_orchestrator(got["sender"].token, OrchestratorAnswer(sent))
        work = await one(worker)
        assert work.new == [EventRaised("hello", "7")]
        victim = await status(hub, "victim")
        assert (victim.runtime_status, victim.output) == (Status.Terminated, "bye")


@on_bench
async def test_code_that_was_elsewhere_stays_elsewhere_and_code_that_was_here_stays_here(bench: Bench) -> None:
    def local(context: df.DurableOrchestrationContext) -> Any:
        yield context.wait_for_external_event("go")
        return (yield context.call_activity("act"))

    with_code = df.DFApp()
    with_code.orchestration_trigger(context_name="context", orchestration="a")(local)
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        await hub.client.start_new("a", "decided")
        await hub.remote.answer_orchestrator((await one(worker)).token, OrchestratorAnswer())
        await hub.client.start_new("a", "undecided")
    bench.app, without_code = with_code, bench.app
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        await hub.client.raise_event("decided", "go")
        assert kinds((await one(worker)).new) == ["EventRaised"]
        await hub.client.raise_event("undecided", "go")
        call = (await one(worker)).call
        assert (call.instance_id, call.name) == ("undecided", "act")
    bench.app = without_code
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        await bench.settle()
        got = await works(worker)
        hub.remote.answer_activity(next(work.token for work in got if hasattr(work, "call")), "1")
        assert {getattr(work, "instance_id", "act") for work in got} == {"decided", "act"}
        assert not await works(worker)  # it waits for an app that has its code
        assert (await status(hub, "undecided")).runtime_status is Status.Running


@on_bench
async def test_rewind_undoes_the_decisions_that_only_waited_and_does_the_failed_work_again(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        name = await hub.client.start_new("a")
        await hub.remote.answer_orchestrator((await one(worker)).token, calls("ok", "bad", "worse"))
        got = {work.call.name: work for work in await works(worker)}
        hub.remote.answer_activity(got["bad"].token, failure=FAILURE)
        await hub.remote.answer_orchestrator((await one(worker)).token, OrchestratorAnswer())
        hub.remote.answer_activity(got["ok"].token, "1")
        await hub.remote.answer_orchestrator((await one(worker)).token, OrchestratorAnswer())
        hub.remote.answer_activity(got["worse"].token, failure=FAILURE)
        await hub.remote.answer_orchestrator(
            (await one(worker)).token, OrchestratorAnswer((ExecutionCompleted("Failed", None, FAILURE),))
        )
        await hub.client.rewind(name, "again")
        again = await works(worker)
        calls_again = sorted(work.call.name for work in again if hasattr(work, "call"))
        assert calls_again == ["bad", "worse"]
        (work,) = (work for work in again if not hasattr(work, "call"))
        assert work.new == [TaskCompleted(1, "1")]
        assert "ExecutionCompleted" not in kinds(work.past.past)
        await hub.remote.answer_orchestrator(work.token, OrchestratorAnswer())
    async with bench.hub(max_sessions=0) as hub:
        worker = connect(hub.remote)
        await bench.settle()
        for activity in await works(worker):
            hub.remote.answer_activity(activity.token, "2")
        await bench.settle()
        while got_now := await works(worker):
            for work in got_now:
                done = sum(type(event) is TaskCompleted for event in [*work.past.past[: work.past_count], *work.new]) == 3
                await hub.remote.answer_orchestrator(work.token, ends("3") if done else OrchestratorAnswer())
            await bench.settle()
        assert (await status(hub, name)).output == 3


@on_bench
async def test_locks_stay_the_business_of_the_engine(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        await hub.client.start_new("a", "owner")
        await hub.client.signal_entity("@c@x", "before")
        got = by_id(await works(worker))
        lock = OrchestratorAnswer((EntityLockRequested(1, "section", ("@C@x",)),))
        await hub.remote.answer_orchestrator(got["owner"].token, lock)
        assert not await works(worker)  # the operation that was there before comes before the lock
        await hub.remote.answer_entity(got["@c@x"].token, EntityAnswer((OperationResult(),), "1"))
        work = await one(worker)
        assert kinds(work.new) == ["EntityLockGranted"]
        await hub.client.signal_entity("@c@x", "behind")
        assert not await works(worker)
        call = (EntityOperationCalled("@c@x", "own", 2), EntityUnlockSent("@c@x", "section", 3))
        await hub.remote.answer_orchestrator(work.token, OrchestratorAnswer(call))
        batch = await one(worker)
        assert [operation.operation for operation in batch.operations] == ["own"]
        assert (await hub.client.list_entities("c")).entities[0].locked_by == "owner"
        await hub.remote.answer_entity(batch.token, EntityAnswer((OperationResult('"r"'),), "2"))
        got = by_id(await works(worker))
        assert [operation.operation for operation in got["@c@x"].operations] == ["behind"]
        assert got["owner"].new[0].result == '"r"'
        assert (await hub.client.list_entities("c")).entities[0].locked_by is None


@on_bench
async def test_a_batch_is_applied_as_a_whole_and_its_rest_comes_again(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        for operation in ("a", "b", "c"):
            await hub.client.signal_entity("@e@x", operation)
        batch = await one(worker)
        assert [operation.operation for operation in batch.operations] == ["a"]
        sent = (EntityOperationSignaled("@E@y", "hello"), OrchestrationSent("o", "started", "1"), OrchestrationSent("o"))
        await hub.remote.answer_entity(batch.token, EntityAnswer((OperationResult(),), "1", sent))
        got = by_id(await works(worker))
        assert {"@e@x", "@e@y", "started"} < got.keys()
        assert len(got) == 4
        batch = got["@e@x"]
        assert [operation.operation for operation in batch.operations] == ["b", "c"]
        for bad in (
            EntityAnswer(()),
            EntityAnswer((OperationResult(),) * 3),
            EntityAnswer((OperationResult(),), "9", (OrchestrationSent("o", "@x@y"),)),
            EntityAnswer((OperationResult(),), "9", (EntityOperationSignaled("x", "y"),)),
        ):
            with pytest.raises((InvalidAnswerError, StaleAnswerError)):
                await hub.remote.answer_entity(batch.token, bad)
            again = await worker.next()
            assert len(again) == 1, again
            (batch,) = again
        assert (await entity_state(hub, "@e@x")).entity_state == 1
        await hub.remote.answer_entity(batch.token, EntityAnswer((OperationResult(None, FAILURE),), "1"))
        batch = await one(worker)
        assert [operation.operation for operation in batch.operations] == ["c"]
        await hub.remote.answer_entity(batch.token, EntityAnswer((OperationResult(),), None))
        assert not (await entity_state(hub, "@e@x")).entity_exists
        await bench.settle()
        assert "@e@x" not in bench.data.instances
