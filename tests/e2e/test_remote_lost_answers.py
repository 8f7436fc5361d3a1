"""Workers are told that their answer is taken before it is durable: what if it never gets so?"""

import asyncio
from contextlib import asynccontextmanager

import pytest

import perdure as df
from perdure.core.answer_checks import StaleAnswerError
from perdure.engine.remote.work import ActivityWork, OrchestratorWork
from perdure.store.memory import MemoryStore
from perdure.testing.faults import Fault, FaultyStore
from tests.e2e.remote_bench import Bench, calls, connect, ends, on_bench, one, status, works


class NextCommit:
    """Fails before or after it takes effect, once it is told to."""

    def __init__(self) -> None:
        self.next: Fault | None = None
        self.fired = 0

    def fault(self, method: str) -> Fault | None:
        if method != "commit" or self.next is None:
            return None
        fault, self.next = self.next, None
        self.fired += 1
        return fault


@asynccontextmanager
async def failing_hub(bench: Bench, plan: NextCommit):
    store = FaultyStore(MemoryStore(bench.data, clock=bench.clock.now_us), plan)
    settings = df.EngineSettings(remote=df.RemoteSettings())
    async with df.TaskHub(bench.app, store, settings=settings, clock=bench.clock) as hub:
        yield hub


@on_bench
async def test_an_outcome_that_was_taken_outlives_a_failed_commit(bench: Bench) -> None:
    plan = NextCommit()
    async with failing_hub(bench, plan) as hub:
        for when in ("before", "after"):
            worker = connect(hub.remote)
            name = await hub.client.start_new("chain")
            await hub.remote.answer_orchestrator((await one(worker)).token, calls("add"))
            activity = await one(worker)
            assert isinstance(activity, ActivityWork)
            plan.next = Fault(when)
            hub.remote.answer_activity(activity.token, "2")
            await asyncio.sleep(1)  # it recovers
            *void, work = await works(worker)
            assert all(isinstance(item, OrchestratorWork) for item in (*void, work)), "the activity was to run again"
            assert [type(event).__name__ for event in work.new] == ["TaskCompleted"]
            await hub.remote.answer_orchestrator(work.token, ends("3"))
            assert (await status(hub, name)).output == 3
            worker.disconnect()
    assert plan.fired == 2


@on_bench
async def test_a_decision_that_did_not_become_durable_is_asked_for_again(bench: Bench) -> None:
    plan = NextCommit()
    async with failing_hub(bench, plan) as hub:
        worker = connect(hub.remote)
        name = await hub.client.start_new("chain")
        first = await one(worker)
        plan.next = Fault("before")
        await hub.remote.answer_orchestrator(first.token, calls("add"))
        await asyncio.sleep(1)
        work = await one(worker)
        assert isinstance(work, OrchestratorWork), "the activity must not start: it was never decided"
        assert (work.past_count, len(work.new)) == (first.past_count, len(first.new))
        with pytest.raises(StaleAnswerError):
            await hub.remote.answer_orchestrator(first.token, calls("other"))
        await hub.remote.answer_orchestrator(work.token, ends("3"))
        assert (await status(hub, name)).output == 3
    assert plan.fired == 1
