"""Work that no connected worker takes: the log says so, once, and not of work that only waits for its turn."""

import asyncio
import logging

import pytest

import perdure as df
from perdure.engine.hooks import EngineHooks
from perdure.engine.remote.work import WorkFilter
from perdure.observability import LoggingHooks
from tests.e2e.remote_bench import Bench, calls, connect, ends, on_bench, one, status, works

ONLY_A = WorkFilter({"a": ()}, {}, {})


class Heard(EngineHooks):
    def __init__(self) -> None:
        self.all: list[tuple[str, str, int, int]] = []

    def work_unwanted(self, kind: str, name: str, count: int, workers: int) -> None:
        self.all.append((kind, name, count, workers))


@on_bench
async def test_without_workers_every_name_is_told_once(bench: Bench) -> None:
    heard = Heard()
    async with bench.hub(hooks=heard) as hub:
        for name in ("b", "a", "a"):
            await hub.client.start_new(name)
        await asyncio.sleep(29)
        assert not heard.all
        await asyncio.sleep(32)
        assert heard.all == [("orchestrator", "a", 2, 0), ("orchestrator", "b", 1, 0)]
        await asyncio.sleep(3600)
        assert len(heard.all) == 2


@on_bench
async def test_what_the_filters_of_all_workers_leave_out_is_told(bench: Bench) -> None:
    heard = Heard()
    async with bench.hub(hooks=heard) as hub:
        worker = connect(hub.remote, filter_=ONLY_A)
        connect(hub.remote, filter_=ONLY_A)
        await hub.client.start_new("a", "x")
        await hub.remote.answer_orchestrator((await one(worker)).token, calls("wrok"))
        await asyncio.sleep(61)
        assert heard.all == [("activity", "wrok", 1, 2)]


@on_bench
async def test_what_waits_for_its_turn_is_not(bench: Bench) -> None:
    heard = Heard()
    async with bench.hub(hooks=heard) as hub:
        busy = connect(hub.remote, 1)
        for _ in range(3):
            await hub.client.start_new("a")
        await one(busy)
        await asyncio.sleep(90)
        assert not heard.all


@on_bench
async def test_work_that_found_a_worker_is_told_again_when_it_has_none(bench: Bench) -> None:
    heard = Heard()
    async with bench.hub(hooks=heard) as hub:
        await hub.client.start_new("a", "x")
        await asyncio.sleep(61)
        worker = connect(hub.remote, 1)
        await one(worker)
        await hub.client.start_new("a", "y")
        await asyncio.sleep(31)
        worker.disconnect()
        await asyncio.sleep(61)
        assert heard.all == [("orchestrator", "a", 1, 0), ("orchestrator", "a", 2, 0)]
        worker = connect(hub.remote)
        for work in await works(worker):
            await hub.remote.answer_orchestrator(work.token, ends())
        assert (await status(hub, "y")).runtime_status is df.OrchestrationRuntimeStatus.Completed


def test_the_log_names_what_waits_and_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "perdure"):
        LoggingHooks().work_unwanted("activity", "wrok", 3, 2)
        LoggingHooks().work_unwanted("entity", "counter", 1, 0)
    then = "It goes on as soon as a worker connects that has it."
    assert caplog.messages == [
        f"work for the activity 'wrok' waits (items: 3): none of the 2 connected workers takes it. {then}",
        f"work for the entity 'counter' waits (items: 1): no worker is connected. {then}",
    ]
