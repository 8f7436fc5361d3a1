"""The memory store: every guarantee of the contract except surviving its process."""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence

import msgspec

from perdure.core.effects import CommitReceipt
from perdure.core.errors import EngineInvariantError
from perdure.store.chain import CommitChain
from perdure.store.clock import Clock, system_clock
from perdure.store.contract import (
    Commit,
    HubInfo,
    InstanceQuery,
    InstanceRecord,
    Lease,
    Segment,
    StoredInstance,
    StoredMessage,
    TurnRecord,
)
from perdure.store.errors import StoreError
from perdure.store.memory_data import MemoryData, MemoryInstance
from perdure.store.memory_sharing import MemorySharing, apply_activities
from perdure.store.refusals import lease_lost, not_open, refuse_sharing, segment_refused
from perdure.store.statuses import TERMINAL_STATUSES

SCHEMA_VERSION = 1
DEFAULT_PARTITION_COUNT = 16


class MemoryStore:
    """A task hub in this process, with the semantics of the durable stores.

    Several stores may be open on one ``MemoryData``. Where all of them are ``shared``, they behave like those of engines on
    one database.
    """

    def __init__(
        self,
        data: MemoryData | None = None,
        *,
        clock: Clock = system_clock,
        partition_count: int = DEFAULT_PARTITION_COUNT,
        shared: bool = False,
    ) -> None:
        self._data = MemoryData() if data is None else data
        self._clock = clock
        self._partition_count = partition_count
        self._open = False
        self._chain = CommitChain()
        self._sharing = MemorySharing(self._opened, clock) if shared else None

    @property
    def sharing(self) -> MemorySharing | None:
        """See ``HubStore.sharing``."""
        return self._sharing

    @property
    def transactions(self) -> None:
        """There is no database that a user's tables could be in."""
        return None

    async def open(self) -> HubInfo:
        """Makes the hub on first use; its partition count then stays, whatever later stores ask for."""
        data = self._data
        if data.partition_count == 0:
            data.partition_count = self._partition_count
            data.leases = {partition: Lease(partition, 0, "", 0) for partition in range(self._partition_count)}
        self._open = True
        if self._sharing is not None:
            data.listeners.add(self._sharing.hear)
        return HubInfo(partition_count=data.partition_count, schema_version=SCHEMA_VERSION)

    async def close(self) -> None:
        """Ends this store; its data stays with whoever holds it."""
        self._open = False
        if self._sharing is not None:
            self._data.listeners.remove(self._sharing.hear)

    async def now(self) -> int:
        """The injected clock's time."""
        self._opened()
        return self._clock()

    async def acquire(self, owner: str, partitions: Sequence[int], duration: int) -> Sequence[Lease]:
        """See ``Store.acquire``."""
        data, now = self._opened(), self._clock()
        taken: list[Lease] = []
        for partition in sorted(set(partitions)):
            held = data.leases.get(partition)
            if held is not None and (held.owner in ("", owner) or held.expires_at <= now):
                data.leases[partition] = Lease(partition, held.epoch + 1, owner, now + duration)
                taken.append(data.leases[partition])
        return taken

    async def release(self, leases: Sequence[Lease]) -> None:
        """See ``Store.release``."""
        data = self._opened()
        for lease in leases:
            if data.current(lease):
                # A released epoch must be refused from now on, even before somebody else takes the partition.
                data.leases[lease.partition] = Lease(lease.partition, lease.epoch + 1, "", 0)

    async def commit(self, commit: Commit) -> CommitReceipt:
        """See ``Store.commit``. Applied when called, reported one turn of the event loop later."""
        chain = self._chain
        try:
            chain.check()
            self._opened()
            self._apply(commit)
        except (StoreError, EngineInvariantError):
            chain.broken = True
            await asyncio.sleep(0)
            if self._chain is chain:
                self._chain = CommitChain()
            raise
        await asyncio.sleep(0)
        return CommitReceipt(commit)

    async def load(self, instance_ids: Sequence[str]) -> dict[str, StoredInstance]:
        """See ``Store.load``."""
        known = self._opened().instances
        return {
            instance_id: StoredInstance(instance.row, [] if instance.row.status in TERMINAL_STATUSES else instance.generation())
            for instance_id in instance_ids
            if (instance := known.get(instance_id)) is not None
        }

    async def inbox(self, partitions: Sequence[int], known: Collection[str], limit: int) -> Sequence[StoredMessage]:
        """See ``Store.inbox``."""
        messages, unwanted = self._opened().messages, frozenset(known)
        wanted = sorted(key for key, message in messages.items() if key not in unwanted and message.partition in partitions)
        return [messages[key] for key in wanted[:limit]]

    async def with_pending(self, partitions: Sequence[int], after: str, limit: int) -> Sequence[str]:
        """See ``Store.with_pending``."""
        rows = (instance.row for instance in self._opened().instances.values())
        return sorted(
            row.instance_id for row in rows if row.pending > 0 and row.partition in partitions and row.instance_id > after
        )[:limit]

    async def due(self, partitions: Sequence[int], after: tuple[int, str], limit: int) -> Sequence[tuple[int, str]]:
        """See ``Store.due``."""
        rows = (instance.row for instance in self._opened().instances.values())
        waking = ((row.wake_at, row.instance_id) for row in rows if row.wake_at is not None and row.partition in partitions)
        return sorted(pair for pair in waking if pair > after)[:limit]

    async def get(self, instance_id: str, *, with_payloads: bool = False) -> InstanceRecord | None:
        """See ``Queries.get``."""
        instance = self._opened().instances.get(instance_id)
        return None if instance is None else _record(instance, with_payloads)

    async def list(self, query: InstanceQuery) -> Sequence[InstanceRecord]:
        """See ``Queries.list``."""
        instances = self._opened().instances
        matching = (instances[key] for key in sorted(instances) if _matches(query, instances[key]))
        return [_record(instance, query.with_payloads) for instance, _ in zip(matching, range(query.limit), strict=False)]

    async def count(self) -> dict[str, int]:
        """See ``Queries.count``."""
        instances = self._opened().instances.items()
        return dict(Counter(instance.row.status for key, instance in instances if not key.startswith("@")))

    async def history(self, instance_id: str) -> Sequence[Segment]:
        """See ``Queries.history``."""
        instance = self._opened().instances.get(instance_id)
        return [] if instance is None else instance.generation()

    def _opened(self) -> MemoryData:
        if not self._open:
            raise not_open("The memory store")
        return self._data

    def _apply(self, commit: Commit) -> None:
        if self._sharing is None:
            refuse_sharing(commit, "The memory store, which isn't shared,")
        lost = [lease for lease in commit.leases if not self._data.current(lease)]
        if lost:
            raise lease_lost(lost)
        # Turns go to drafts first: a commit that is refused half-way must leave nothing behind.
        drafts: dict[str, _Draft] = {}
        purged: set[str] = set()
        for turn in commit.turns:
            if turn.instance_id not in drafts:
                drafts[turn.instance_id] = _Draft(self._data.instances.get(turn.instance_id))
            drafts[turn.instance_id].add(turn)
            if turn.delete:
                purged.add(turn.instance_id)
        finished = {instance_id: draft.finish(instance_id) for instance_id, draft in drafts.items()}
        for instance_id, instance in finished.items():
            if instance is None:
                self._data.instances.pop(instance_id, None)
            else:
                self._data.instances[instance_id] = instance
        now = self._clock()
        self._apply_messages(commit, purged, now)
        apply_activities(self._data, commit, now)

    def _apply_messages(self, commit: Commit, purged: set[str], now: int) -> None:
        data = self._data
        if purged:
            for key in [key for key, message in data.messages.items() if message.instance_id in purged]:
                data.remove_message(key)
        for message in commit.outbox:
            data.add_message(message, now)
        for key in commit.consumed:
            data.remove_message(key)


class _Draft:
    """An instance while the turns of one commit are applied to it. Whether it is sound, only the end shows."""

    def __init__(self, known: MemoryInstance | None) -> None:
        self._row = None if known is None else known.row
        self._segments = {} if known is None else dict(known.segments)
        self._number_taken = False

    def add(self, turn: TurnRecord) -> None:
        if turn.delete or turn.vacate:
            self._row = None
        if turn.delete or turn.vacate or turn.reset:
            self._segments.clear()
            self._number_taken = False
        row = turn.row
        if not turn.continues:
            self._row = row or self._row
        elif row is not None and self._row is not None:
            self._row = msgspec.structs.replace(
                self._row, status=row.status, custom_status=row.custom_status, pending=row.pending, wake_at=row.wake_at
            )
        if turn.segment is not None:
            self._number_taken |= turn.segment.seq in self._segments
            self._segments[turn.segment.seq] = turn.segment

    def finish(self, instance_id: str) -> MemoryInstance | None:
        if self._number_taken or (self._row is None and self._segments):
            raise segment_refused(f"instance '{instance_id}'")
        return None if self._row is None else MemoryInstance(self._row, self._segments)


def _record(instance: MemoryInstance, with_payloads: bool) -> InstanceRecord:
    segments = instance.generation()
    updated_at = instance.updated_at()
    if not (with_payloads and segments):
        return InstanceRecord(instance.row, updated_at, None, None)
    return InstanceRecord(instance.row, updated_at, segments[0], segments[-1])


def _matches(query: InstanceQuery, instance: MemoryInstance) -> bool:
    row = instance.row
    return (
        row.instance_id > query.after
        and row.instance_id.startswith(query.id_prefix)
        and (not query.statuses or row.status in query.statuses)
        and (not query.names or row.name in query.names)
        and (query.created_from is None or row.created_at >= query.created_from)
        and (query.created_to is None or row.created_at <= query.created_to)
        and (query.updated_from is None or instance.updated_at() >= query.updated_from)
        and (query.updated_to is None or instance.updated_at() <= query.updated_to)
        and (query.entities is None or row.instance_id.startswith("@") is query.entities)
    )
