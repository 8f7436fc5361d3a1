"""What a commit does, all of it or nothing, and in which order."""

# ruff: noqa: D103 - the name of each check is the sentence that it proves

import asyncio

from perdure.core.effects import Sealed
from perdure.core.errors import EngineInvariantError
from perdure.store.contract import Claim, Commit, TurnRecord
from perdure.store.errors import StoreUnavailableError
from perdure.testing.store_checks.harness import (
    StoreHarness,
    activity,
    first_turn,
    message,
    next_turn,
    opened,
    refused,
    row,
    segment,
)


async def the_receipt_opens_what_was_sealed_with_the_commit(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        commit = Commit(leases=hub.leases, turns=[first_turn("a")])
        sealed = Sealed("effect")
        sealed.bind(commit)
        assert sealed.open(await hub.store.commit(commit)) == "effect"


async def a_commit_may_be_empty(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit()
        assert await hub.store.count() == {}


async def commits_apply_in_the_order_of_their_calls(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"))
        turns = [TurnRecord(instance_id="a", row=row("a", custom_status=str(seq)), segment=segment(seq)) for seq in range(2, 52)]
        # Large and small ones mixed, so that a faster one would overtake.
        padding = [first_turn(f"padding-{number}") for number in range(200)]
        calls = [hub.commit(*(padding if turn is turns[0] else ()), turn) for turn in turns]
        await asyncio.gather(*calls)
        assert await hub.seqs("a") == list(range(1, 52))
        assert (await hub.store.load(["a"]))["a"].row.custom_status == "51"


async def a_cancelled_wait_leaves_the_order_of_commits_alone(harness: StoreHarness) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"))
        tasks = [
            asyncio.ensure_future(
                hub.commit(TurnRecord(instance_id="a", row=row("a", custom_status=str(seq)), segment=segment(seq)))
            )
            for seq in (2, 3, 4, 5)
        ]
        await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[2].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert isinstance(outcomes[2], asyncio.CancelledError)
        # Each was called before it was cancelled, so each is written, between its neighbours.
        assert await hub.seqs("a") == [1, 2, 3, 4, 5]
        assert (await hub.store.load(["a"]))["a"].row.custom_status == "5"
    # Results for nobody must not end up as errors of the event loop.
    assert complaints == []


async def turns_of_one_instance_in_one_commit_apply_in_order(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(
            first_turn("a", custom_status="1"),
            next_turn("a", 2),
            first_turn("b"),
            TurnRecord(instance_id="a", row=row("a", custom_status="2")),
            next_turn("a", 3),
        )
        loaded = await hub.store.load(["a"])
        assert loaded["a"].row.custom_status == "2"
        assert loaded["a"].segments == [segment(1), segment(2), segment(3)]
        await hub.commit(next_turn("a", 4), next_turn("b", 2), next_turn("a", 5))
        assert await hub.seqs("a") == [1, 2, 3, 4, 5]
        assert await hub.seqs("b") == [1, 2]


async def reset_deletes_the_older_segments_only(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"), next_turn("a", 2), first_turn("b"))
        await hub.commit(
            next_turn("a", 3),
            TurnRecord(instance_id="a", row=row("a", generation=1, first_seq=4), segment=segment(4), reset=True),
            next_turn("a", 5),
        )
        loaded = await hub.store.load(["a", "b"])
        # Also those of the same commit, even behind a row that still counts them in.
        await hub.commit(first_turn("c"), next_turn("c", 2), TurnRecord(instance_id="c", segment=segment(2, b"new"), reset=True))
        assert await hub.store.history("c") == [segment(2, b"new")]
        assert loaded["a"].row == row("a", generation=1, first_seq=4)
        assert loaded["a"].segments == [segment(4), segment(5)]
        assert loaded["b"].segments == [segment(1)]


async def within_a_generation_only_what_moves_changes_in_a_row(harness: StoreHarness) -> None:
    moved = {"status": "Suspended", "custom_status": "1", "pending": 2, "wake_at": 3}
    other = {"execution_id": "x", "generation": 7, "name": "x", "version": "x", "created_at": 7, "tags": {"x": "y"}}
    later = TurnRecord(instance_id="a", row=row("a", **moved, **other), segment=segment(2))
    next_generation = TurnRecord(instance_id="a", row=row("a", **moved, **other, first_seq=3), segment=segment(3), reset=True)
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"))
        await hub.commit(later)
        assert (await hub.store.load(["a"]))["a"].row == row("a", **moved)
        await hub.commit(next_generation)
        assert (await hub.store.load(["a"]))["a"].row == row("a", **moved, **other, first_seq=3)
        # The same where one commit holds it all.
        await hub.commit(TurnRecord(instance_id="a", delete=True), first_turn("a"), later)
        assert (await hub.store.load(["a"]))["a"].row == row("a", **moved)
        await hub.commit(TurnRecord(instance_id="a", row=row("a")), next_generation)
        assert (await hub.store.load(["a"]))["a"].row == row("a", **moved, **other, first_seq=3)


async def an_id_that_is_used_again_may_start_its_numbers_again(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a", status="Completed"), next_turn("a", 2))
        again = TurnRecord(
            instance_id="a", row=row("a", execution_id="execution-2"), segment=segment(1, b"second life"), reset=True
        )
        await hub.commit(again)
        assert (await hub.store.load(["a"]))["a"].segments == [segment(1, b"second life")]


async def delete_removes_row_segments_and_messages(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(
            first_turn("a", pending=1, wake_at=7),
            next_turn("a", 2),
            first_turn("b", pending=1, wake_at=7),
            outbox=[message("m1", "a"), message("m2", "b")],
        )
        await hub.commit(TurnRecord(instance_id="a", delete=True))
        assert list(await hub.store.load(["a", "b"])) == ["b"]
        assert await hub.store.get("a") is None
        assert await hub.store.history("a") == []
        assert await hub.store.inbox([0], (), 10) == [message("m2", "b")]
        assert await hub.store.with_pending([0], "", 10) == ["b"]
        assert await hub.store.due([0], (0, ""), 10) == [(7, "b")]
        assert await hub.store.count() == {"Running": 1}
        # Nothing of the old life may come back with the id.
        await hub.commit(first_turn("a"))
        assert await hub.seqs("a") == [1]


async def an_instance_can_be_deleted_and_made_again_in_one_commit(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"), next_turn("a", 2))
        await hub.commit(
            next_turn("a", 3),
            TurnRecord(instance_id="a", delete=True),
            first_turn("a", name="Restore"),
            outbox=[message("m1", "a")],
        )
        assert (await hub.store.load(["a"]))["a"].row.name == "Restore"
        assert await hub.seqs("a") == [1]
        assert await hub.store.inbox([0], (), 10) == [message("m1", "a")]
        await hub.commit(first_turn("b"), TurnRecord(instance_id="b", delete=True))
        assert await hub.store.get("b") is None


async def vacate_removes_row_and_segments_but_leaves_messages(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("@a@a", wake_at=7), next_turn("@a@a", 2), outbox=[message("m1", "@a@a")])
        await hub.commit(TurnRecord(instance_id="@a@a", vacate=True))
        assert await hub.store.get("@a@a") is None
        assert await hub.store.history("@a@a") == []
        assert await hub.store.due([0], (0, ""), 10) == []
        assert await hub.store.inbox([0], (), 10) == [message("m1", "@a@a")]
        # Made anew by what is still on its way, and given up again, all within one commit.
        await hub.commit(first_turn("@a@a", name="b"), TurnRecord(instance_id="@a@a", vacate=True), first_turn("@a@a", name="c"))
        assert (await hub.store.load(["@a@a"]))["@a@a"].row.name == "c"
        assert await hub.seqs("@a@a") == [1]
        await hub.commit(first_turn("@b@b"), TurnRecord(instance_id="@b@b", vacate=True), outbox=[message("m2", "@b@b")])
        assert await hub.store.get("@b@b") is None
        assert await hub.store.inbox([0], ["m1"], 10) == [message("m2", "@b@b")]


async def deleting_an_unknown_instance_does_nothing(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(
            TurnRecord(instance_id="a", delete=True),
            TurnRecord(instance_id="b", reset=True),
            TurnRecord(instance_id="@c@c", vacate=True),
        )
        assert await hub.store.count() == {}


async def a_message_is_stored_once_until_it_is_consumed(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(outbox=[message("m1"), message("m1", "other")])
        await hub.commit(outbox=[message("m1", "another"), message("m2")])
        assert await hub.store.inbox([0], (), 10) == [message("m1"), message("m2")]
        await hub.commit(consumed=["m1", "unknown"])
        assert await hub.store.inbox([0], (), 10) == [message("m2")]
        await hub.commit(outbox=[message("m3")], consumed=["m2", "m3"])
        assert await hub.store.inbox([0], (), 10) == []


async def a_segment_that_would_damage_a_history_is_refused_with_its_whole_commit(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"))
        for wrong in (
            [next_turn("a", 2), next_turn("unknown", 1)],
            [next_turn("a", 2), next_turn("a", 1)],
            [first_turn("b"), next_turn("a", 1)],
            [first_turn("b"), next_turn("unknown", 1)],
        ):
            async with refused(EngineInvariantError):
                await hub.commit(*wrong, outbox=[message("m1")] if wrong[0].row else [])
        assert await hub.seqs("a") == [1]
        assert await hub.store.count() == {"Running": 1}
        assert await hub.store.inbox([0], (), 10) == []
        await hub.commit(next_turn("a", 2))
        assert await hub.seqs("a") == [1, 2]


async def commits_called_before_a_failure_was_raised_fail_with_it(harness: StoreHarness) -> None:
    # They may build on the failed one: written alone, they would leave a hole in a history.
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"))
        before = asyncio.ensure_future(hub.commit(next_turn("a", 2)))
        failing = asyncio.ensure_future(hub.commit(next_turn("unknown", 1)))
        behind = [asyncio.ensure_future(hub.commit(next_turn("a", seq))) for seq in (3, 4)]
        outcomes = await asyncio.gather(before, failing, *behind, return_exceptions=True)
        assert not isinstance(outcomes[0], BaseException), outcomes[0]
        assert isinstance(outcomes[1], EngineInvariantError), outcomes[1]
        assert all(isinstance(outcome, StoreUnavailableError) for outcome in outcomes[2:]), outcomes
        assert await hub.seqs("a") == [1, 2]
        await hub.commit(next_turn("a", 3))
        assert await hub.seqs("a") == [1, 2, 3]


async def what_only_engines_of_a_shared_hub_need_is_refused_elsewhere(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        offer, claim = activity("t1"), Claim("t1", 1)
        commits = [
            Commit(leases=hub.leases, turns=[first_turn("a")], owner="engine-1"),
            Commit(leases=hub.leases, turns=[first_turn("b")], offered=[offer]),
            Commit(leases=hub.leases, turns=[first_turn("c")], settled=[claim]),
            Commit(leases=hub.leases, turns=[first_turn("d")], withdrawn=["d"]),
        ]
        for commit in commits:
            if hub.store.sharing is not None:
                await hub.store.commit(commit)
                continue
            async with refused(EngineInvariantError):
                await hub.store.commit(commit)
        assert await hub.store.count() == ({} if hub.store.sharing is None else {"Running": 4})
        await hub.commit(first_turn("e"))


CHECKS = (
    the_receipt_opens_what_was_sealed_with_the_commit,
    a_commit_may_be_empty,
    commits_apply_in_the_order_of_their_calls,
    a_cancelled_wait_leaves_the_order_of_commits_alone,
    turns_of_one_instance_in_one_commit_apply_in_order,
    reset_deletes_the_older_segments_only,
    within_a_generation_only_what_moves_changes_in_a_row,
    an_id_that_is_used_again_may_start_its_numbers_again,
    delete_removes_row_segments_and_messages,
    an_instance_can_be_deleted_and_made_again_in_one_commit,
    vacate_removes_row_and_segments_but_leaves_messages,
    deleting_an_unknown_instance_does_nothing,
    a_message_is_stored_once_until_it_is_consumed,
    a_segment_that_would_damage_a_history_is_refused_with_its_whole_commit,
    commits_called_before_a_failure_was_raised_fail_with_it,
    what_only_engines_of_a_shared_hub_need_is_refused_elsewhere,
)
