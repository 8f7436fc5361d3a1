"""What clients, the CLI and the dashboard ask."""

# ruff: noqa: D103 - the name of each check is the sentence that it proves

from perdure.store.contract import InstanceQuery, TurnRecord
from perdure.testing.store_checks.harness import OpenHub, StoreHarness, first_turn, next_turn, opened, row, segment


async def _ids(hub: OpenHub, query: InstanceQuery) -> list[str]:
    return [record.row.instance_id for record in await hub.store.list(query)]


async def get_gives_one_instance_or_none(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a", status="Completed"), next_turn("a", 2), next_turn("a", 3))
        assert await hub.store.get("unknown") is None
        assert await hub.store.get("unknown", with_payloads=True) is None
        record = await hub.store.get("a")
        assert record is not None
        assert record.row == row("a", status="Completed")
        assert record.updated_at == segment(3).at
        assert (record.first, record.last) == (None, None)


async def payloads_are_the_first_and_last_segment_of_the_generation(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"), next_turn("a", 2))
        await hub.commit(first_turn("b"), TurnRecord(instance_id="c", row=row("c")))
        await hub.commit(
            TurnRecord(instance_id="a", row=row("a", first_seq=3), segment=segment(3), reset=True),
            next_turn("a", 4),
            next_turn("a", 5),
        )
        records = await hub.store.list(InstanceQuery(with_payloads=True))
        assert [(record.first, record.last) for record in records] == [
            (segment(3), segment(5)),
            (segment(1), segment(1)),
            (None, None),
        ]
        # An instance without segments was last changed when it was made.
        assert [record.updated_at for record in records] == [segment(5).at, segment(1).at, row("c").created_at]
        assert await hub.store.get("a", with_payloads=True) == records[0]


async def list_pages_by_id(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        ids = sorted(["b", "a", "C", "ä", "ab", "a-1", "🚀", "\uffff", "10", "9"])
        await hub.commit(*(first_turn(key) for key in reversed(ids)))
        assert await _ids(hub, InstanceQuery()) == ids
        paged: list[str] = []
        while page := await _ids(hub, InstanceQuery(limit=3, after=paged[-1] if paged else "")):
            assert len(page) <= 3
            paged += page
        assert paged == ids
        assert await _ids(hub, InstanceQuery(limit=0)) == []


async def list_filters_and_all_filters_must_hold(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(
            first_turn("a1", name="Backup", status="Running", created_at=10),
            first_turn("a2", name="Restore", status="Failed", created_at=20),
            first_turn("b1", name="Backup", status="Failed", created_at=30),
            first_turn("b2", name="Check", status="Completed", created_at=40),
        )
        assert await _ids(hub, InstanceQuery(statuses=["Failed", "Completed"])) == ["a2", "b1", "b2"]
        assert await _ids(hub, InstanceQuery(names=["Backup"])) == ["a1", "b1"]
        assert await _ids(hub, InstanceQuery(names=["backup"])) == []
        assert await _ids(hub, InstanceQuery(created_from=20, created_to=30)) == ["a2", "b1"]
        assert await _ids(hub, InstanceQuery(created_from=41)) == []
        assert await _ids(hub, InstanceQuery(id_prefix="b")) == ["b1", "b2"]
        assert await _ids(hub, InstanceQuery(id_prefix="b", after="b1")) == ["b2"]
        assert await _ids(hub, InstanceQuery(statuses=["Failed"], names=["Backup"])) == ["b1"]
        assert await _ids(hub, InstanceQuery(statuses=["Failed"], names=["Backup"], id_prefix="a")) == []
        assert await _ids(hub, InstanceQuery(statuses=["Failed"], limit=1)) == ["a2"]


async def entities_can_be_listed_alone_or_left_out(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        orchestrations, entities = ["!", "1", "?", "A", "Z@", "a@b", "ü"], ["@", "@a@", "@a@1", "@z@\U0010ffff"]
        await hub.commit(*(first_turn(key) for key in orchestrations + entities))
        assert await _ids(hub, InstanceQuery()) == sorted(orchestrations + entities)
        assert await _ids(hub, InstanceQuery(entities=True)) == sorted(entities)
        assert await _ids(hub, InstanceQuery(entities=False)) == sorted(orchestrations)
        assert await _ids(hub, InstanceQuery(entities=True, id_prefix="@a@")) == ["@a@", "@a@1"]
        assert await _ids(hub, InstanceQuery(entities=False, id_prefix="@a@")) == []
        assert await hub.store.count() == {"Running": len(orchestrations)}


async def list_filters_by_the_time_of_the_last_turn(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(
            first_turn("a"), first_turn("b"), next_turn("b", 2), first_turn("c"), next_turn("c", 2), next_turn("c", 3)
        )
        await hub.commit(TurnRecord(instance_id="d", row=row("d")))
        second = segment(2).at
        assert await _ids(hub, InstanceQuery(updated_from=second)) == ["b", "c"]
        assert await _ids(hub, InstanceQuery(updated_to=second)) == ["a", "b", "d"], "without segments it is as old as its row"
        assert await _ids(hub, InstanceQuery(updated_from=second, updated_to=second)) == ["b"]
        assert await _ids(hub, InstanceQuery(updated_from=second, limit=1)) == ["b"], "the limit counts what matches"
        await hub.commit(TurnRecord(instance_id="c", row=row("c", first_seq=4), segment=segment(4), reset=True))
        assert await _ids(hub, InstanceQuery(updated_to=segment(3).at)) == ["a", "b", "d"]


async def a_prefix_is_taken_literally(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        ids = ["100%", "100x", "A_1", "AB1", "a*", "ab", "x[1]", "x1", "\U0010ffff", "\U0010ffffz", "\ud7ffa", "\ue000"]
        await hub.commit(*(first_turn(key) for key in ids))
        for prefix in ("100%", "A_", "a*", "a", "x[", "\U0010ffff", "\ud7ff", "100", "zz"):
            wanted = sorted(key for key in ids if key.startswith(prefix))
            assert await _ids(hub, InstanceQuery(id_prefix=prefix)) == wanted, prefix


async def count_is_per_status(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        assert await hub.store.count() == {}
        await hub.commit(first_turn("a"), first_turn("b"), first_turn("c", status="Failed"))
        assert await hub.store.count() == {"Running": 2, "Failed": 1}
        await hub.commit(TurnRecord(instance_id="a", row=row("a", status="Completed")), TurnRecord(instance_id="c", delete=True))
        assert await hub.store.count() == {"Running": 1, "Completed": 1}


async def history_is_whole_for_ended_instances_too(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a", status="Completed"), next_turn("a", 2))
        assert await hub.store.history("a") == [segment(1), segment(2)]
        assert await hub.store.history("unknown") == []


async def queries_see_every_commit_that_has_returned(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"))
        for seq in range(2, 30):
            await hub.commit(next_turn("a", seq))
            record = await hub.store.get("a")
            assert record is not None
            assert record.updated_at == segment(seq).at
            assert len((await hub.store.load(["a"]))["a"].segments) == seq


CHECKS = (
    get_gives_one_instance_or_none,
    payloads_are_the_first_and_last_segment_of_the_generation,
    list_pages_by_id,
    list_filters_and_all_filters_must_hold,
    entities_can_be_listed_alone_or_left_out,
    list_filters_by_the_time_of_the_last_turn,
    a_prefix_is_taken_literally,
    count_is_per_status,
    history_is_whole_for_ended_instances_too,
    queries_see_every_commit_that_has_returned,
)
