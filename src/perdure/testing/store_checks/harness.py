"""What a check gets from the author of a store, and how it makes the values that it writes."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from perdure.core.effects import CommitReceipt
from perdure.core.errors import PerdureError
from perdure.store.contract import (
    Claim,
    Commit,
    HubStore,
    InstanceRow,
    Lease,
    Member,
    OfferedActivity,
    Segment,
    Sharing,
    StoredMessage,
    TurnRecord,
)

SECOND = 1_000_000
HOUR = 3600 * SECOND


class StoreHarness(Protocol):
    """One hub under test. Every check gets a new, empty one."""

    exclusive: bool
    """Only one store may be open on the hub at a time; a second ``open`` must raise ``HubInUseError``."""

    def store(self) -> HubStore:
        """A store on the hub, not yet opened. All stores of one harness share the hub's data."""
        ...

    def advance(self, microseconds: int) -> None:
        """Moves the store's clock forward, which must otherwise stand still."""
        ...


class OpenHub:
    """An open store whose partitions are all leased, with short ways to write to it."""

    def __init__(self, store: HubStore, leases: Sequence[Lease]) -> None:
        self.store = store
        self.leases = leases

    @property
    def sharing(self) -> Sharing:
        """Of the store, which must have it."""
        return sharing_of(self.store)

    async def commit(
        self,
        *turns: TurnRecord,
        outbox: Sequence[StoredMessage] = (),
        consumed: Sequence[str] = (),
        owner: str = "",
        offered: Sequence[OfferedActivity] = (),
        settled: Sequence[Claim] = (),
        withdrawn: Sequence[str] = (),
    ) -> CommitReceipt:
        """Commits under all leases of this hub."""
        return await self.store.commit(
            Commit(
                leases=self.leases,
                turns=turns,
                outbox=outbox,
                consumed=consumed,
                owner=owner,
                offered=offered,
                settled=settled,
                withdrawn=withdrawn,
            )
        )

    async def seqs(self, instance_id: str) -> list[int]:
        """The numbers of the segments that ``history`` gives."""
        return [segment.seq for segment in await self.store.history(instance_id)]


@asynccontextmanager
async def opened(harness: StoreHarness, owner: str = "engine-1") -> AsyncGenerator[OpenHub]:
    """A store of the harness, opened, with every partition leased for an hour; closed at the end."""
    store = harness.store()
    info = await store.open()
    try:
        yield OpenHub(store, await store.acquire(owner, range(info.partition_count), HOUR))
    finally:
        await store.close()


@asynccontextmanager
async def joined(harness: StoreHarness) -> AsyncGenerator[OpenHub]:
    """A store of the harness, opened without any lease, as that of another engine or of a client; closed at the end."""
    store = harness.store()
    await store.open()
    try:
        yield OpenHub(store, [])
    finally:
        await store.close()


def sharing_of(store: HubStore) -> Sharing:
    """What ``SHARING_CONTRACT`` is about."""
    assert store.sharing is not None, "these checks are only for stores that several engines can share"
    return store.sharing


def row(instance_id: str, **changes: Any) -> InstanceRow:
    """A running instance in partition 0, with these fields changed."""
    fields: dict[str, Any] = {
        "instance_id": instance_id,
        "partition": 0,
        "execution_id": "execution-1",
        "generation": 0,
        "name": "Backup",
        "version": None,
        "status": "Running",
        "created_at": 1_700_000_000_000_000,
        "custom_status": None,
        "tags": {},
        "parent_id": None,
        "pending": 0,
        "wake_at": None,
        "first_seq": 1,
    }
    return InstanceRow(**(fields | changes))


def segment(seq: int, events: bytes | None = None) -> Segment:
    """A segment whose time and events follow from its number unless events are given."""
    return Segment(seq, 1_700_000_000_000_000 + seq, f"events of turn {seq}".encode() if events is None else events)


def first_turn(instance_id: str, **changes: Any) -> TurnRecord:
    """The turn that makes an instance: its row and its first segment."""
    made = row(instance_id, **changes)
    return TurnRecord(instance_id=instance_id, row=made, segment=segment(made.first_seq))


def next_turn(instance_id: str, seq: int) -> TurnRecord:
    """A turn that only adds a segment."""
    return TurnRecord(instance_id=instance_id, segment=segment(seq))


def message(message_id: str, instance_id: str = "a", partition: int = 0) -> StoredMessage:
    """A stored message whose body follows from its id."""
    return StoredMessage(message_id, instance_id, partition, f"body of {message_id}".encode())


def activity(activity_id: str, instance_id: str = "a", **changes: Any) -> OfferedActivity:
    """An activity on offer, of an instance in partition 0, whose body follows from its id."""
    fields: dict[str, Any] = {"partition": 0, "name": "copy", "body": f"body of {activity_id}".encode()}
    return OfferedActivity(activity_id=activity_id, instance_id=instance_id, **(fields | changes))


def member(owner: str, **changes: Any) -> Member:
    """An engine that does everything, with these fields changed."""
    fields: dict[str, Any] = {"owns_partitions": True, "runs_activities": True, "running": 1, "capacity": 10}
    return Member(owner=owner, **(fields | changes))


@asynccontextmanager
async def refused(error: type[PerdureError], text: str = "") -> AsyncGenerator[None]:
    """The block must raise ``error`` or a subclass, with ``text`` in its message."""
    caught: PerdureError | None = None
    try:
        yield
    except error as raised:
        caught = raised
    assert caught is not None, f"{error.__name__} was expected, but nothing was raised"
    assert text in str(caught), str(caught)
