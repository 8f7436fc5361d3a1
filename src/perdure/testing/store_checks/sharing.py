"""Several engines on one hub: who lives, who owns what, what waits, and nudges."""

# ruff: noqa: D103 - the name of each check is the sentence that it proves

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack

from perdure.core.errors import EngineInvariantError
from perdure.store.contract import MAX_NUDGE_BYTES, Claim, Commit, HubStore, Lease, TurnRecord
from perdure.store.errors import LeaseLostError, StoreUnavailableError
from perdure.testing.store_checks.harness import (
    HOUR,
    SECOND,
    OpenHub,
    StoreHarness,
    activity,
    first_turn,
    joined,
    member,
    message,
    next_turn,
    opened,
    refused,
    sharing_of,
)

_PATIENCE_SECONDS = 30
"""For nudges, which may travel. No check passes or fails by the time that they take."""


def _every_call(store: HubStore) -> list[Awaitable[object]]:
    sharing = sharing_of(store)
    return [
        sharing.beat(member("engine-1"), [], [], HOUR),
        sharing.leave("engine-1"),
        sharing.claim("engine-1", ["copy"], 1, HOUR),
        sharing.offered([0]),
        sharing.still_stored(["m1"]),
        sharing.backlog(),
        sharing.nudge("hello"),
    ]


async def calls_of_sharing_before_open_and_after_close_are_refused(harness: StoreHarness) -> None:
    store = harness.store()
    for call in _every_call(store):
        async with refused(StoreUnavailableError):
            await call
    await store.open()
    await store.close()
    for call in _every_call(store):
        async with refused(StoreUnavailableError):
            await call


async def every_store_of_the_hub_sees_what_any_of_them_has_committed(harness: StoreHarness) -> None:
    async with opened(harness) as hub, joined(harness) as other:
        for seq in range(1, 20):
            await hub.commit(first_turn("a") if seq == 1 else next_turn("a", seq), outbox=[message(f"m{seq}")])
            assert len((await other.store.load(["a"]))["a"].segments) == seq
            assert len(await other.store.inbox([0], (), 100)) == seq
            assert await other.sharing.still_stored([f"m{seq}"]) == {f"m{seq}"}


async def beat_extends_leases_from_the_stores_now(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        harness.advance(HOUR - 1)
        beat = await hub.sharing.beat(member("engine-1"), hub.leases, [], HOUR)
        assert beat.now == await hub.store.now()
        assert [(lease.partition, lease.epoch, lease.owner) for lease in beat.leases] == [
            (lease.partition, lease.epoch, lease.owner) for lease in hub.leases
        ]
        assert {lease.expires_at for lease in beat.leases} == {beat.now + HOUR}
        harness.advance(HOUR - 1)
        assert await hub.store.acquire("engine-2", [0], HOUR) == []
        harness.advance(1)
        assert [lease.partition for lease in await hub.store.acquire("engine-2", [0], HOUR)] == [0]


async def a_lease_that_has_expired_is_not_extended(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        harness.advance(HOUR)
        async with refused(LeaseLostError):
            await hub.sharing.beat(member("engine-1"), hub.leases, [], HOUR)
        assert [lease.partition for lease in await hub.store.acquire("engine-2", [0], HOUR)] == [0]


async def where_a_lease_was_lost_nothing_is_extended_but_the_member_lives(harness: StoreHarness) -> None:
    async with opened(harness) as hub, joined(harness) as other:
        await hub.commit(owner="engine-1", offered=[activity("t1", claimed_for=HOUR)])
        await hub.store.acquire("engine-1", [hub.leases[-1].partition], HOUR)
        harness.advance(HOUR - 1)
        async with refused(LeaseLostError):
            await hub.sharing.beat(member("engine-1", running=7), hub.leases, [Claim("t1", 1)], HOUR)
        harness.advance(1)
        assert [lease.partition for lease in await other.store.acquire("engine-2", [0], HOUR)] == [0]
        assert [found.activity_id for _, found in await other.sharing.claim("engine-2", ["copy"], 1, HOUR)] == ["t1"]
        beat = await other.sharing.beat(member("engine-2"), [], [], HOUR)
        assert beat.members == [member("engine-1", running=7), member("engine-2")]


async def beat_refuses_epochs_that_are_not_current(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        first, second = hub.leases[:2]
        await hub.store.release([first])
        for wrong in (
            first,
            Lease(second.partition, second.epoch + 1, second.owner, second.expires_at),
            Lease(len(hub.leases), 1, "engine-1", second.expires_at),
        ):
            async with refused(LeaseLostError, f"partition {wrong.partition} (epoch {wrong.epoch} of 'engine-1')"):
                await hub.sharing.beat(member("engine-1"), [second, wrong], [], HOUR)
        assert (await hub.sharing.beat(member("engine-1"), [second], [], HOUR)).leases != []


async def an_owner_that_was_replaced_can_write_nothing(harness: StoreHarness) -> None:
    async with opened(harness) as hub, joined(harness) as other:
        await hub.commit(first_turn("a"), outbox=[message("m1")])
        harness.advance(HOUR)
        other.leases = await other.store.acquire("engine-2", range(len(hub.leases)), HOUR)
        for late in (
            Commit(leases=hub.leases, turns=[next_turn("a", 2)]),
            Commit(leases=hub.leases, turns=[], consumed=["m1"]),
            Commit(leases=hub.leases[:1], turns=[TurnRecord(instance_id="a", delete=True)], outbox=[message("m2")]),
        ):
            async with refused(LeaseLostError):
                await hub.store.commit(late)
        await hub.store.release(hub.leases)
        await other.commit(next_turn("a", 2), consumed=["m1"])
        assert await hub.seqs("a") == [1, 2]
        assert await hub.store.inbox(range(len(hub.leases)), (), 10) == []


async def beat_tells_who_lives(harness: StoreHarness) -> None:
    async with joined(harness) as hub:
        here = member("engine-2", running=3)
        worker = member("engine-1", owns_partitions=False, capacity=4)
        reader = member("engine-3", owns_partitions=False, runs_activities=False, running=0, capacity=0)
        assert (await hub.sharing.beat(here, [], [], 10 * SECOND)).members == [here]
        assert (await hub.sharing.beat(reader, [], [], 12 * SECOND)).members == [here, reader]
        assert (await hub.sharing.beat(worker, [], [], 20 * SECOND)).members == [worker, here, reader]
        # Each is listed as it described itself last.
        idle = member("engine-2", running=0)
        assert (await hub.sharing.beat(idle, [], [], 10 * SECOND)).members == [worker, idle, reader]
        harness.advance(10 * SECOND - 1)
        assert (await hub.sharing.beat(worker, [], [], 20 * SECOND)).members == [worker, idle, reader]
        harness.advance(1)
        assert (await hub.sharing.beat(worker, [], [], 20 * SECOND)).members == [worker, reader]
        assert (await hub.sharing.backlog()).members == [worker, reader]
        harness.advance(2 * SECOND)
        assert (await hub.sharing.backlog()).members == [worker]
        # It was only slow.
        assert (await hub.sharing.beat(here, [], [], 10 * SECOND)).members == [worker, here]


async def leaving_takes_a_member_off_the_list_at_once(harness: StoreHarness) -> None:
    async with joined(harness) as hub:
        for owner in ("engine-1", "engine-2"):
            await hub.sharing.beat(member(owner), [], [], HOUR)
        await hub.sharing.leave("engine-1")
        await hub.sharing.leave("engine-7")
        assert (await hub.sharing.backlog()).members == [member("engine-2")]
        assert (await hub.sharing.beat(member("engine-2"), [], [], HOUR)).members == [member("engine-2")]


async def beat_tells_who_owns_each_partition(harness: StoreHarness) -> None:
    store = harness.store()
    count = (await store.open()).partition_count
    sharing = sharing_of(store)
    for owner in ("engine-1", "engine-2"):
        await sharing.beat(member(owner), [], [], 3 * HOUR)
    free = [""] * count
    assert (await sharing.beat(member("engine-1"), [], [], 3 * HOUR)).owners == free
    mine = await store.acquire("engine-1", [0, 1], HOUR)
    theirs = await store.acquire("engine-2", [2], 2 * HOUR)
    assert (await sharing.beat(member("engine-2"), theirs, [], 2 * HOUR)).owners == [
        "engine-1",
        "engine-1",
        "engine-2",
        *free[3:],
    ]
    await store.release(mine[:1])
    assert (await sharing.beat(member("engine-2"), theirs, [], 2 * HOUR)).owners == ["", "engine-1", "engine-2", *free[3:]]
    harness.advance(HOUR)
    assert (await sharing.beat(member("engine-2"), theirs, [], 2 * HOUR)).owners == ["", "", "engine-2", *free[3:]]
    await store.close()


async def beat_tells_in_which_of_its_partitions_messages_wait(harness: StoreHarness) -> None:
    async with opened(harness) as hub, joined(harness) as client:
        assert (await hub.sharing.beat(member("engine-1"), hub.leases, [], HOUR)).waiting == []
        await client.commit(outbox=[message("m1", partition=2), message("m2", partition=0), message("m3", partition=2)])
        assert sorted((await hub.sharing.beat(member("engine-1"), hub.leases, [], HOUR)).waiting) == [0, 2]
        assert (await client.sharing.beat(member("engine-2"), [], [], HOUR)).waiting == []
        assert (await hub.sharing.beat(member("engine-1"), hub.leases[2:], [], HOUR)).waiting == [2]
        assert (await hub.sharing.beat(member("engine-1"), [hub.leases[2], hub.leases[2]], [], HOUR)).waiting == [2]
        await hub.commit(consumed=["m1", "m2"])
        assert (await hub.sharing.beat(member("engine-1"), hub.leases, [], HOUR)).waiting == [2]


async def still_stored_tells_which_messages_are_not_consumed(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        assert await hub.sharing.still_stored([]) == set()
        await hub.commit(first_turn("a"), outbox=[message("m1", partition=1), message("m2"), message("m3")])
        await hub.commit(consumed=["m2"])
        assert await hub.sharing.still_stored(["m3", "m2", "m1", "m4"]) == {"m1", "m3"}
        # Purged with its instance, it isn't stored either.
        await hub.commit(TurnRecord(instance_id="a", delete=True))
        assert await hub.sharing.still_stored(["m1", "m3"]) == set()


async def engines_that_write_to_each_other_at_once_do_not_hinder_each_other(harness: StoreHarness) -> None:
    async with opened(harness) as hub, joined(harness) as other, joined(harness) as client:
        last = len(hub.leases) - 1
        await hub.store.release(hub.leases[1:])
        hub.leases = hub.leases[:1]
        other.leases = await other.store.acquire("engine-2", [last], HOUR)
        await hub.commit(first_turn("a"))
        await other.commit(first_turn("b", partition=last))

        async def ping(sender: OpenHub, instance_id: str, partition: int, to: int) -> None:
            for seq in range(2, 22):
                sent = [message(f"{instance_id}-{seq}-{key}", partition=to) for key in ("y", "x", "z")]
                offers = [activity(f"{instance_id}-{seq}", instance_id, partition=partition)]
                await sender.commit(next_turn(instance_id, seq), outbox=sent, offered=offers)
                claims = [claim for claim, _ in await sender.sharing.claim(instance_id, ["copy"], 2, HOUR)]
                waiting = await sender.store.inbox([partition], (), 4)
                await sender.commit(consumed=[stored.message_id for stored in waiting], settled=claims)

        async def send() -> None:
            for number in range(20):
                await client.commit(outbox=[message(f"c{number}-{to}", partition=to) for to in (last, 0)])
                await client.sharing.beat(member("client"), [], [], HOUR)

        await asyncio.gather(ping(hub, "a", 0, last), ping(other, "b", last, 0), send())
        assert await hub.seqs("a") == await hub.seqs("b") == list(range(1, 22))


async def a_nudge_reaches_every_open_store_of_the_hub(harness: StoreHarness) -> None:
    texts = ["hello", "grün 🚀 'quoted' \\ \n", "x" * MAX_NUDGE_BYTES, "ü" * (MAX_NUDGE_BYTES // 2)]
    async with AsyncExitStack() as stack:
        hubs, all_heard = await _listening(harness, stack, 3)
        for number, text in enumerate(texts):
            await hubs[number % 2].sharing.nudge(text)
        for heard in all_heard:
            assert {await _next(heard) for _ in texts} == set(texts)


async def a_closed_store_hears_nothing(harness: StoreHarness) -> None:
    async with AsyncExitStack() as stack:
        [hub, other], [heard, heard_by_other] = await _listening(harness, stack, 2)
        await other.store.close()
        await hub.sharing.nudge("hello")
        assert await _next(heard) == "hello"
        assert heard_by_other.empty()
        await other.store.open()
        await hub.sharing.nudge("again")
        assert await _next(heard_by_other) == "again"


async def a_nudge_that_is_too_long_is_refused(harness: StoreHarness) -> None:
    async with AsyncExitStack() as stack:
        [hub], [heard] = await _listening(harness, stack, 1)
        for text in ("x" * (MAX_NUDGE_BYTES + 1), "ü" * (MAX_NUDGE_BYTES // 2) + "x"):
            async with refused(EngineInvariantError):
                await hub.sharing.nudge(text)
        await hub.sharing.nudge("short")
        assert await _next(heard) == "short"


async def _listening(
    harness: StoreHarness, stack: AsyncExitStack, count: int
) -> tuple[list[OpenHub], list["asyncio.Queue[str | None]"]]:
    """Open stores, and what each of them hears."""
    hubs: list[OpenHub] = []
    all_heard: list[asyncio.Queue[str | None]] = []
    for _ in range(count):
        store = harness.store()
        heard: asyncio.Queue[str | None] = asyncio.Queue()
        sharing_of(store).listen(heard.put_nowait)
        await store.open()
        stack.push_async_callback(store.close)
        hubs.append(OpenHub(store, []))
        all_heard.append(heard)
    return hubs, all_heard


async def _next(heard: "asyncio.Queue[str | None]") -> str:
    """The next text; that some may have been missed is no text."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while (text := await heard.get()) is None:
            pass
    return text


CHECKS = (
    calls_of_sharing_before_open_and_after_close_are_refused,
    every_store_of_the_hub_sees_what_any_of_them_has_committed,
    beat_extends_leases_from_the_stores_now,
    a_lease_that_has_expired_is_not_extended,
    where_a_lease_was_lost_nothing_is_extended_but_the_member_lives,
    beat_refuses_epochs_that_are_not_current,
    an_owner_that_was_replaced_can_write_nothing,
    beat_tells_who_lives,
    leaving_takes_a_member_off_the_list_at_once,
    beat_tells_who_owns_each_partition,
    beat_tells_in_which_of_its_partitions_messages_wait,
    still_stored_tells_which_messages_are_not_consumed,
    engines_that_write_to_each_other_at_once_do_not_hinder_each_other,
    a_nudge_reaches_every_open_store_of_the_hub,
    a_closed_store_hears_nothing,
    a_nudge_that_is_too_long_is_refused,
)
