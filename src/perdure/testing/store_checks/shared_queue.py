"""The shared activity queue: what is on offer, who has claimed it, and what a commit does to it."""

# ruff: noqa: D103 - the name of each check is the sentence that it proves

import asyncio

from perdure.core.errors import EngineInvariantError
from perdure.store.contract import Claim, Commit
from perdure.store.errors import LeaseLostError
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
)


async def an_offered_activity_can_be_claimed_once(harness: StoreHarness) -> None:
    async with opened(harness) as hub, joined(harness) as other:
        offer = activity("t1", body=bytes(range(256)), name="größe 🚀", partition=1)
        await hub.commit(first_turn("a"), offered=[offer, activity("empty", body=b"")])
        [(claim, found)] = await other.sharing.claim("engine-2", ["größe 🚀"], 10, HOUR)
        assert found == offer
        assert claim.activity_id == "t1"
        assert await hub.sharing.claim("engine-1", ["größe 🚀"], 10, HOUR) == []
        assert await other.sharing.claim("engine-2", ["größe 🚀"], 10, HOUR) == []
        assert [found for _, found in await hub.sharing.claim("engine-1", ["copy"], 10, HOUR)] == [activity("empty", body=b"")]


async def claim_takes_the_oldest_of_the_wanted_names(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        names = {"t9": "copy", "t1": "move", "t8": "copy", "t2": "move", "t7": "scan"}
        for key, name in names.items():
            await hub.commit(offered=[activity(key, name=name)])
            harness.advance(1)
        assert await _claim(hub, ["copy", "move"], 0) == []
        assert await _claim(hub, [], 10) == []
        assert await _claim(hub, ["cop", "copying"], 10) == []
        assert await _claim(hub, ["move", "copy", "never"], 3) == ["t9", "t1", "t8"]
        assert await _claim(hub, ["move", "copy"], 10) == ["t2"]
        # Its age counts from the offer, not from what happened to it since.
        await hub.commit(offered=[activity("t3")])
        harness.advance(HOUR)
        assert await _claim(hub, ["scan", "copy"], 10) == ["t9", "t8", "t7", "t3"]


async def no_two_engines_get_the_same_activity(harness: StoreHarness) -> None:
    async with opened(harness) as hub, joined(harness) as other, joined(harness) as third:
        await hub.commit(offered=[activity(f"t{number}") for number in range(100)])
        hubs = [hub, other, third]
        taken: list[str] = []
        while batches := [
            batch for batch in await asyncio.gather(*(_claim(hubs[number % 3], ["copy"], 7) for number in range(6))) if batch
        ]:
            taken += [key for batch in batches for key in batch]
        assert sorted(taken) == sorted(f"t{number}" for number in range(100))


async def an_expired_claim_can_be_taken_over_under_a_higher_token(harness: StoreHarness) -> None:
    async with opened(harness) as hub, joined(harness) as other:
        await hub.commit(offered=[activity("t1")])
        [(first, _)] = await hub.sharing.claim("engine-1", ["copy"], 1, HOUR)
        harness.advance(HOUR - 1)
        assert await other.sharing.claim("engine-2", ["copy"], 1, HOUR) == []
        assert await _on_offer(hub) == 0
        harness.advance(1)
        assert await _on_offer(hub) == 1
        [(second, found)] = await other.sharing.claim("engine-2", ["copy"], 1, HOUR)
        assert found == activity("t1")
        assert second.token > first.token
        # From the store's now, again.
        harness.advance(HOUR)
        [(third, _)] = await other.sharing.claim("engine-2", ["copy"], 1, HOUR)
        assert third.token > second.token


async def beat_extends_the_claims_that_are_current_and_names_the_others(harness: StoreHarness) -> None:
    async with opened(harness) as hub, joined(harness) as other:
        offers = ["kept", "late", "settled", "withdrawn", "taken"]
        await hub.commit(offered=[activity(key, key) for key in offers])
        claims = {claim.activity_id: claim for claim, _ in await other.sharing.claim("engine-2", ["copy"], 10, HOUR)}
        assert sorted(claims) == sorted(offers)
        harness.advance(HOUR - 1)
        beat = await other.sharing.beat(member("engine-2"), [], list(claims.values()), HOUR)
        assert set(beat.lost_claims) == set()
        assert beat.on_offer == 0
        harness.advance(HOUR - 1)
        assert await _claim(hub, ["copy"], 10) == []
        await hub.commit(settled=[claims["settled"]], withdrawn=["withdrawn"])
        harness.advance(1)
        # The oldest of those that are left is as good as any other.
        [(taken, _)] = await hub.sharing.claim("engine-1", ["copy"], 1, HOUR)
        beat = await other.sharing.beat(member("engine-2"), [], [*claims.values(), Claim("unknown", 1)], HOUR)
        assert set(beat.lost_claims) == {"settled", "withdrawn", taken.activity_id, "unknown"}
        # The others had expired, but nobody had taken them: whoever runs them may as well finish.
        assert beat.on_offer == 0
        assert await _claim(hub, ["copy"], 10) == []


async def a_claim_is_extended_for_its_own_engine_only(harness: StoreHarness) -> None:
    async with opened(harness) as hub, joined(harness) as other:
        await hub.commit(offered=[activity("t1")])
        [(claim, _)] = await other.sharing.claim("engine-2", ["copy"], 1, HOUR)
        harness.advance(HOUR - 1)
        assert set((await hub.sharing.beat(member("engine-1"), [], [claim], HOUR)).lost_claims) == {"t1"}
        harness.advance(1)
        assert await _claim(hub, ["copy"], 1) == ["t1"]


async def leaving_frees_claims_at_once(harness: StoreHarness) -> None:
    async with opened(harness) as hub, joined(harness) as other:
        await hub.commit(offered=[activity("t1"), activity("t2", name="move")])
        [(claim, _)] = await other.sharing.claim("engine-2", ["copy"], 1, HOUR)
        assert await _claim(hub, ["move"], 1) == ["t2"]
        await other.sharing.leave("engine-2")
        assert await _on_offer(hub) == 1
        assert set((await other.sharing.beat(member("engine-2"), [], [claim], HOUR)).lost_claims) == {"t1"}
        [(again, _)] = await hub.sharing.claim("engine-1", ["copy", "move"], 10, HOUR)
        assert again.activity_id == "t1"
        assert again.token > claim.token


async def offered_gives_what_is_on_offer_claimed_or_not(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        assert await hub.sharing.offered([0, 1]) == set()
        await hub.commit(offered=[activity(f"t{number}", partition=number % 3) for number in range(6)])
        [(claim, _)] = await hub.sharing.claim("engine-1", ["copy"], 1, HOUR)
        assert await hub.sharing.offered([0]) == {"t0", "t3"}
        assert await hub.sharing.offered([2, 1]) == {"t1", "t2", "t4", "t5"}
        assert await hub.sharing.offered([]) == set()
        await hub.commit(settled=[claim])
        assert await hub.sharing.offered([0, 1, 2]) == {f"t{number}" for number in range(6)} - {claim.activity_id}


async def a_second_offer_of_the_same_id_is_ignored(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        first = activity("t1")
        await hub.commit(offered=[first, activity("t1", body=b"again")])
        [(claim, _)] = await hub.sharing.claim("engine-1", ["copy"], 1, HOUR)
        for again in (activity("t1", "b", name="move", body=b"again"), activity("t1", claimed_for=2 * HOUR)):
            await hub.commit(owner="engine-2", offered=[again])
            assert await _claim(hub, ["copy", "move"], 1) == [], "still claimed by the first"
        harness.advance(HOUR)
        [(second, found)] = await hub.sharing.claim("engine-1", ["copy", "move"], 1, HOUR)
        assert found == first
        assert second.token == claim.token + 1


async def an_activity_can_be_offered_as_claimed_by_the_engine_that_commits(harness: StoreHarness) -> None:
    async with opened(harness) as hub, joined(harness) as other:
        await hub.commit(owner="engine-1", offered=[activity("t1", claimed_for=10 * SECOND), activity("t2")])
        assert await hub.sharing.offered([0]) == {"t1", "t2"}
        assert await _claim(other, ["copy"], 10, "engine-2") == ["t2"]
        harness.advance(10 * SECOND - 1)
        # It has the first token, so that the engine knows the claim without asking.
        assert set((await hub.sharing.beat(member("engine-1"), [], [Claim("t1", 1)], 10 * SECOND)).lost_claims) == set()
        harness.advance(10 * SECOND - 1)
        assert await _claim(other, ["copy"], 10, "engine-2") == []
        harness.advance(1)
        [(claim, found)] = await other.sharing.claim("engine-2", ["copy"], 10, HOUR)
        assert found == activity("t1"), "whoever takes it over gets it like any other"
        assert claim.token > 1
        assert set((await hub.sharing.beat(member("engine-1"), [], [Claim("t1", 1)], HOUR)).lost_claims) == {"t1"}


async def settling_takes_an_activity_off_the_queue_with_its_outcome(harness: StoreHarness) -> None:
    async with opened(harness) as hub, joined(harness) as worker:
        await hub.commit(owner="engine-1", offered=[activity("t1"), activity("t2", claimed_for=HOUR)])
        [(claim, _)] = await worker.sharing.claim("worker", ["copy"], 1, HOUR)
        # As a worker does, which owns no partition.
        await worker.commit(outbox=[message("m1")], settled=[claim])
        assert await hub.store.inbox([0], (), 10) == [message("m1")]
        assert await hub.sharing.offered([0]) == {"t2"}
        await hub.commit(settled=[Claim("t2", 1)])
        assert await hub.sharing.offered([0]) == set()
        harness.advance(HOUR)
        assert await _claim(hub, ["copy"], 10) == []
        await hub.commit(settled=[claim, Claim("unknown", 1)], outbox=[message("m2")])
        assert await hub.store.inbox([0], ["m1"], 10) == [message("m2")]


async def settling_with_an_old_token_is_ignored_but_the_outcome_is_stored(harness: StoreHarness) -> None:
    async with opened(harness) as hub, joined(harness) as slow:
        await hub.commit(offered=[activity("t1"), activity("t2")])
        claims = {claim.activity_id: claim for claim, _ in await slow.sharing.claim("slow", ["copy"], 2, HOUR)}
        harness.advance(HOUR)
        [(newer, _)] = await hub.sharing.claim("engine-1", ["copy"], 1, HOUR)
        # One claim was taken over, the other had only expired.
        await slow.commit(outbox=[message("m1"), message("m2")], settled=list(claims.values()))
        assert await hub.store.inbox([0], (), 10) == [message("m1"), message("m2")]
        assert await hub.sharing.offered([0]) == {newer.activity_id}
        await hub.commit(settled=[Claim(newer.activity_id, newer.token + 1)])
        assert await hub.sharing.offered([0]) == {newer.activity_id}
        await hub.commit(settled=[newer])
        assert await hub.sharing.offered([0]) == set()


async def withdrawing_takes_all_activities_of_an_instance_whoever_runs_them(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        offers = [activity("t1", "a"), activity("t2", "b"), activity("t3", "a"), activity("t4", "a", claimed_for=HOUR)]
        await hub.commit(owner="engine-1", offered=offers)
        assert await _claim(hub, ["copy"], 1) != []
        await hub.commit(withdrawn=["a", "unknown"])
        assert await hub.sharing.offered([0]) == {"t2"}
        harness.advance(HOUR)
        assert await _claim(hub, ["copy"], 10) == ["t2"]


async def one_commit_withdraws_before_it_offers(harness: StoreHarness) -> None:
    # An instance that ends and begins anew in one batch.
    async with opened(harness) as hub:
        await hub.commit(offered=[activity("t1"), activity("t2")])
        [(claim, _)] = await hub.sharing.claim("engine-1", ["copy"], 1, HOUR)
        await hub.commit(offered=[activity("t2", body=b"new"), activity("t3")], settled=[claim], withdrawn=["a"])
        assert await hub.sharing.offered([0]) == {"t2", "t3"}
        found = await hub.sharing.claim("engine-1", ["copy"], 10, HOUR)
        assert sorted(offer.body for _, offer in found) == [b"body of t3", b"new"]


async def a_refused_commit_does_not_touch_the_queue(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"), offered=[activity("t1"), activity("t2", "b")])
        [(claim, found)] = await hub.sharing.claim("engine-1", ["copy"], 1, HOUR)
        others = {"t1": "b", "t2": "a"}
        await hub.store.acquire("engine-1", [hub.leases[-1].partition], HOUR)
        for turns, leases, error in (
            ([next_turn("a", 2)], hub.leases, LeaseLostError),
            ([], hub.leases[-1:], LeaseLostError),
            ([next_turn("unknown", 1)], hub.leases[:1], EngineInvariantError),
        ):
            async with refused(error):
                await hub.store.commit(
                    Commit(
                        leases=leases,
                        turns=turns,
                        owner="engine-1",
                        offered=[activity("t3"), activity("t4", claimed_for=HOUR)],
                        settled=[claim],
                        withdrawn=[others[found.activity_id]],
                    )
                )
        assert await hub.sharing.offered([0]) == {"t1", "t2"}


async def the_queue_is_there_after_close(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(offered=[activity("t1"), activity("t2")])
        [(claim, found)] = await hub.sharing.claim("engine-1", ["copy"], 1, HOUR)
        await hub.sharing.beat(member("engine-1"), hub.leases, [claim], HOUR)
    async with joined(harness) as hub:
        assert await hub.sharing.offered([0]) == {"t1", "t2"}
        assert (await hub.sharing.backlog()).members == [member("engine-1")]
        assert await _claim(hub, ["copy"], 10) == [key for key in ("t1", "t2") if key != found.activity_id]
        assert set((await hub.sharing.beat(member("engine-1"), [], [claim], HOUR)).lost_claims) == set()


async def backlog_tells_what_waits_and_since_when(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        start = await hub.store.now()
        empty = await hub.sharing.backlog()
        assert (empty.messages, empty.oldest_message, empty.activities, empty.oldest_activity) == (0, None, 0, None)
        first = message("m1")
        await hub.commit(outbox=[first], offered=[activity("t1")])
        harness.advance(SECOND)
        await hub.commit(outbox=[message("m2", partition=1), first], offered=[activity("t2"), activity("t1")])
        harness.advance(SECOND)
        found = await hub.sharing.backlog()
        assert (found.messages, found.oldest_message, found.activities, found.oldest_activity) == (2, start, 2, start)
        assert await _claim(hub, ["copy"], 1) == ["t1"]
        await hub.commit(consumed=["m1"])
        found = await hub.sharing.backlog()
        later = start + SECOND
        assert (found.messages, found.oldest_message, found.activities, found.oldest_activity) == (1, later, 1, later)
        # An expired claim is no claim.
        harness.advance(HOUR)
        found = await hub.sharing.backlog()
        assert (found.activities, found.oldest_activity) == (2, start)
        await hub.commit(consumed=["m2"], withdrawn=["a"])
        found = await hub.sharing.backlog()
        assert (found.messages, found.oldest_message, found.activities, found.oldest_activity) == (0, None, 0, None)


async def _claim(hub: OpenHub, names: list[str], limit: int, owner: str = "engine-1") -> list[str]:
    """Ids of what could be claimed, in order."""
    return [claim.activity_id for claim, _ in await hub.sharing.claim(owner, names, limit, HOUR)]


async def _on_offer(hub: OpenHub) -> int:
    return (await hub.sharing.beat(member("engine-1"), [], [], HOUR)).on_offer


CHECKS = (
    an_offered_activity_can_be_claimed_once,
    claim_takes_the_oldest_of_the_wanted_names,
    no_two_engines_get_the_same_activity,
    an_expired_claim_can_be_taken_over_under_a_higher_token,
    beat_extends_the_claims_that_are_current_and_names_the_others,
    a_claim_is_extended_for_its_own_engine_only,
    leaving_frees_claims_at_once,
    offered_gives_what_is_on_offer_claimed_or_not,
    a_second_offer_of_the_same_id_is_ignored,
    an_activity_can_be_offered_as_claimed_by_the_engine_that_commits,
    settling_takes_an_activity_off_the_queue_with_its_outcome,
    settling_with_an_old_token_is_ignored_but_the_outcome_is_stored,
    withdrawing_takes_all_activities_of_an_instance_whoever_runs_them,
    one_commit_withdraws_before_it_offers,
    a_refused_commit_does_not_touch_the_queue,
    the_queue_is_there_after_close,
    backlog_tells_what_waits_and_since_when,
)
