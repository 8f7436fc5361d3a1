"""Opening, closing, and what survives it."""

# ruff: noqa: D103 - the name of each check is the sentence that it proves

import asyncio
from collections.abc import Awaitable

from perdure.store.contract import Commit, HubStore, InstanceQuery
from perdure.store.errors import HubInUseError, StoreUnavailableError
from perdure.testing.store_checks.harness import StoreHarness, first_turn, message, next_turn, opened, refused


def _every_call(store: HubStore) -> list[Awaitable[object]]:
    return [
        store.now(),
        store.acquire("engine-1", [0], 1),
        store.release([]),
        store.commit(Commit(leases=[], turns=[])),
        store.load(["a"]),
        store.inbox([0], (), 10),
        store.with_pending([0], "", 10),
        store.due([0], (0, ""), 10),
        store.get("a"),
        store.list(InstanceQuery()),
        store.count(),
        store.history("a"),
    ]


async def calls_before_open_and_after_close_are_refused(harness: StoreHarness) -> None:
    store = harness.store()
    for call in _every_call(store):
        async with refused(StoreUnavailableError):
            await call
    await store.open()
    await store.close()
    for call in _every_call(store):
        async with refused(StoreUnavailableError):
            await call


async def open_tells_the_facts_of_the_hub(harness: StoreHarness) -> None:
    store = harness.store()
    first = await store.open()
    await store.close()
    assert first.partition_count > 0
    assert first.schema_version > 0
    again = harness.store()
    assert await again.open() == first
    await again.close()


async def closing_twice_does_nothing(harness: StoreHarness) -> None:
    store = harness.store()
    await store.close()
    await store.open()
    await store.close()
    await store.close()


async def a_store_can_be_opened_again_after_close(harness: StoreHarness) -> None:
    store = harness.store()
    await store.open()
    await store.close()
    await store.open()
    assert await store.count() == {}
    await store.close()


async def everything_committed_is_there_after_close(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a", pending=2, wake_at=5, tags={"k": "v"}, custom_status='{"x":1}', version="2"))
        await hub.commit(next_turn("a", 2), outbox=[message("m1")])
        before = await hub.store.load(["a"])
        leases = hub.leases
    async with opened(harness) as hub:
        assert await hub.store.load(["a"]) == before
        assert await hub.store.inbox([0], (), 10) == [message("m1")]
        assert await hub.store.with_pending([0], "", 10) == ["a"]
        assert await hub.store.due([0], (0, ""), 10) == [(5, "a")]
        assert [lease.epoch for lease in hub.leases] == [lease.epoch + 1 for lease in leases]


async def close_finishes_the_commits_already_called(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"))
        commits = [asyncio.ensure_future(hub.commit(next_turn("a", seq))) for seq in range(2, 12)]
        # One turn of the event loop: all ten have been called, none has been waited for.
        await asyncio.sleep(0)
        await hub.store.close()
        await asyncio.gather(*commits)
    async with opened(harness) as hub:
        assert await hub.seqs("a") == list(range(1, 12))


async def a_second_store_is_refused_where_only_one_may_be_open(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        other = harness.store()
        if not harness.exclusive:
            await hub.commit(first_turn("a"))
            await other.open()
            assert await other.count() == {"Running": 1}
            await other.close()
            return
        async with refused(HubInUseError):
            await other.open()
        # The refused one must not have harmed the owner.
        await hub.commit(first_turn("a"))
    await other.open()
    assert await other.count() == {"Running": 1}
    await other.close()


CHECKS = (
    calls_before_open_and_after_close_are_refused,
    open_tells_the_facts_of_the_hub,
    closing_twice_does_nothing,
    a_store_can_be_opened_again_after_close,
    everything_committed_is_there_after_close,
    close_finishes_the_commits_already_called,
    a_second_store_is_refused_where_only_one_may_be_open,
)
