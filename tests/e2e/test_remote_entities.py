"""Entities whose code is in workers: their locks, what waits for an answer, and what becomes of it when the code moves."""

import asyncio
from typing import Any

import pytest

import perdure as df
from perdure.core.answers import EntityAnswer, OperationResult, OrchestratorAnswer
from perdure.core.events import (
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationSignaled,
    EntityUnlockSent,
    TaskScheduled,
)
from perdure.engine import instance_turns
from perdure.engine.copying import copy_hub
from perdure.store.contract import Commit
from perdure.store.memory import MemoryData, MemoryStore
from tests.e2e.remote_bench import Bench, calls, connect, ends, entity_state, on_bench, one, works
from tests.e2e.test_remote_decisions import by_id, kinds

DONE = OperationResult()
CALL = EntityOperationCalled("@c@x", "own", 2)
LOCK = OrchestratorAnswer((EntityLockRequested(1, "s", ("@c@x",)),))


async def lock(hub: df.TaskHub, worker: Any) -> Any:
    """An orchestration locks the entity; its next work item."""
    await hub.client.start_new("a", "owner")
    await hub.remote.answer_orchestrator((await one(worker)).token, LOCK)
    work = await one(worker)
    assert kinds(work.new) == ["EntityLockGranted"]
    return work


def names(batch: Any) -> list[str]:
    return [operation.operation for operation in batch.operations]


@on_bench
async def test_terminating_who_is_about_to_get_the_lock_releases_it_once(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        await hub.client.signal_entity("@c@x", "set")
        await hub.remote.answer_entity((await one(worker)).token, EntityAnswer((DONE,), "1"))
        await bench.settle()
    async with bench.hub() as hub:  # the entity is cold, so that the request waits for it
        worker = connect(hub.remote)
        await hub.client.start_new("a", "owner")
        work = await one(worker)
        answer = OrchestratorAnswer((*LOCK.actions, EntityOperationSignaled("@c@x", "own", 2)))
        await asyncio.gather(hub.remote.answer_orchestrator(work.token, answer), hub.client.terminate("owner", "stop"))
        batch = await one(worker)
        assert names(batch) == ["own"]
        await hub.client.signal_entity("@c@x", "behind")
        await hub.remote.answer_entity(batch.token, EntityAnswer((DONE,), "2"))
        assert names(await one(worker)) == ["behind"]
        assert (await hub.client.list_entities("c")).entities[0].locked_by is None


@on_bench
async def test_a_second_release_of_a_section_does_nothing(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        work = await lock(hub, worker)
        unlocks = EntityUnlockSent("@c@x", "s", 3), EntityUnlockSent("@c@x", "s", 4, ("@c@y",))
        await hub.remote.answer_orchestrator(work.token, OrchestratorAnswer((CALL, *unlocks)))
        await bench.settle()
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        batch = await one(worker)
        await hub.client.signal_entity("@c@x", "behind")
        await hub.remote.answer_entity(batch.token, EntityAnswer((DONE,), "2"))
        got = by_id(await works(worker))
        assert kinds(got["owner"].new) == ["EntityOperationCompleted"]
        assert names(got["@c@x"]) == ["behind"]


@on_bench
async def test_a_release_leaves_alone_what_has_the_id_of_the_lock_by_now(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        work = await lock(hub, worker)
        (call,) = calls("f").actions
        (request,) = LOCK.actions
        assert isinstance(call, TaskScheduled)
        assert isinstance(request, EntityLockRequested)
        assert call.task_id == request.task_id
        answer = OrchestratorAnswer((call, EntityUnlockSent("@c@x", "s", 3)))
        await hub.remote.answer_orchestrator(work.token, answer)
        hub.remote.answer_activity((await one(worker)).token, "7")
        assert kinds((await one(worker)).new) == ["TaskCompleted"]


@on_bench
async def test_a_backlog_goes_out_in_items_that_fit_into_messages(bench: Bench) -> None:
    async with bench.hub() as hub:
        sizes = [10_000] * 300 + [3_000_000, 1] + [200_000] * 3
        for number, size in enumerate(sizes):
            text = "€" if number == len(sizes) - 2 else "x"  # three bytes each
            await hub.client.signal_entity("@c@x", f"{number}", text * size)
        await bench.settle()
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        batches: list[list[str]] = []
        while got := await works(worker):
            (batch,) = got
            batches.append(names(batch))
            size = sum(len(operation.input.encode()) for operation in batch.operations)
            assert size <= 1_000_000 or len(batch.operations) == 1
            await hub.remote.answer_entity(batch.token, EntityAnswer((DONE,) * len(batch.operations), "1"))
        assert [name for batch in batches for name in batch] == [str(number) for number in range(len(sizes))]
        assert len(batches) < 12


class CountingStore(MemoryStore):
    """Adds up what is written of instances."""

    written = 0

    def _apply(self, commit: Commit) -> None:
        super()._apply(commit)
        self.written += sum(len(turn.segment.events) for turn in commit.turns if turn.segment is not None)


@on_bench
async def test_what_arrives_does_not_rewrite_the_backlog(bench: Bench) -> None:
    async with bench.hub() as hub:
        await hub.client.signal_entity("@c@x", "set")
        await hub.remote.answer_entity((await one(connect(hub.remote))).token, EntityAnswer((DONE,), "1"))
    store = CountingStore(bench.data, clock=bench.clock.now_us)
    settings = df.EngineSettings(remote=df.RemoteSettings())
    for part in range(2):  # the second one finds a backlog
        async with df.TaskHub(bench.app, store, settings=settings, clock=bench.clock) as hub:
            for number in range(100):
                await hub.client.signal_entity("@c@x", f"{100 * part + number}", "x" * 1000)
            await bench.settle()
    assert store.written < 1.5 * 200 * 1000
    target = MemoryData()
    stores = (MemoryStore(data, clock=bench.clock.now_us) for data in (bench.data, target))
    await copy_hub(*stores, progress=lambda _: None)
    for data in (target, bench.data):
        bench.data = data
        async with bench.hub() as hub:
            (entity,) = (await hub.client.list_entities("c")).entities
            assert ((await entity_state(hub, "@c@x")).entity_state, entity.backlog) == (1, 200)
            await hub.client.signal_entity("@c@x", "200")
            batch = await one(connect(hub.remote))
            assert names(batch) == [str(number) for number in range(201)]
            await hub.remote.answer_entity(batch.token, EntityAnswer((DONE,) * 150, "2"))
            await bench.settle()
        async with bench.hub() as hub:
            (entity,) = (await hub.client.list_entities("c")).entities
            assert ((await entity_state(hub, "@c@x")).entity_state, entity.backlog) == (2, 51)
            batch = await one(connect(hub.remote))
            assert names(batch) == [str(number) for number in range(150, 201)]
            await hub.remote.answer_entity(batch.token, EntityAnswer((DONE,) * 51))
            await bench.settle()
            assert "@c@x" not in bench.data.instances


def add_counter(bench: Bench) -> None:
    """The app gets the entity's function: its state is the list of what was done."""

    @bench.app.entity_trigger(context_name="context", entity_name="c")
    def c(context: df.DurableEntityContext) -> str:
        context.set_state([*context.get_state(list), context.operation_name])
        return "done"


@on_bench
async def test_a_locked_entity_whose_code_moves_into_the_process_does_what_its_owner_wanted_first(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        work = await lock(hub, worker)
        await hub.client.signal_entity("@c@x", "other")
        unlock = EntityUnlockSent("@c@x", "s", 3)
        await hub.remote.answer_orchestrator(work.token, OrchestratorAnswer((CALL, unlock)))
        await bench.settle()
        await hub.client.signal_entity("@c@x", "another")
    add_counter(bench)
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        work = await one(worker)
        assert work.new[0].result == '"done"'
        assert (await entity_state(hub, "@c@x")).entity_state == ["own", "other", "another"]
        assert (await hub.client.list_entities("c")).entities[0].locked_by is None


@on_bench
async def test_a_bug_in_a_turn_stops_the_hub_and_tells_everybody_who_waits(bench: Bench) -> None:
    async with bench.hub() as hub:
        worker = connect(hub.remote)
        await hub.client.start_new("a", "x")
        work = await one(worker)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(instance_turns, "decide", _bug)
            waiting = [
                asyncio.ensure_future(hub.remote.answer_orchestrator(work.token, ends())),
                asyncio.ensure_future(hub.client.start_new("a", "y")),
                asyncio.ensure_future(hub.client.raise_event("x", "e")),
            ]
            async with asyncio.timeout(60):
                told = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in told] == [df.EngineStoppedError] * 3


def _bug(*_: Any) -> Any:
    raise AssertionError("a bug")
