"""The storage contract: everything the engine asks of a store, on two screens.

``Store`` is the commit path, ``Queries`` the read path of clients, ``Sharing`` what several engines need to share one hub,
``Transactions`` what writes of users need to become durable together with messages of the hub.

A store keeps one task hub. It knows history as bytes in segments (one per turn) and instances as rows of columns; it
never looks inside a payload. Three rules carry the engine's guarantees:

1. ``commit`` is atomic and durable: when it returns, all of it survives a crash; when it raises, none of it is visible
   (``LeaseLostError``) or the outcome is unknown (``StoreUnavailableError``).
2. ``commit`` and ``beat`` refuse an epoch that isn't current (fencing). Expiry is judged by the store's own clock.
3. Commits of one store object take effect in the order in which they were called. When one fails, those called before
   its failure was raised fail too, unwritten, with ``StoreUnavailableError``: nothing is built on what isn't there.

All times are integers: microseconds since the Unix epoch, UTC.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol

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


class OfferedActivity(msgspec.Struct, frozen=True, kw_only=True):
    """An activity that any engine of the hub may run. Derived from a history, which still says that it is open."""

    activity_id: str
    """Unique per hub; a second offer of the same id is ignored."""
    instance_id: str
    partition: int
    """Of the instance."""
    name: str
    """Case-folded."""
    body: bytes
    claimed_for: int = 0
    """More than 0: it is running in the engine ``Commit.owner`` already, which gets the first claim, for so many us from now."""


class Claim(msgspec.Struct, frozen=True, gc=False):
    """The right to run one offered activity, until it expires or somebody else claims it. Until the latter it is current."""

    activity_id: str
    token: int
    """1 for the first claim of the activity, and one more with each that follows."""


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One atomic write: everything that a batch of turns decided. Turns apply in order.

    The last four fields are only for stores that can be shared.
    """

    leases: Sequence[Lease]
    """The leases of all partitions whose instances or ``consumed`` messages it touches. ``outbox`` needs none."""
    turns: Sequence[TurnRecord]
    outbox: Sequence[StoredMessage] = ()
    consumed: Sequence[str] = ()
    """Ids of stored messages that these turns have handled."""
    owner: str = ""
    """The engine that commits; needed for activities that are offered as claimed."""
    offered: Sequence[OfferedActivity] = ()
    settled: Sequence[Claim] = ()
    """Activities that are done (see ``outbox`` for their outcomes), to be no longer on offer. Claims not current are ignored."""
    withdrawn: Sequence[str] = ()
    """Instances whose activities are no longer on offer, whoever runs them; those that this commit offers are."""


class StoredInstance(msgspec.Struct, frozen=True):
    """What ``load`` gives: the row, and the segments of the current generation in order (none for a terminal status)."""

    row: InstanceRow
    segments: Sequence[Segment]


class HubInfo(msgspec.Struct, frozen=True):
    """Facts fixed when the hub was made."""

    partition_count: int
    schema_version: int


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A living engine of a shared hub, as it describes itself to the others."""

    owner: str
    """The name that its leases and claims carry."""
    owns_partitions: bool
    runs_activities: bool
    running: int = 0
    """Activities it is running."""
    capacity: int = 0
    """How many it can run."""


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine learns with each renewal: about itself, the others, and whether anything waits for it."""

    now: int
    leases: Sequence[Lease]
    """Its own, extended."""
    lost_claims: Collection[str]
    """Ids of the activities whose claims aren't current any more; the others are extended."""
    members: Sequence[Member]
    """All engines that live, the caller among them, ordered by ``owner``."""
    owners: Sequence[str]
    """By partition: the living engine that owns it, or "" where it is free or its lease has expired."""
    waiting: Sequence[int]
    """Those of the renewed partitions in which stored messages are."""
    on_offer: int
    """Activities that nobody has claimed, or whose claim has expired."""


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """How much work waits in a shared hub. Times are moments; ``None`` where nothing waits."""

    messages: int
    oldest_message: int | None
    activities: int
    """On offer and not claimed."""
    oldest_activity: int | None
    members: Sequence[Member]


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

    async def inbox(self, partitions: Sequence[int], known: Collection[str], limit: int) -> Sequence[StoredMessage]:
        """Stored messages not yet consumed, ordered by id, at one moment; without those whose ids are ``known``."""
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


MAX_NUDGE_BYTES = 7_000
"""Longest text of ``Sharing.nudge``, in UTF-8."""


class Sharing(Protocol):
    """What several engines need to work on one hub. Stores with one owner at a time have none (``HubStore.sharing``)."""

    async def beat(self, member: Member, leases: Sequence[Lease], claims: Sequence[Claim], duration: int) -> Beat:
        """Says that ``member`` lives, extends its leases and claims by ``duration`` us from now, and tells how things are.

        Raises:
            LeaseLostError: one of the leases isn't current any more, or has expired. Nothing is extended, but the member lives.
        """
        ...

    async def leave(self, owner: str) -> None:
        """Takes a member off the list. Its leases must have been released; its claims are free at once."""
        ...

    async def claim(self, owner: str, names: Sequence[str], limit: int, duration: int) -> Sequence[tuple[Claim, OfferedActivity]]:
        """Takes activities on offer (unclaimed, or their claim expired) of these case-folded names, the oldest first."""
        ...

    async def offered(self, partitions: Sequence[int]) -> Collection[str]:
        """Ids of all activities on offer, claimed or not, of the instances in these partitions."""
        ...

    async def still_stored(self, message_ids: Sequence[str]) -> Collection[str]:
        """Those of the messages that are not consumed yet."""
        ...

    async def backlog(self) -> Backlog:
        """How much waits, for scaling."""
        ...

    def listen(self, heard: Callable[[str | None], None]) -> None:
        """From ``open`` on, ``heard`` gets every text that any store of the hub nudges with, on the event loop.

        ``None`` says that some may have been missed (the connection was lost for a while). Call it before ``open``.
        """
        ...

    async def nudge(self, text: str) -> None:
        """Sends a text of at most ``MAX_NUDGE_BYTES`` to all who listen, this store included. It may get lost: only a hint.

        Raises:
            StoreUnavailableError: it could not be sent.
        """
        ...


Fence = Lease | Claim
"""What proves that an activity is this engine's to run: its instance's partition's lease, or its claim on the shared queue."""


class Transaction(Protocol):
    """A transaction in the hub's database for a user's ``def``. Leaving its context without ``commit`` rolls it back."""

    @property
    def connection(self) -> Any:
        """For the user: a connection of the database's driver, with the transaction open."""
        ...

    def commit(self, message: StoredMessage, fence: Fence) -> None:
        """Commits what the user wrote together with ``message``, if ``fence`` is current. A claim is settled by it.

        Errors of the driver mean that the database refused what the user wrote, and has undone it.

        Raises:
            LeaseLostError: the fence isn't current; nothing was written.
            TransactionControlError: the user's code has ended the transaction; ``message`` wasn't written.
            StoreUnavailableError: the outcome is unknown; read before going on.
        """
        ...


class AsyncTransaction(Protocol):
    """The same for an ``async def``."""

    @property
    def connection(self) -> Any:
        """See ``Transaction.connection``."""
        ...

    async def commit(self, message: StoredMessage, fence: Fence) -> None:
        """See ``Transaction.commit``."""
        ...


class Transactions(Protocol):
    """Transactions that hold writes of users and messages of the hub: both become durable, or neither."""

    def enlist(self, connection: object, message: StoredMessage, nudge: str) -> bool:
        """Writes ``message`` in the transaction that is open on a user's connection; the user commits it, or rolls it back.

        Where the store is shared, the commit sends ``nudge``, as if by ``Sharing.nudge``.

        Blocks, and may be called in any thread. Errors of the driver pass through: they are the user's transaction's.

        Returns:
            Whether the commit announces itself by ``nudge``. Otherwise the caller has to wait for ``ended`` and read the inbox.

        Raises:
            UnusableConnectionError: not a (blocking) connection to this hub's database with a transaction open.
        """
        ...

    async def enlist_async(self, connection: object, message: StoredMessage, nudge: str) -> bool:
        """The same for connections that belong to the event loop."""
        ...

    async def ended(self) -> None:
        """Returns when all transactions have ended that messages were written in before the call, one way or the other.

        Raises:
            StoreUnavailableError: it can't be told now.
        """
        ...

    async def waits(self, message_id: str) -> bool:
        """Whether the message is committed, and not consumed yet."""
        ...

    def begin(self) -> AbstractContextManager[Transaction]:
        """A transaction for code in this thread.

        Raises:
            StoreUnavailableError: it can't be opened now.
            TransactionsUnsupportedError: the driver that it needs isn't installed.
        """
        ...

    def begin_async(self) -> AbstractAsyncContextManager[AsyncTransaction]:
        """A transaction for code on the event loop. See ``begin``."""
        ...


class HubStore(Store, Queries, Protocol):
    """All paths in one object, as every store provides them."""

    @property
    def sharing(self) -> Sharing | None:
        """How several engines share the hub; ``None`` where it has one owner at a time."""
        ...

    @property
    def transactions(self) -> Transactions | None:
        """How users' transactions take the hub's messages along; ``None`` where there is no database that both could be in."""
        ...
