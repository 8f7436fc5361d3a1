"""Hubs against the memory store as their model: whatever is called in whatever order, both must answer alike."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from perdure.core.errors import PerdureError
from perdure.store.contract import (
    Backlog,
    Beat,
    Claim,
    Commit,
    HubStore,
    InstanceQuery,
    InstanceRow,
    Lease,
    OfferedActivity,
    Segment,
    StoredMessage,
    TurnRecord,
)
from perdure.store.memory import MemoryData, MemoryStore
from perdure.store.sqlite import SqliteStore
from perdure.testing.store_checks.harness import member, sharing_of

PARTITIONS = 3
ids = st.sampled_from(["a", "b", "ab", "ä", "🚀", "@e@a", "@"])
message_ids = st.sampled_from([f"m{number}" for number in range(6)])
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
owners = st.sampled_from(["engine-1", "engine-2"])
some_partitions = st.lists(st.integers(0, PARTITIONS), max_size=4)
statuses = st.sampled_from(["Running", "Pending", "Completed", "Failed", "Terminated", "Canceled"])

segments = st.builds(Segment, st.integers(1, 12), st.integers(0, 100), st.binary(max_size=20))


def rows(instance_id: str) -> st.SearchStrategy[InstanceRow]:
    return st.builds(
        InstanceRow,
        instance_id=st.just(instance_id),
        partition=st.integers(0, PARTITIONS - 1),
        execution_id=texts,
        generation=st.integers(0, 3),
        name=st.sampled_from(["Backup", "Restore"]) | texts,
        version=st.none() | texts,
        status=statuses,
        created_at=st.integers(0, 100),
        custom_status=st.none() | texts,
        tags=st.dictionaries(texts, texts, max_size=2),
        parent_id=st.none() | texts,
        pending=st.integers(0, 2),
        wake_at=st.none() | st.integers(0, 100),
        first_seq=st.integers(1, 6),
    )


@st.composite
def turn_records(draw: st.DrawFn) -> TurnRecord:
    instance_id = draw(ids)
    end = draw(st.integers(0, 9))
    if end <= 1:
        return TurnRecord(instance_id=instance_id, delete=end == 0, vacate=end == 1)
    return TurnRecord(
        instance_id=instance_id,
        segment=draw(st.none() | segments),
        row=draw(st.none() | rows(instance_id)),
        reset=draw(st.sampled_from([False, False, True])),
    )


messages = st.builds(StoredMessage, message_ids, ids, st.integers(0, PARTITIONS - 1), st.binary(max_size=20))
queries = st.builds(
    InstanceQuery,
    statuses=st.lists(statuses, max_size=2),
    names=st.lists(st.sampled_from(["Backup", "Restore"]), max_size=1),
    created_from=st.none() | st.integers(0, 100),
    created_to=st.none() | st.integers(0, 100),
    updated_from=st.none() | st.integers(0, 100),
    updated_to=st.none() | st.integers(0, 100),
    entities=st.sampled_from([None, True, False]),
    id_prefix=st.sampled_from(["", "a", "ä", "b", "🚀x", "@"]),
    limit=st.integers(0, 5),
    after=st.sampled_from(["", "a", "b"]),
    with_payloads=st.booleans(),
)


class StoreMachine(RuleBasedStateMachine):
    shared = False

    def hub(self, folder: Path) -> list[HubStore]:
        """All stores of the hub that is compared with the model; calls go to one after the other."""
        return [SqliteStore(folder / "hub.db", clock=lambda: self.time, partition_count=PARTITIONS)]

    @initialize()
    def open_both(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.time = 1_000
        self.calls = 0
        self.leases: list[Lease] = []
        self.model = MemoryStore(clock=lambda: self.time, partition_count=PARTITIONS, shared=self.shared)
        self.stores = self.hub(self.folder)
        self.all_stores(lambda store: store.open())

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.all_stores(lambda store: store.close())
            self.runner.close()
            shutil.rmtree(self.folder)

    def both(self, call: Callable[[HubStore], Awaitable[Any]]) -> Any:
        self.calls += 1
        store = self.stores[self.calls % len(self.stores)]
        expected, actual = self.runner.run(outcome(call, self.model)), self.runner.run(outcome(call, store))
        assert comparable(actual) == comparable(expected)
        return expected

    def all_stores(self, call: Callable[[HubStore], Awaitable[Any]]) -> None:
        for store in (self.model, *self.stores):
            self.runner.run(outcome(call, store))

    @rule(owner=owners, partitions=some_partitions, duration=st.integers(1, 50))
    def acquire(self, owner: str, partitions: list[int], duration: int) -> None:
        self.leases += self.both(lambda store: store.acquire(owner, partitions, duration))

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        leases = self.draw_leases(data)
        self.both(lambda store: store.release(leases))

    @rule(
        data=st.data(),
        turns=st.lists(turn_records(), max_size=6),
        outbox=st.lists(messages, max_size=3),
        consumed=st.lists(message_ids, max_size=2),
    )
    def commit(self, data: st.DataObject, turns: list[TurnRecord], outbox: list[StoredMessage], consumed: list[str]) -> None:
        commit = Commit(leases=self.draw_leases(data), turns=turns, outbox=outbox, consumed=consumed)
        self.both(lambda store: store.commit(commit))

    @rule(step=st.integers(1, 60))
    def time_passes(self, step: int) -> None:
        self.time += step

    @rule()
    def close_and_open(self) -> None:
        self.all_stores(lambda store: store.close())
        # Memory stores can share their data, so only SQLite, which has one owner at a time, ends old leases by itself.
        self.all_stores(lambda store: store.open())
        self.both(lambda store: store.release(self.leases))

    @rule(query=queries)
    def query(self, query: InstanceQuery) -> None:
        self.both(lambda store: store.list(query))

    @rule(partitions=some_partitions, known=st.sets(message_ids), after=ids, at=st.integers(0, 100), limit=st.integers(0, 3))
    def page(self, partitions: list[int], known: set[str], after: str, at: int, limit: int) -> None:
        self.both(lambda store: store.inbox(partitions, known, limit))
        self.both(lambda store: store.with_pending(partitions, after, limit))
        self.both(lambda store: store.due(partitions, (at, after), limit))

    @invariant()
    def all_is_the_same(self) -> None:
        if not hasattr(self, "runner"):
            return
        everything = InstanceQuery(with_payloads=True)
        known = [record.row.instance_id for record in self.both(lambda store: store.list(everything))]
        self.both(lambda store: store.load([*known, "unknown"]))
        self.both(lambda store: store.count())
        self.both(lambda store: store.inbox(range(PARTITIONS), (), 100))
        for instance_id in known:
            self.both(lambda store, key=instance_id: store.history(key))

    def draw_leases(self, data: st.DataObject) -> list[Lease]:
        # The newest ones mostly, so that most commits pass; older ones are the stale engines.
        return data.draw(st.lists(st.sampled_from(self.leases[-4:]), max_size=2)) if self.leases else []


activity_ids = st.sampled_from([f"t{number}" for number in range(5)])
durations = st.integers(1, 50)
# In order of their ids: which one of equal age is claimed first is the store's choice.
offers = st.lists(
    st.builds(
        OfferedActivity,
        activity_id=activity_ids,
        instance_id=ids,
        partition=st.integers(0, PARTITIONS - 1),
        name=st.sampled_from(["copy", "move"]),
        body=st.binary(max_size=20),
        claimed_for=st.just(0) | durations,
    ),
    max_size=3,
    unique_by=lambda offer: offer.activity_id,
).map(lambda found: sorted(found, key=lambda offer: offer.activity_id))


class SharedStoreMachine(StoreMachine):
    """A hub behaves the same whether one store or several are open on it."""

    shared = True

    def hub(self, folder: Path) -> list[HubStore]:
        data = MemoryData()
        return [MemoryStore(data, clock=lambda: self.time, partition_count=PARTITIONS, shared=True) for _ in range(2)]

    @initialize()
    def nothing_claimed(self) -> None:
        self.claims: list[Claim] = []

    @rule(data=st.data(), owner=owners, running=st.integers(0, 3), duration=durations)
    def beat(self, data: st.DataObject, owner: str, running: int, duration: int) -> None:
        leases = self.draw_leases(data)
        claims = self.draw_claims(data)
        self.both(lambda store: sharing_of(store).beat(member(owner, running=running), leases, claims, duration))

    @rule(owner=owners)
    def leave(self, owner: str) -> None:
        self.both(lambda store: sharing_of(store).leave(owner))

    @rule(owner=owners, names=st.lists(st.sampled_from(["copy", "move", "scan"])), limit=st.integers(0, 3), duration=durations)
    def claim(self, owner: str, names: list[str], limit: int, duration: int) -> None:
        found = self.both(lambda store: sharing_of(store).claim(owner, names, limit, duration))
        self.claims += [claim for claim, _ in cast("list[tuple[Claim, OfferedActivity]]", found)]

    @rule(
        data=st.data(),
        owner=owners,
        turns=st.lists(turn_records(), max_size=1),
        outbox=st.lists(messages, max_size=2),
        offered=offers,
        withdrawn=st.lists(ids, max_size=1),
    )
    def commit_to_the_queue(
        self,
        data: st.DataObject,
        owner: str,
        turns: list[TurnRecord],
        outbox: list[StoredMessage],
        offered: list[OfferedActivity],
        withdrawn: list[str],
    ) -> None:
        commit = Commit(
            leases=self.draw_leases(data),
            turns=turns,
            outbox=outbox,
            owner=owner,
            offered=offered,
            settled=self.draw_claims(data),
            withdrawn=withdrawn,
        )
        self.both(lambda store: store.commit(commit))
        self.claims += [Claim(offer.activity_id, 1) for offer in offered if offer.claimed_for]

    @rule(partitions=some_partitions, sent=st.lists(message_ids, max_size=3))
    def look(self, partitions: list[int], sent: list[str]) -> None:
        self.both(lambda store: sharing_of(store).offered(partitions))
        self.both(lambda store: sharing_of(store).still_stored(sent))

    @invariant()
    def the_backlog_is_the_same(self) -> None:
        if hasattr(self, "runner"):
            self.both(lambda store: sharing_of(store).backlog())

    def draw_claims(self, data: st.DataObject) -> list[Claim]:
        known = {claim.activity_id: claim for claim in self.claims[-6:]}
        return (
            [known[key] for key in data.draw(st.lists(st.sampled_from(sorted(known)), max_size=2, unique=True))] if known else []
        )


def comparable(result: Any) -> Any:
    """Without what the contract leaves open: the order of collections."""
    if isinstance(result, set | frozenset):
        return sorted(cast("set[str]", result))
    if isinstance(result, Beat):
        result = msgspec.structs.replace(result, lost_claims=sorted(result.lost_claims), waiting=sorted(result.waiting))
    return msgspec.to_builtins(result) if isinstance(result, Beat | Backlog) else result


async def outcome(call: Callable[[HubStore], Awaitable[Any]], store: HubStore) -> Any:
    try:
        result = await call(store)
    except PerdureError as error:
        return type(error)
    # Receipts are equal by identity only; what they prove is that the commit was written.
    return "written" if hasattr(result, "commit") else result


TestStoreModel = StoreMachine.TestCase
TestStoreModel.settings = settings(max_examples=40, stateful_step_count=20)

TestSharedStoreModel = SharedStoreMachine.TestCase
TestSharedStoreModel.settings = settings(max_examples=40, stateful_step_count=20)
