"""What the engine reads: hydration, recovery, timers."""

# ruff: noqa: D103 - the name of each check is the sentence that it proves

from perdure.store.contract import TurnRecord
from perdure.testing.store_checks.harness import StoreHarness, first_turn, message, next_turn, opened, row, segment


async def load_gives_rows_and_histories_of_the_known_ids(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        full = row("b", version="1.2", custom_status='{"at":1}', tags={"team": "ops"}, parent_id="a", pending=3, wake_at=99)
        await hub.commit(first_turn("a"), TurnRecord(instance_id="b", row=full, segment=segment(1)), next_turn("a", 2))
        loaded = await hub.store.load(["b", "unknown", "a"])
        assert set(loaded) == {"a", "b"}
        assert loaded["a"].row == row("a")
        assert loaded["a"].segments == [segment(1), segment(2)]
        assert loaded["b"].row == full
        assert loaded["b"].segments == [segment(1)]
        assert await hub.store.load([]) == {}


async def load_leaves_the_histories_of_ended_instances_alone(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        ended = ("Completed", "Failed", "Terminated", "Canceled")
        going = ("Running", "Pending", "Suspended", "ContinuedAsNew")
        for status in (*ended, *going):
            await hub.commit(first_turn(status, status=status))
        loaded = await hub.store.load([*ended, *going])
        assert {key: len(instance.segments) for key, instance in loaded.items()} == dict.fromkeys(ended, 0) | dict.fromkeys(
            going, 1
        )
        # What was left out is still there for queries.
        assert await hub.seqs("Completed") == [1]


async def load_gives_the_current_generation_only(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"), next_turn("a", 2), TurnRecord(instance_id="a", row=row("a", first_seq=2)))
        assert (await hub.store.load(["a"]))["a"].segments == [segment(2)]
        assert await hub.seqs("a") == [2]


async def a_long_history_comes_back_in_order(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"), first_turn("b"))
        for start in range(2, 1002, 100):
            await hub.commit(*(next_turn(key, seq) for seq in range(start, start + 100) for key in ("a", "b")))
        loaded = await hub.store.load(["a", "b"])
        assert loaded["a"].segments == loaded["b"].segments == [segment(seq) for seq in range(1, 1002)]


async def payloads_come_back_byte_for_byte(harness: StoreHarness) -> None:
    payloads = [b"", bytes(range(256)), "grün 🚀 \\u0000".encode(), b"\xff\xfe\x00\xc3", b"x" * (2 << 20), b""]
    async with opened(harness) as hub:
        await hub.commit(
            TurnRecord(instance_id="a", row=row("a")), TurnRecord(instance_id="e", row=row("e"), segment=segment(1, b""))
        )
        for seq, payload in enumerate(payloads, 1):
            await hub.commit(TurnRecord(instance_id="a", segment=segment(seq, payload)))
        wanted = [segment(seq, payload) for seq, payload in enumerate(payloads, 1)]
        loaded = await hub.store.load(["a", "e"])
        assert loaded["a"].segments == wanted
        assert loaded["e"].segments == [segment(1, b"")]
        assert await hub.store.history("a") == wanted
        record = await hub.store.get("a", with_payloads=True)
        assert record is not None
        assert (record.first, record.last) == (wanted[0], wanted[-1])


async def texts_come_back_character_for_character(harness: StoreHarness) -> None:
    texts = [
        "grün",
        "日本語 🚀",
        'it\'s "quoted" \\ / \t\n',
        "100%_*?[a]",
        "123",
        "1e5",
        "null",
        "true",
        '{"a":[1]}',
        "é",
        "e\u0301",
    ]
    async with opened(harness) as hub:
        rows = [
            row(text, name=text, version=text, custom_status=text, parent_id=text, execution_id=text, tags={text: text})
            for text in texts
        ]
        await hub.commit(*(TurnRecord(instance_id=made.instance_id, row=made, segment=segment(1)) for made in rows))
        await hub.commit(*(next_turn(text, 2) for text in texts), outbox=[message(text, text) for text in texts])
        loaded = await hub.store.load(texts)
        assert [loaded[text].row for text in texts] == rows
        assert all(len(loaded[text].segments) == 2 for text in texts)
        assert await hub.store.inbox([0], (), 100) == [message(text, text) for text in sorted(texts)]
        await hub.commit(consumed=texts)
        assert await hub.store.inbox([0], (), 100) == []


async def numbers_come_back_to_the_last_digit(harness: StoreHarness) -> None:
    large = 2**53 + 1
    async with opened(harness) as hub:
        made = row("a", created_at=large, wake_at=large + 2, generation=2**31, first_seq=large)
        await hub.commit(TurnRecord(instance_id="a", row=made, segment=segment(large)))
        loaded = (await hub.store.load(["a"]))["a"]
        assert loaded.row == made
        assert loaded.segments == [segment(large)]
        assert await hub.store.due([0], (large + 1, ""), 10) == [(large + 2, "a")]


async def inbox_is_ordered_by_id_keeps_to_its_partitions_and_leaves_out_what_is_known(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        messages = [message(f"m{number}", partition=number % 2) for number in range(6)]
        await hub.commit(outbox=list(reversed(messages)))
        assert await hub.store.inbox([0, 1], (), 4) == messages[:4]
        assert await hub.store.inbox([0, 1], ["m3", "m0", "unknown"], 3) == [messages[1], messages[2], messages[4]]
        assert await hub.store.inbox([1], (), 10) == messages[1::2]
        assert await hub.store.inbox([0, 1], {stored.message_id for stored in messages}, 4) == []
        # Those that are known may be many more than those that are asked for.
        known = {f"m{number}" for number in range(5_000)} - {"m4"}
        assert await hub.store.inbox([0, 1], known, 1) == [messages[4]]
        assert await hub.store.inbox([], (), 4) == []


async def with_pending_pages_by_id_and_follows_the_row(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(*(first_turn(f"i{number}", partition=number % 2, pending=number % 3) for number in range(6)))
        assert await hub.store.with_pending([0, 1], "", 10) == ["i1", "i2", "i4", "i5"]
        assert await hub.store.with_pending([0, 1], "", 2) == ["i1", "i2"]
        assert await hub.store.with_pending([0, 1], "i2", 10) == ["i4", "i5"]
        assert await hub.store.with_pending([1], "", 10) == ["i1", "i5"]
        await hub.commit(
            TurnRecord(instance_id="i1", row=row("i1", partition=1)),
            TurnRecord(instance_id="i3", row=row("i3", partition=1, pending=1)),
        )
        assert await hub.store.with_pending([1], "", 10) == ["i3", "i5"]


async def due_pages_by_time_then_id_and_follows_the_row(harness: StoreHarness) -> None:
    async with opened(harness) as hub:
        times = {"d": 10, "a": 10, "c": 5, "b": 20, "e": None}
        await hub.commit(*(first_turn(key, wake_at=at, partition=1 if key == "b" else 0) for key, at in times.items()))
        assert await hub.store.due([0, 1], (0, ""), 10) == [(5, "c"), (10, "a"), (10, "d"), (20, "b")]
        assert await hub.store.due([0, 1], (0, ""), 2) == [(5, "c"), (10, "a")]
        assert await hub.store.due([0, 1], (10, "a"), 10) == [(10, "d"), (20, "b")]
        assert await hub.store.due([1], (0, ""), 10) == [(20, "b")]
        await hub.commit(
            TurnRecord(instance_id="c", row=row("c")),
            TurnRecord(instance_id="a", row=row("a", wake_at=30)),
            TurnRecord(instance_id="e", row=row("e", wake_at=1)),
        )
        assert await hub.store.due([0], (0, ""), 10) == [(1, "e"), (10, "d"), (30, "a")]


CHECKS = (
    load_gives_rows_and_histories_of_the_known_ids,
    load_leaves_the_histories_of_ended_instances_alone,
    load_gives_the_current_generation_only,
    a_long_history_comes_back_in_order,
    payloads_come_back_byte_for_byte,
    texts_come_back_character_for_character,
    numbers_come_back_to_the_last_digit,
    inbox_is_ordered_by_id_keeps_to_its_partitions_and_leaves_out_what_is_known,
    with_pending_pages_by_id_and_follows_the_row,
    due_pages_by_time_then_id_and_follows_the_row,
)
