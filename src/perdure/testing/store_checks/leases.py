"""Ownership of partitions, and fencing."""

# ruff: noqa: D103 - the name of each check is the sentence that it proves

from perdure.store.contract import Commit, Lease, StoredMessage, TurnRecord
from perdure.store.errors import LeaseLostError
from perdure.testing.store_checks.harness import HOUR, SECOND, StoreHarness, first_turn, message, next_turn, opened, refused, row


async def the_clock_is_the_one_that_leases_expire_by(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        before = await hub.store.now()
        harness.advance(5 * SECOND)
        assert await hub.store.now() == before + 5 * SECOND
        assert {lease.expires_at for lease in hub.leases} == {before + HOUR}


async def acquire_takes_what_is_free_and_nothing_else(harness: StoreHarness) -> None:
    store = harness.store()
    count = (await store.open()).partition_count
    mine = await store.acquire("engine-1", [0, 1], HOUR)
    assert [(lease.partition, lease.owner) for lease in mine] == [(0, "engine-1"), (1, "engine-1")]
    theirs = await store.acquire("engine-2", [1, 2, count + 7], HOUR)
    assert [lease.partition for lease in theirs] == [2]
    await store.close()


async def acquiring_ones_own_partition_again_fences_the_earlier_lease(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        again = await hub.store.acquire("engine-1", [0], HOUR)
        assert again[0].epoch > hub.leases[0].epoch
        async with refused(LeaseLostError):
            await hub.commit(first_turn("a"))
        await hub.store.commit(Commit(leases=again, turns=[first_turn("a")]))


async def an_expired_lease_can_be_taken_by_another_owner(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        harness.advance(HOUR - 1)
        assert await hub.store.acquire("engine-2", [0], HOUR) == []
        harness.advance(1)
        [taken] = await hub.store.acquire("engine-2", [0], HOUR)
        assert taken.epoch > hub.leases[0].epoch
        assert taken.owner == "engine-2"


async def a_commit_under_an_expired_lease_that_nobody_took_is_written(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        harness.advance(2 * HOUR)
        await hub.commit(first_turn("a"))
        assert await hub.store.count() == {"Running": 1}


async def a_released_partition_is_free_at_once_and_its_epoch_is_refused(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.store.release(hub.leases[:1])
        async with refused(LeaseLostError):
            await hub.commit(first_turn("a"))
        [taken] = await hub.store.acquire("engine-2", [0], HOUR)
        assert taken.epoch > hub.leases[0].epoch


async def releasing_a_lost_lease_does_not_touch_the_new_owner(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        harness.advance(HOUR)
        taken = await hub.store.acquire("engine-2", [0], HOUR)
        await hub.store.release(hub.leases[:1])
        assert await hub.store.acquire("engine-1", [0], HOUR) == []
        await hub.store.commit(Commit(leases=taken, turns=[first_turn("a")]))


async def a_stale_commit_writes_nothing(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"), first_turn("b"), outbox=[message("m1")])
        before = await hub.store.load(["a", "b"])
        last = hub.leases[-1].partition
        [current] = await hub.store.acquire("engine-1", [last], HOUR)
        commits: list[tuple[list[TurnRecord], list[StoredMessage], list[str]]] = [
            ([next_turn("a", 2)], [], []),
            ([TurnRecord(instance_id="a", row=row("a", status="Completed"))], [], []),
            ([TurnRecord(instance_id="a", reset=True)], [], []),
            ([TurnRecord(instance_id="b", delete=True)], [], []),
            ([first_turn("c")], [], []),
            ([], [message("m2")], []),
            ([], [], ["m1"]),
            ([], [], []),
        ]
        for turns, outbox, consumed in commits:
            async with refused(LeaseLostError):
                await hub.commit(*turns, outbox=outbox, consumed=consumed)
        assert await hub.store.load(["a", "b", "c"]) == before
        assert await hub.store.inbox([0], (), 10) == [message("m1")]
        # Not the lease of another partition, not a broken store: with the current epoch the same commit passes.
        await hub.store.commit(Commit(leases=[*hub.leases[:-1], current], turns=[next_turn("a", 2)]))
        assert await hub.seqs("a") == [1, 2]


async def an_epoch_from_the_future_or_of_no_partition_is_refused(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        lease = hub.leases[0]
        for wrong in (
            Lease(lease.partition, lease.epoch + 1, lease.owner, lease.expires_at),
            Lease(len(hub.leases), 1, lease.owner, lease.expires_at),
        ):
            async with refused(LeaseLostError):
                await hub.store.commit(Commit(leases=[wrong], turns=[first_turn("a")]))
        assert await hub.store.count() == {}


async def a_refusal_says_which_partition(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.store.acquire("engine-1", [1], HOUR)
        async with refused(LeaseLostError, f"partition 1 (epoch {hub.leases[1].epoch} of 'engine-1')"):
            await hub.commit(first_turn("a"))


async def messages_need_no_lease_of_their_partition(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.store.release(hub.leases[1:2])
        await hub.store.acquire("engine-2", [1], HOUR)
        theirs, unowned = message("m1", partition=1), message("m2", partition=0)
        # As an engine sends to an instance of another one, ...
        await hub.store.commit(Commit(leases=hub.leases[:1], turns=[first_turn("a")], outbox=[theirs]))
        # ... and as a client does, which owns nothing.
        await hub.store.commit(Commit(leases=[], turns=[], outbox=[unowned]))
        assert await hub.store.inbox([1], (), 10) == [theirs]
        assert await hub.store.inbox([0], (), 10) == [unowned]
        # A lease that is named has to be current all the same.
        async with refused(LeaseLostError):
            await hub.store.commit(Commit(leases=hub.leases[1:2], turns=[], outbox=[message("m3")]))
        assert await hub.store.inbox([0, 1], ["m1", "m2"], 10) == []


CHECKS = (
    the_clock_is_the_one_that_leases_expire_by,
    acquire_takes_what_is_free_and_nothing_else,
    acquiring_ones_own_partition_again_fences_the_earlier_lease,
    an_expired_lease_can_be_taken_by_another_owner,
    a_commit_under_an_expired_lease_that_nobody_took_is_written,
    a_released_partition_is_free_at_once_and_its_epoch_is_refused,
    releasing_a_lost_lease_does_not_touch_the_new_owner,
    a_stale_commit_writes_nothing,
    an_epoch_from_the_future_or_of_no_partition_is_refused,
    a_refusal_says_which_partition,
    messages_need_no_lease_of_their_partition,
)
