"""Moves a hub to another store: afterwards the target holds exactly what the source holds, and the source is as it was.

Nothing runs meanwhile. A copy that was interrupted is taken up again by copying again: what is in the target already stays.
"""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from perdure.core.errors import PerdureError
from perdure.core.ids import partition_of
from perdure.engine.held_hub import LEASE, HeldHub, held
from perdure.store.contract import (
    Commit,
    HubStore,
    InstanceQuery,
    InstanceRecord,
    InstanceRow,
    Segment,
    StoredMessage,
    TurnRecord,
)

_PAGE = 500
_AT_ONCE = 32
"""Histories that are read side by side."""
_BATCH_BYTES = 1024 * 1024
_BATCH_INSTANCES = 1000
_NAMED = 3
"""Of many that are wrong, so many are named."""


class CopyRefusedError(PerdureError):
    """The target of a copy holds something that isn't an earlier state of the source. Nothing was written."""

    code = "PD3101"


class CopyMismatchError(PerdureError):
    """After a copy, source and target differ: one of them was changed meanwhile. Copy again before the target is used."""

    code = "PD3102"


class CopySummary(msgspec.Struct, kw_only=True):
    """What a copy has done so far."""

    phase: str = "comparing"
    instances: int = 0
    """Orchestrations and entities that are in the target as they are in the source."""
    skipped: int = 0
    """Of those, the ones that were there already."""
    segments: int = 0
    """Written by this run, as are messages and bytes."""
    messages: int = 0
    bytes: int = 0
    """Of the events of histories and the bodies of messages."""
    verified: int = 0
    """Instances that were read again from both stores, and are the same."""


async def copy_hub(
    source: HubStore, target: HubStore, *, progress: Callable[[CopySummary], None], lease: timedelta = LEASE
) -> CopySummary:
    """Guarantees on return that the target holds the instances, histories and stored messages of the source, and nothing else.

    Both stores are opened and closed by it. ``progress`` is called now and then. Interrupted anywhere, it leaves the source as it
    was and a target that isn't complete, which another call completes.

    Raises:
        HubInUseError: an engine works on one of them.
        CopyRefusedError: the target has a life of its own.
        CopyMismatchError: what was written isn't what the source holds now.
        StoreError: one of them can't be opened, or fails.
    """
    async with held(source, "source", lease=lease) as origin, held(target, "target", lease=lease) as goal:
        copy = _Copy(origin, goal, progress)
        await copy.check_target()
        await copy.instances()
        await copy.messages()
        await copy.verify()
        return copy.summary


@dataclass(slots=True)
class _Batch:
    """The next commit to the target."""

    turns: list[TurnRecord] = field(default_factory=list[TurnRecord])
    outbox: list[StoredMessage] = field(default_factory=list[StoredMessage])
    consumed: list[str] = field(default_factory=list[str])
    replaced: list[str] = field(default_factory=list[str])
    partitions: set[int] = field(default_factory=set[int])
    instances: int = 0
    bytes: int = 0

    @property
    def full(self) -> bool:
        """Whether it has to be written before more is put in."""
        return self.bytes >= _BATCH_BYTES or self.instances + len(self.outbox) >= _BATCH_INSTANCES


class _Copy:
    def __init__(self, source: HeldHub, target: HeldHub, progress: Callable[[CopySummary], None]) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._batch = _Batch()
        self._obsolete: dict[str, list[str]] = {}
        """Messages that only the target has, by the instance that they are for. They go when it is written."""
        self._known_messages: dict[str, bytes] = {}
        self.summary = CopySummary()

    async def check_target(self) -> None:
        """Refuses a target of which a part would be lost or would stay behind."""
        self._known_messages = await _message_digests(self._target)
        obsolete = await self._obsolete_messages()
        alien, newer = _Findings(), _Findings()
        async for pairs in _side_by_side(self._source, self._target):
            for instance_id, ours, theirs in pairs:
                if ours is None:
                    alien.add(instance_id)
                elif theirs is None or self._differs(ours, theirs):
                    if instance_id in obsolete:
                        self._obsolete[instance_id] = obsolete.pop(instance_id)
                    if theirs is not None and theirs.updated_at > ours.updated_at:
                        newer.add(instance_id)
        rule = (
            "A target may hold nothing but an earlier state of the source, so that nothing is lost: copy into an empty hub. "
            "Nothing was written."
        )
        if alien:
            raise CopyRefusedError(f"the target holds {alien.told('instance')} that the source does not have. {rule}")
        if newer:
            raise CopyRefusedError(f"in the target, {newer.told('instance')} went on after the source had stopped. {rule}")
        if obsolete:
            waiting = _Findings()
            for instance_id in obsolete:
                waiting.add(instance_id)
            raise CopyRefusedError(
                f"the target holds messages that the source does not have, for {waiting.told('instance')}. {rule}"
            )

    async def _obsolete_messages(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        if self._known_messages:
            ours = await _message_digests(self._source)
            async for page in _messages(self._target):
                for message in page:
                    if message.message_id not in ours:
                        found[message.instance_id].append(message.message_id)
        return found

    async def instances(self) -> None:
        """Writes those that are missing or different, each of them whole: a commit holds all of an instance."""
        self.summary.phase = "copying"
        async for pairs in _side_by_side(self._source, self._target):
            for some in _chunks(pairs):
                for record, history, same in await asyncio.gather(*(self._compared(ours, theirs) for _, ours, theirs in some)):
                    self.summary.instances += 1
                    if same:
                        self.summary.skipped += 1
                    else:
                        self._add_instance(record.row, history)
                        if self._batch.full:
                            await self._write()
            self._progress(self.summary)
        await self._write()

    async def _compared(
        self, ours: InstanceRecord | None, theirs: InstanceRecord | None
    ) -> tuple[InstanceRecord, Sequence[Segment], bool]:
        assert ours is not None, "check_target has refused instances that only the target has"
        instance_id = ours.row.instance_id
        history = await self._source.store.history(instance_id)
        if theirs is None or self._differs(ours, theirs):
            return ours, history, False
        return ours, history, _digest(history) == _digest(await self._target.store.history(instance_id))

    def _add_instance(self, row: InstanceRow, history: Sequence[Segment]) -> None:
        batch, instance_id = self._batch, row.instance_id
        row = self._moved(row)
        # The row alone, so that it is written whole: the history of an entity doesn't begin with its generation's first segment.
        batch.turns.append(TurnRecord(instance_id=instance_id, row=row, reset=True))
        batch.turns.extend(TurnRecord(instance_id=instance_id, segment=segment) for segment in history)
        batch.consumed.extend(self._obsolete.get(instance_id, ()))
        batch.replaced.append(instance_id)
        batch.partitions.add(row.partition)
        batch.instances += 1
        batch.bytes += sum(len(segment.events) for segment in history)
        self.summary.segments += len(history)

    async def messages(self) -> None:
        """Writes the stored messages that are missing. Nothing handles them before a host has started on the target."""
        async for page in _messages(self._source):
            for message in page:
                if message.message_id in self._known_messages:
                    continue
                partition = partition_of(message.instance_id, self._target.partition_count)
                self._batch.outbox.append(msgspec.structs.replace(message, partition=partition))
                self._batch.bytes += len(message.body)
                self.summary.messages += 1
                if self._batch.full:
                    await self._write()
            self._progress(self.summary)
        await self._write()

    async def _write(self) -> None:
        self._source.check()
        self._target.check()
        batch, self._batch = self._batch, _Batch()
        if not batch.turns and not batch.outbox:
            return
        await self._target.store.commit(
            Commit(
                leases=[lease for lease in self._target.leases if lease.partition in batch.partitions],
                turns=batch.turns,
                outbox=batch.outbox,
                consumed=batch.consumed,
                # Whatever an engine had offered there belongs to the state that is replaced.
                withdrawn=() if self._target.store.sharing is None else batch.replaced,
            )
        )
        self.summary.bytes += batch.bytes
        self._progress(self.summary)

    async def verify(self) -> None:
        """Reads both stores again."""
        self.summary.phase = "verifying"
        different = _Findings()
        async for pairs in _side_by_side(self._source, self._target):
            for some in _chunks(pairs):
                same = await asyncio.gather(*(self._is_same(ours, theirs) for _, ours, theirs in some))
                for (instance_id, _, _), each in zip(some, same, strict=True):
                    self.summary.verified += each
                    if not each:
                        different.add(instance_id)
            self._progress(self.summary)
        again = "Something has changed one of them meanwhile: stop it, and copy again."
        if different:
            raise CopyMismatchError(f"after the copy, source and target differ in {different.told('instance')}. {again}")
        if await _message_digests(self._source) != await _message_digests(self._target):
            raise CopyMismatchError(f"after the copy, source and target hold different messages. {again}")
        await self._source.confirm()
        await self._target.confirm()

    async def _is_same(self, ours: InstanceRecord | None, theirs: InstanceRecord | None) -> bool:
        return ours is not None and theirs is not None and (await self._compared(ours, theirs))[2]

    def _differs(self, ours: InstanceRecord, theirs: InstanceRecord) -> bool:
        return (self._moved(ours.row), ours.updated_at) != (theirs.row, theirs.updated_at)

    def _moved(self, row: InstanceRow) -> InstanceRow:
        return msgspec.structs.replace(row, partition=partition_of(row.instance_id, self._target.partition_count))


class _Findings:
    """How many there are, and the first of them."""

    def __init__(self) -> None:
        self._count = 0
        self._first: list[str] = []

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, instance_id: str) -> None:
        self._count += 1
        if self._count <= _NAMED:
            self._first.append(f"'{instance_id}'")

    def told(self, noun: str) -> str:
        """Such as ``5 instances ('a', 'b', 'c' and others)``."""
        more = " and others" if self._count > _NAMED else ""
        return f"{self._count} {noun}{'s' if self._count > 1 else ''} ({', '.join(self._first)}{more})"


_Pair = tuple[str, InstanceRecord | None, InstanceRecord | None]


async def _side_by_side(source: HeldHub, target: HeldHub) -> AsyncGenerator[list[_Pair]]:
    """All instances in the order of their ids, in groups: what the source has of each, and what the target has."""
    ours, theirs = _Rows(source.store), _Rows(target.store)
    while True:
        await ours.fill()
        await theirs.fill()
        if not ours.page and not theirs.page:
            return
        # Up to where both pages reach; a store that has no more reaches as far as one likes.
        ends = [rows.page[-1].row.instance_id for rows in (ours, theirs) if rows.page and not rows.complete]
        end = min(ends, default=None)
        left, right = ours.until(end), theirs.until(end)
        yield [(instance_id, left.get(instance_id), right.get(instance_id)) for instance_id in sorted({*left, *right})]


class _Rows:
    """The rows of one store, page by page."""

    def __init__(self, store: HubStore) -> None:
        self._store = store
        self._after: str = ""
        self.page: list[InstanceRecord] = []
        self.complete = False
        """Whether ``page`` holds the last row."""

    async def fill(self) -> None:
        """Reads the next page, where the one before it is used up."""
        if not self.page and not self.complete:
            self.page = list(await self._store.list(InstanceQuery(limit=_PAGE, after=self._after)))
            self.complete = len(self.page) < _PAGE
            if self.page:
                self._after = self.page[-1].row.instance_id

    def until(self, end: str | None) -> dict[str, InstanceRecord]:
        """Takes the rows up to ``end`` off the page; all where it is ``None``."""
        taken = [record for record in self.page if end is None or record.row.instance_id <= end]
        self.page = self.page[len(taken) :]
        return {record.row.instance_id: record for record in taken}


async def _messages(hub: HeldHub) -> AsyncGenerator[Sequence[StoredMessage]]:
    known: set[str] = set()
    while page := await hub.store.inbox(hub.partitions, known, _PAGE):
        yield page
        known.update(message.message_id for message in page)


async def _message_digests(hub: HeldHub) -> dict[str, bytes]:
    """By message id: what stands for recipient and body."""
    return {
        message.message_id: hashlib.sha256(message.instance_id.encode() + b"\0" + message.body).digest()
        async for page in _messages(hub)
        for message in page
    }


def _digest(history: Sequence[Segment]) -> bytes:
    digest = hashlib.sha256()
    for segment in history:
        digest.update(b"%d %d %d " % (segment.seq, segment.at, len(segment.events)))
        digest.update(segment.events)
    return digest.digest()


def _chunks(pairs: Sequence[_Pair]) -> Iterator[Sequence[_Pair]]:
    return (pairs[start : start + _AT_ONCE] for start in range(0, len(pairs), _AT_ONCE))
