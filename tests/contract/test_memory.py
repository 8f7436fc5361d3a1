import asyncio
import copy

import pytest

from perdure.store.memory import MemoryData, MemoryStore
from perdure.testing.store_checks.harness import joined, member, sharing_of
from perdure.testing.store_suite import CONTRACT, SHARING_CONTRACT, Check


class MemoryHarness:
    exclusive = False

    def __init__(self, *, shared: bool = False) -> None:
        self.data = MemoryData()
        self.time = 1_800_000_000_000_000
        self._shared = shared

    def store(self) -> MemoryStore:
        return MemoryStore(self.data, clock=lambda: self.time, shared=self._shared)

    def advance(self, microseconds: int) -> None:
        self.time += microseconds


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_contract(check: Check) -> None:
    await check(MemoryHarness())


@pytest.mark.parametrize("check", [*CONTRACT, *SHARING_CONTRACT], ids=lambda check: check.__name__)
async def test_contract_of_a_shared_hub(check: Check) -> None:
    await check(MemoryHarness(shared=True))


async def test_members_that_died_are_forgotten() -> None:
    harness = MemoryHarness(shared=True)
    async with joined(harness) as hub:
        await hub.sharing.beat(member("engine-1"), [], [], 1)
        harness.advance(1)
        await hub.sharing.beat(member("engine-2"), [], [], 1)
    assert list(harness.data.members) == ["engine-2"]


async def test_a_copy_of_the_data_has_no_listeners() -> None:
    harness = MemoryHarness(shared=True)
    heard: list[str | None] = []
    async with joined(harness) as hub:
        hub.sharing.listen(heard.append)
        harness.data = copy.deepcopy(harness.data)
        async with joined(harness) as of_the_copy:
            await of_the_copy.sharing.nudge("hello")
            await asyncio.sleep(0)
            assert heard == []
        await hub.sharing.nudge("hello")
        await asyncio.sleep(0)
        assert heard == ["hello"]


def test_stores_of_an_event_loop_that_has_ended_hear_nothing() -> None:
    harness = MemoryHarness(shared=True)
    heard: list[str | None] = []

    async def nudge(text: str) -> None:
        # Left open, as by a crash.
        store = harness.store()
        store_sharing = sharing_of(store)
        store_sharing.listen(lambda told: heard.append(f"{text} hears {told}"))
        await store.open()
        await store_sharing.nudge(text)
        await asyncio.sleep(0)

    asyncio.run(nudge("first"))
    asyncio.run(nudge("second"))
    assert heard == ["first hears first", "second hears second"]


async def test_a_store_that_is_closed_while_a_nudge_is_on_its_way_does_not_hear_it() -> None:
    heard: list[str | None] = []
    async with joined(MemoryHarness(shared=True)) as hub:
        hub.sharing.listen(heard.append)
        await hub.sharing.nudge("hello")
    await asyncio.sleep(0)
    assert heard == []
