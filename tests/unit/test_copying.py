"""``perdure store copy`` without the command: what is copied, what is refused, and what an interruption leaves."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

import perdure.engine.copying as copying
from perdure.core.ids import partition_of
from perdure.engine.copying import CopyMismatchError, CopyRefusedError, CopySummary, copy_hub
from perdure.store.contract import (
    Beat,
    Claim,
    Commit,
    HubStore,
    InstanceQuery,
    Lease,
    Member,
    OfferedActivity,
    Segment,
    StoredMessage,
    TurnRecord,
)
from perdure.store.errors import HubInUseError, LeaseLostError, StoreUnavailableError
from perdure.store.memory import MemoryStore
from perdure.store.memory_data import MemoryData
from perdure.store.sqlite import SqliteStore
from perdure.testing.faults import FaultyStore, incremental
from perdure.testing.store_checks.harness import row

NOW = 1_700_000_000_000_000


def _turns(instance_id: str, seqs: Sequence[int], partitions: int, **changes: object) -> list[TurnRecord]:
    """An instance with these segments."""
    made = row(instance_id, partition=partition_of(instance_id, partitions), first_seq=seqs[0], **changes)
    first, *others = (Segment(seq, NOW + seq, f"turn {seq} of {instance_id}".encode()) for seq in seqs)
    return [
        TurnRecord(instance_id=instance_id, row=made, segment=first, reset=True),
        *(TurnRecord(instance_id=instance_id, segment=segment) for segment in others),
    ]


def _message(message_id: str, instance_id: str, partitions: int) -> StoredMessage:
    return StoredMessage(message_id, instance_id, partition_of(instance_id, partitions), f"body of {message_id}".encode())


async def _write(store: HubStore, *turns: TurnRecord, **parts: object) -> None:
    info = await store.open()
    leases = await store.acquire("engine", range(info.partition_count), 10**9)
    await store.commit(Commit(leases=leases, turns=turns, **parts))  # type: ignore[arg-type]
    await store.release(leases)
    await store.close()


async def _filled(data: MemoryData, partitions: int = 16, *, shared: bool = False) -> MemoryStore:
    """A hub with an instance in every state that matters."""
    store = MemoryStore(data, partition_count=partitions, shared=shared)
    await _write(
        store,
        *_turns("running", (1, 2, 3), partitions, pending=2, wake_at=NOW + 99, custom_status='"half"', tags={"team": "a"}),
        *_turns("ended", (1, 2), partitions, status="Completed", parent_id="running"),
        *_turns("eternal", (40, 41), partitions, generation=7, version="2"),
        *_turns("@counter@x", (9,), partitions),
        outbox=[_message("m1", "running", partitions), _message("m2", "to-be-started", partitions)],
    )
    return store


async def _content(store: HubStore) -> dict[str, object]:
    """All that a hub holds, apart from where."""
    info = await store.open()
    records = await store.list(InstanceQuery(limit=10_000))
    content: dict[str, object] = {"partitions": {record.row.partition for record in records} <= set(range(info.partition_count))}
    for record in records:
        instance_id = record.row.instance_id
        assert record.row.partition == partition_of(instance_id, info.partition_count)
        columns = {name: getattr(record.row, name) for name in record.row.__struct_fields__ if name != "partition"}
        content[instance_id] = (columns, record.updated_at, list(await store.history(instance_id)))
    for message in await store.inbox(range(info.partition_count), (), 10_000):
        assert message.partition == partition_of(message.instance_id, info.partition_count)
        content[f"message {message.message_id}"] = (message.instance_id, message.body)
    await store.close()
    return content


def _quiet(_: CopySummary) -> None:
    pass


async def _copy(source: HubStore, target: HubStore) -> CopySummary:
    return await copy_hub(source, target, progress=_quiet)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("partitions", [1, 5, 16, 40])
async def test_everything_is_in_the_target_whatever_its_number_of_partitions(partitions: int, shared: bool) -> None:
    source = await _filled(MemoryData(), shared=shared)
    target = MemoryStore(MemoryData(), partition_count=partitions, shared=shared)
    before = await _content(source)
    summary = await _copy(source, target)
    assert await _content(target) == before == await _content(source)
    assert (summary.instances, summary.skipped, summary.verified) == (4, 0, 4)
    assert (summary.segments, summary.messages) == (8, 2)
    assert summary.bytes == sum(len(f"turn {seq} of {name}") for name, seq in _SEGMENTS) + 2 * len("body of m1")


_SEGMENTS = [
    *(("running", seq) for seq in (1, 2, 3)),
    *(("ended", seq) for seq in (1, 2)),
    *(("eternal", seq) for seq in (40, 41)),
    ("@counter@x", 9),
]


async def test_an_entity_is_copied_whose_first_operation_is_gone(tmp_path: Path) -> None:
    """Each of its operations takes the place of the one before, in the same generation."""
    data = MemoryData()
    source = await _filled(data)
    (entity,) = [turn for turn in _turns("@counter@x", (10,), 16) if turn.row is not None]
    assert entity.row is not None
    await _write(source, msgspec.structs.replace(entity, row=msgspec.structs.replace(entity.row, first_seq=9)))
    target = SqliteStore(tmp_path / "hub.db")
    await _copy(source, target)
    assert await _content(target) == await _content(source)


async def test_copying_again_writes_nothing() -> None:
    source, target = await _filled(MemoryData()), MemoryStore(MemoryData())
    await _copy(source, target)
    again = await _copy(source, target)
    assert (again.instances, again.skipped, again.segments, again.messages, again.bytes, again.verified) == (4, 4, 0, 0, 0, 4)


@pytest.mark.parametrize("shared", [False, True])
async def test_both_hubs_are_free_afterwards(shared: bool) -> None:
    data = MemoryData(), MemoryData()
    await _copy(await _filled(data[0], shared=shared), MemoryStore(data[1], shared=shared))
    for each in data:
        assert {lease.owner for lease in each.leases.values()} == {""}
        assert not each.members


async def test_an_interruption_anywhere_is_made_good_by_copying_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_BATCH_BYTES", 1)
    interrupted = 0
    for when in ("before", "after"):
        for plan in incremental("commit", "history", "list", "inbox", when=when):
            source, target = await _filled(MemoryData()), MemoryData()
            expected = await _content(source)
            try:
                await _copy(source, FaultyStore(MemoryStore(target), plan))
            except StoreUnavailableError:
                interrupted += 1
            await _copy(source, MemoryStore(target))
            assert await _content(MemoryStore(target)) == expected == await _content(source)
    assert interrupted > 20


async def test_a_copy_that_is_cancelled_gives_both_hubs_back() -> None:
    data = MemoryData(), MemoryData()
    source, target = await _filled(data[0], shared=True), MemoryStore(data[1], shared=True)

    def cancel(_: CopySummary) -> None:
        copying_now.cancel()

    copying_now = asyncio.ensure_future(copy_hub(source, target, progress=cancel))
    with pytest.raises(asyncio.CancelledError):
        await copying_now
    for each in data:
        assert {lease.owner for lease in each.leases.values()} == {""}
        assert not each.members


async def test_the_source_may_go_on_between_two_runs() -> None:
    """Also consume messages that an earlier run has copied: they must not be handled twice."""
    data, target = MemoryData(), MemoryStore(MemoryData(), partition_count=3)
    source = await _filled(data)
    await _copy(source, target)
    await _write(
        source,
        TurnRecord(instance_id="running", segment=Segment(4, NOW + 4, b"Go has come")),
        *_turns("to-be-started", (1,), 16),
        *_turns("eternal", (42,), 16, generation=8),
        consumed=["m1", "m2"],
        outbox=[_message("m3", "eternal", 16)],
    )
    summary = await _copy(source, target)
    assert await _content(target) == await _content(source)
    assert (summary.instances, summary.skipped, summary.messages) == (5, 2, 1)


async def test_and_back_again_after_the_target_has_run() -> None:
    first, second = MemoryStore(MemoryData()), MemoryStore(MemoryData(), partition_count=4)
    await _copy(await _filled(MemoryData()), first)
    await _copy(first, second)
    await _write(second, TurnRecord(instance_id="running", segment=Segment(4, NOW + 4, b"Go has come")), consumed=["m1"])
    await _copy(second, first)
    assert await _content(first) == await _content(second)


_GONE_ON = TurnRecord(instance_id="running", segment=Segment(4, NOW + 4, b"on its own"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"turns": _turns("other", (1,), 16)}, "holds 1 instance ('other') that the source does not have"),
        (
            {"turns": [turn for name in "vwxyz" for turn in _turns(name, (1,), 16)]},
            "5 instances ('v', 'w', 'x' and others) that the source does not have",
        ),
        ({"turns": [_GONE_ON]}, "in the target, 1 instance ('running') went on after the source had stopped"),
        ({"outbox": [_message("m9", "ended", 16)]}, "holds messages that the source does not have, for 1 instance ('ended')"),
        ({"outbox": [_message("m9", "new", 16)]}, "holds messages that the source does not have, for 1 instance ('new')"),
    ],
)
async def test_a_target_with_a_life_of_its_own_is_refused_untouched(changes: dict[str, Sequence[TurnRecord]], told: str) -> None:
    source, target = await _filled(MemoryData()), MemoryStore(MemoryData())
    await _copy(source, target)
    turns = changes.get("turns", ())
    await _write(target, *turns, **{name: value for name, value in changes.items() if name != "turns"})
    # Of the source too, so that there would be something to write.
    await _write(source, *_turns("added", (1,), 16))
    before = await _content(target)
    with pytest.raises(CopyRefusedError, match=r"copy into an empty hub\. Nothing was written") as caught:
        await _copy(source, target)
    assert told in caught.value.message
    assert await _content(target) == before


async def test_an_instance_that_only_looks_the_same_is_written_again() -> None:
    source, data = await _filled(MemoryData()), MemoryData()
    await _copy(source, MemoryStore(data))
    known = data.instances["ended"].segments
    known[1] = Segment(1, known[1].at, known[1].events.upper())
    summary = await _copy(source, MemoryStore(data))
    assert summary.skipped == 3
    assert await _content(MemoryStore(data)) == await _content(source)


async def test_many_instances_come_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """With pages of the two hubs that end at different instances."""
    monkeypatch.setattr(copying, "_PAGE", 7)
    data = MemoryData()
    source, target = MemoryStore(MemoryData()), MemoryStore(data)
    names = [f"i{number:03}" for number in range(100)]
    await _write(target, *(turn for name in names[3::3] for turn in _turns(name, (1,), 16)))
    await _write(source, *(turn for name in names for turn in _turns(name, (1, 2), 16)))
    await _write(source, outbox=[_message(f"m{number}", "i001", 16) for number in range(20)])
    shown: list[int] = []
    summary = await copy_hub(source, target, progress=lambda summary: shown.append(summary.instances))
    assert (summary.instances, summary.skipped, summary.messages) == (100, 0, 20)
    assert shown == sorted(shown)
    assert len(set(shown)) > 10
    assert await _content(target) == await _content(source)


class _Watched(MemoryStore):
    """Tells its batches, and calls ``before_commit``."""

    def __init__(self, data: MemoryData, *, before_commit: Callable[[], None] = lambda: None, **options: object) -> None:
        super().__init__(data, **options)  # type: ignore[arg-type]
        self.commits: list[Commit] = []
        self._before_commit = before_commit

    async def commit(self, commit: Commit):
        self._before_commit()
        self.commits.append(commit)
        return await super().commit(commit)


async def test_a_commit_holds_whole_instances_and_not_many_bytes_more_than_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_BATCH_BYTES", 1000)
    source, target = MemoryStore(MemoryData()), _Watched(MemoryData())
    await _write(source, *(turn for number in range(100) for turn in _turns(f"i{number}", (1, 2, 3), 16)))
    await _copy(source, target)
    assert len(target.commits) > 3
    for commit in target.commits:
        size = sum(len(turn.segment.events) for turn in commit.turns if turn.segment is not None)
        assert size < 1000 + 3 * len("turn 1 of i99")
        assert sum(turn.segment is not None for turn in commit.turns) % 3 == 0


async def test_what_was_offered_for_an_older_state_is_withdrawn() -> None:
    source, data = await _filled(MemoryData(), shared=True), MemoryData()
    target = MemoryStore(data, shared=True)
    await _copy(source, target)
    partition = partition_of("running", 16)
    offer = OfferedActivity(activity_id="a", instance_id="running", partition=partition, name="say", body=b"")
    await _write(target, offered=[offer])
    await _write(source, _GONE_ON)
    await _copy(source, target)
    assert not data.activities


# --- other engines ------------------------------------------------------------------------------------------------


async def test_a_hub_that_belongs_to_an_engine_is_not_copied() -> None:
    for used in ("source", "target"):
        hubs = {"source": MemoryData(), "target": MemoryData()}
        await _filled(hubs["source"])
        engine = MemoryStore(hubs[used])
        info = await engine.open()
        await engine.acquire("engine-1", range(info.partition_count), 10**9)
        with pytest.raises(HubInUseError, match=f"the {used} is in use by another engine. Stop"):
            await _copy(MemoryStore(hubs["source"]), MemoryStore(hubs["target"]))


async def test_whoever_is_at_a_shared_hub_is_named() -> None:
    hubs = {"source": MemoryData(), "target": MemoryData()}
    await _filled(hubs["source"], shared=True)
    engine = MemoryStore(hubs["target"], shared=True)
    await engine.open()
    (lease,) = await engine.acquire("host-a:77", [3], 10**9)
    stores = [MemoryStore(data, shared=True) for data in hubs.values()]
    with pytest.raises(HubInUseError, match="the target is in use by host-a:77"):
        await _copy(*stores)
    await engine.release([lease])
    await engine.sharing.beat(Member(owner="host-b:5", owns_partitions=False, runs_activities=True), (), (), 10**9)  # type: ignore[union-attr]
    with pytest.raises(HubInUseError, match=r"the target is in use by host-b:5\. .*What was killed counts for up to 10 s more"):
        await _copy(*stores)
    assert [each.members.keys() for each in hubs.values()] == [set(), {"host-b:5"}]


class _Slow(MemoryStore):
    """A shared hub whose clock stands still; its histories come once it was renewed ``renewals`` times."""

    def __init__(self, data: MemoryData, renewals: int, renewed: Callable[[], None] = lambda: None) -> None:
        super().__init__(data, clock=lambda: NOW, shared=True)
        self._renewals = renewals
        self._renewed = asyncio.Event()
        inner = self._sharing
        assert inner is not None
        beat = inner.beat

        async def counted(member: Member, leases: Sequence[Lease], claims: Sequence[Claim], duration: int) -> Beat:
            if leases:
                self._renewals -= 1
                renewed()
                if self._renewals == 0:
                    self._renewed.set()
            return await beat(member, leases, claims, duration)

        inner.beat = counted  # type: ignore[method-assign]

    async def history(self, instance_id: str) -> Sequence[Segment]:
        await self._renewed.wait()
        return await super().history(instance_id)


_SHORT = timedelta(microseconds=3)


async def test_leases_are_renewed_as_long_as_it_takes() -> None:
    source, target = MemoryData(), MemoryData()
    await _filled(source, shared=True)
    await copy_hub(_Slow(source, 10), MemoryStore(target, clock=lambda: NOW, shared=True), progress=_quiet, lease=_SHORT)
    assert await _content(MemoryStore(target)) == await _content(MemoryStore(source))


@pytest.mark.parametrize("lost", [False, True])
async def test_an_engine_that_starts_in_the_middle_ends_the_copy(lost: bool) -> None:
    source, target = MemoryData(), MemoryData()
    await _filled(source, shared=True)
    visitor = MemoryStore(source, clock=lambda: NOW, shared=True)
    await visitor.open()
    assert visitor.sharing is not None

    def come() -> None:
        source.members["visitor"] = (Member(owner="visitor", owns_partitions=True, runs_activities=True), NOW + 1)
        if lost:
            held = source.leases[5]
            source.leases[5] = Lease(5, held.epoch + 1, "visitor", NOW + 1)

    error, told = (LeaseLostError, "5") if lost else (HubInUseError, "the source is in use by visitor")
    with pytest.raises(error, match=told):
        await copy_hub(_Slow(source, 1, come), MemoryStore(target, clock=lambda: NOW, shared=True), progress=_quiet, lease=_SHORT)
    assert not target.instances


@pytest.mark.parametrize("stays", [False, True])
async def test_who_only_looks_may_come_if_it_goes_again(stays: bool) -> None:
    """It could still send something: what comes after the comparison would be missing in the target."""
    source, target = MemoryData(), MemoryData()
    await _filled(source, shared=True)
    looks = Member(owner="visitor", owns_partitions=False, runs_activities=False)
    renewals = iter(range(100))

    def come_and_go() -> None:
        source.members["visitor"] = (looks, NOW + 1)
        if next(renewals) > 1 and not stays:
            del source.members["visitor"]

    copied = copy_hub(
        _Slow(source, 5, come_and_go), MemoryStore(target, clock=lambda: NOW, shared=True), progress=_quiet, lease=_SHORT
    )
    if stays:
        with pytest.raises(HubInUseError, match="the source is in use by visitor"):
            await copied
    else:
        await copied
        assert await _content(MemoryStore(target)) == await _content(MemoryStore(source))


@pytest.mark.parametrize("what", ["instance", "message"])
async def test_what_changes_behind_the_back_of_the_copy_is_found_out(what: str) -> None:
    """A client of the source that nobody saw, or a target that doesn't keep what it is given."""
    source, target = MemoryData(), MemoryData()

    def change(summary: CopySummary) -> None:
        if what == "instance" and "ended" in target.instances:
            segments = target.instances["ended"].segments
            segments[2] = Segment(2, segments[2].at, b"torn")
        elif what == "message" and summary.phase == "verifying":
            source.messages["m3"] = _message("m3", "running", 16)

    told = r"differ in 1 instance \('ended'\)" if what == "instance" else "hold different messages"
    with pytest.raises(CopyMismatchError, match=told):
        await copy_hub(await _filled(source), MemoryStore(target), progress=change)
