"""Hubs whose code moves between workers and the app, and hosts without workers on a store of some that had them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import perdure as df
from perdure.core.events import TaskCompleted
from perdure.core.failures import FailureDetails
from perdure.store.memory import MemoryStore
from tests.e2e.remote_bench import ActivityWork, Bench, calls, connect, ends, entity_state, on_bench, one, status, works


@asynccontextmanager
async def without_workers(bench: Bench, app: df.DFApp, **settings: Any) -> AsyncIterator[df.TaskHub]:
    store = MemoryStore(bench.data, clock=bench.clock.now_us)
    async with df.TaskHub(app, store, settings=df.EngineSettings(**settings), clock=bench.clock) as hub:
        yield hub


def an_app() -> df.DFApp:
    app = df.DFApp()

    @app.orchestration_trigger(context_name="context")
    def a(context: df.DurableOrchestrationContext) -> int:
        return 5

    @app.activity_trigger(input_name="number")
    def here(number: int | None) -> int:
        return 6

    @app.entity_trigger(context_name="context", entity_name="c")
    def c(context: df.DurableEntityContext) -> None:
        context.set_state(7)

    return app


@on_bench
async def test_a_host_without_workers_leaves_the_activities_of_workers_alone(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        await hub.client.start_new("remote", "x")
        await hub.remote.answer_orchestrator((await one(worker)).token, calls("far", "here"))
    async with without_workers(bench, an_app()) as hub:
        await hub.client.raise_event("x", "e", 1)
        await asyncio.sleep(60)
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        await bench.settle()
        activity, decision = sorted(await works(worker), key=lambda work: type(work).__name__)
        assert isinstance(activity, ActivityWork)
        assert activity.call.name == "far"
        assert [type(event).__name__ for event in decision.new] == ["EventRaised", "TaskCompleted"]
        outcome = decision.new[1]
        assert isinstance(outcome, TaskCompleted)
        assert outcome.result == "6", "the host has this one"


@on_bench
async def test_a_rewind_at_a_host_without_workers_leaves_the_activities_of_workers_alone(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        await hub.client.start_new("remote", "x")
        await hub.remote.answer_orchestrator((await one(worker)).token, calls("one", "two"))
        first, second = await works(worker)
        hub.remote.answer_activity(first.token, failure=FailureDetails("E", "m"))
        hub.remote.answer_activity(second.token, failure=FailureDetails("E", "m"))
        await hub.remote.answer_orchestrator((await one(worker)).token, ends(None, "Failed"))
        assert (await status(hub, "x")).runtime_status is df.OrchestrationRuntimeStatus.Failed
    async with without_workers(bench, an_app()) as hub:
        await hub.client.rewind("x", "again")
        await asyncio.sleep(60)
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        await bench.settle()
        assert sorted(work.call.name for work in await works(worker)) == ["one", "two"]


@pytest.mark.parametrize("workers", [True, False])
@pytest.mark.parametrize("kind", ["orchestration", "entity"])
def test_what_nobody_has_decided_yet_is_done_by_an_app_that_gets_its_function(kind: str, workers: bool) -> None:
    @on_bench
    async def check(bench: Bench) -> None:
        async with bench.hub() as hub:
            if kind == "entity":
                await hub.client.signal_entity("@c@x", "poke")
            else:
                await hub.client.start_new("a", "x")
        bench.app = an_app()
        async with bench.hub() if workers else without_workers(bench, bench.app) as hub:
            await asyncio.sleep(1)
            if kind == "entity":
                assert (await entity_state(hub, "@c@x")).entity_state == 7
            else:
                assert (await status(hub, "x")).output == 5

    check()
