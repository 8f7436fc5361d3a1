"""The storage contract: everything the engine asks of a store, on two screens.

A store keeps one task hub. It knows history as bytes in segments (one per turn) and instances as rows of columns; it
never looks inside a payload. Three rules carry the engine's guarantees:

1. ``commit`` is atomic and durable: when it returns, all of it survives a crash; when it raises, none of it is visible
   (``LeaseLostError``) or the outcome is unknown (``StoreUnavailableError``).
2. ``commit`` and ``renew`` refuse an epoch that isn't current (fencing). Expiry is judged by the store's own clock.
3. Commits of one store object take effect in the order in which they were called. When one fails, those called before
   its failure was raised fail too, unwritten, with ``StoreUnavailableError``: nothing is built on what isn't there.

All times are integers: microseconds since the Unix epoch, UTC.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from perdure.core.effects import CommitReceipt


class Lease(msgspec.Struct, frozen=True, gc=False):
    """The right to write one partition, until ``expires_at`` or until another owner raises the epoch."""

    partition: int
    epoch: int
    owner: str
    expires_at: int


class InstanceRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The projection of one instance: what recovery, timers and queries need without opening a history.

    Within a generation only ``status``, ``custom_status``, ``pending`` and ``wake_at`` change: of the rows of its later turns
    (``TurnRecord.continues``) stores write nothing else.
    """

    instance_id: str
    partition: int
    execution_id: str
    generation: int
    name: str
    version: str | None
    status: str
    created_at: int
    custom_status: str | None
    """JSON text."""
    tags: dict[str, str]
    parent_id: str | None
    pending: int
    """Activities scheduled and not completed; more than 0 means recovery has to dispatch something."""
    wake_at: int | None
    """When the instance wants a turn although no message came (earliest timer, delayed start)."""
    first_seq: int
    """Number of the first segment of the current generation; the one that holds the input."""


class Segment(msgspec.Struct, frozen=True, gc=False):
    """The history events of one turn, encoded. ``seq`` counts up by one per turn and goes on through generations."""

    seq: int
    at: int
    """Time of the turn."""
    events: bytes


class StoredMessage(msgspec.Struct, frozen=True):
    """A message that was decided in one commit and will be consumed in a later one."""

    message_id: str
    """Unique per hub; a second insert of the same id is ignored."""
    instance_id: str
    partition: int
    body: bytes


class TurnRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The durable part of one turn of one instance."""

    instance_id: str
    segment: Segment | None = None
    row: InstanceRow | None = None
    """The new projection; ``None`` where the turn left it as it was."""
    reset: bool = False
    """Delete the instance's older segments first (continue-as-new; an id that is used again)."""
    delete: bool = False
    """Delete the instance: row, segments and messages (purge). No segment and no row then."""
    vacate: bool = False
    """Delete row and segments, but leave the messages that are on their way to it: they may make it anew (an entity without
    state). No segment and no row then."""

    @property
    def continues(self) -> bool:
        """Whether the row belongs to a generation that an earlier turn began."""
        return self.row is not None and self.segment is not None and self.segment.seq > self.row.first_seq


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One atomic write: everything that a batch of turns decided. Turns apply in order."""

    leases: Sequence[Lease]
    """The leases of all partitions that the commit touches."""
    turns: Sequence[TurnRecord]
    outbox: Sequence[StoredMessage] = ()
    consumed: Sequence[str] = ()
    """Ids of stored messages that these turns have handled."""


class StoredInstance(msgspec.Struct, frozen=True):
    """What ``load`` gives: the row, and the segments of the current generation in order (none for a terminal status)."""

    row: InstanceRow
    segments: Sequence[Segment]


class HubInfo(msgspec.Struct, frozen=True):
    """Facts fixed when the hub was made."""

    partition_count: int
    schema_version: int


class Store(Protocol):
    """The commit path. ``Queries`` (below) is the read path of clients."""

    async def open(self) -> HubInfo:
        """Connects; creates or migrates the schema. A store with one owner at a time ends the leases of owners that are gone.

        Raises:
            HubInUseError: another live process owns the store (SQLite).
            SchemaTooNewError: a newer Perdure wrote it.
            StoreUnavailableError: it can't be reached.
        """
        ...

    async def close(self) -> None:
        """Finishes the commits already called, releases everything. Closing twice does nothing."""
        ...

    async def now(self) -> int:
        """The store's clock, which leases are judged by."""
        ...

    async def acquire(self, owner: str, partitions: Sequence[int], duration: int) -> Sequence[Lease]:
        """Takes those ``partitions`` that are free, expired or ``owner``'s, for ``duration`` us, each with a higher epoch."""
        ...

    async def renew(self, leases: Sequence[Lease], duration: int) -> Sequence[Lease]:
        """Extends leases by ``duration`` us from the store's now.

        Raises:
            LeaseLostError: one of them isn't current any more, or has expired; none is extended.
        """
        ...

    async def release(self, leases: Sequence[Lease]) -> None:
        """Gives leases back so that another owner need not wait for their expiry. Those no longer current are ignored."""
        ...

    async def commit(self, commit: Commit) -> CommitReceipt:
        """Writes it all, atomically and durably. The receipt opens the effects that were sealed with it.

        Raises:
            LeaseLostError: an epoch isn't current; nothing was written.
            StoreUnavailableError: the outcome is unknown; read before going on.
        """
        ...

    async def load(self, instance_ids: Sequence[str]) -> dict[str, StoredInstance]:
        """Rows and histories of these instances; unknown ids are absent. Terminal instances come without segments."""
        ...

    async def inbox(self, partitions: Sequence[int], after: str, limit: int) -> Sequence[StoredMessage]:
        """Stored messages not yet consumed, ordered by id, those with an id greater than ``after``."""
        ...

    async def with_pending(self, partitions: Sequence[int], after: str, limit: int) -> Sequence[str]:
        """Ids (greater than ``after``, in order) of instances whose ``pending`` is more than 0."""
        ...

    async def due(self, partitions: Sequence[int], after: tuple[int, str], limit: int) -> Sequence[tuple[int, str]]:
        """``(wake_at, instance_id)`` pairs greater than ``after``, in order: the timer index."""
        ...


class InstanceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Filters of ``Queries.list``; all must hold. Sequences left empty don't filter."""

    statuses: Sequence[str] = ()
    names: Sequence[str] = ()
    created_from: int | None = None
    created_to: int | None = None
    updated_from: int | None = None
    """Last turn not before this time."""
    updated_to: int | None = None
    entities: bool | None = None
    """Only the entities (ids that begin with ``@``), or only the others. ``None``: both."""
    id_prefix: str = ""
    limit: int = 100
    after: str = ""
    """Continue behind this instance id."""
    with_payloads: bool = False
    """Also give the first and last segment of each (input and output)."""


class InstanceRecord(msgspec.Struct, frozen=True, gc=False):
    """One query result. Payloads stay in their segments (no payload is stored twice), so they come as segments."""

    row: InstanceRow
    updated_at: int
    first: Segment | None
    last: Segment | None


class Queries(Protocol):
    """The read path: what clients, the CLI and the dashboard ask. Sees every commit that had returned before the call."""

    async def get(self, instance_id: str, *, with_payloads: bool = False) -> InstanceRecord | None:
        """One instance, or ``None``."""
        ...

    async def list(self, query: InstanceQuery) -> Sequence[InstanceRecord]:
        """Instances that match, ordered by id, at most ``query.limit``."""
        ...

    async def count(self) -> dict[str, int]:
        """Number of orchestrations per status; entities aren't counted."""
        ...

    async def history(self, instance_id: str) -> Sequence[Segment]:
        """All segments of the current generation, in order; empty for an unknown id."""
        ...


class HubStore(Store, Queries, Protocol):
    """Both paths in one object, as every store provides them."""
