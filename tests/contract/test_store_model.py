"""SQLite against the memory store as its model: whatever is called in whatever order, both must answer alike."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from perdure.core.errors import PerdureError
from perdure.store.contract import Commit, InstanceQuery, InstanceRow, Lease, Segment, StoredMessage, TurnRecord
from perdure.store.memory import MemoryStore
from perdure.store.sqlite import SqliteStore
from perdure.testing.store_suite import HubStore

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
    @initialize()
    def open_both(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.time = 1_000
        self.leases: list[Lease] = []
        self.stores: tuple[HubStore, HubStore] = (
            MemoryStore(clock=lambda: self.time, partition_count=PARTITIONS),
            SqliteStore(self.folder / "hub.db", clock=lambda: self.time, partition_count=PARTITIONS),
        )
        self.both(lambda store: store.open())

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.stores[1].close())
            self.runner.close()
            shutil.rmtree(self.folder)

    def both(self, call: Callable[[HubStore], Awaitable[Any]]) -> Any:
        expected, actual = (self.runner.run(outcome(call, store)) for store in self.stores)
        assert actual == expected
        return expected

    @rule(owner=owners, partitions=some_partitions, duration=st.integers(1, 50))
    def acquire(self, owner: str, partitions: list[int], duration: int) -> None:
        self.leases += self.both(lambda store: store.acquire(owner, partitions, duration))

    @rule(data=st.data(), duration=st.integers(1, 50))
    def renew(self, data: st.DataObject, duration: int) -> None:
        leases = self.draw_leases(data)
        self.both(lambda store: store.renew(leases, duration))

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
        self.both(lambda store: store.close())
        # Memory stores can share their data, so only SQLite, which has one owner at a time, ends old leases by itself.
        self.both(lambda store: store.open())
        self.both(lambda store: store.release(self.leases))

    @rule(query=queries)
    def query(self, query: InstanceQuery) -> None:
        self.both(lambda store: store.list(query))

    @rule(partitions=some_partitions, after=message_ids, at=st.integers(0, 100), limit=st.integers(0, 3))
    def page(self, partitions: list[int], after: str, at: int, limit: int) -> None:
        self.both(lambda store: store.inbox(partitions, after, limit))
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
        self.both(lambda store: store.inbox(range(PARTITIONS), "", 100))
        for instance_id in known:
            self.both(lambda store, key=instance_id: store.history(key))

    def draw_leases(self, data: st.DataObject) -> list[Lease]:
        # The newest ones mostly, so that most commits pass; older ones are the stale engines.
        return data.draw(st.lists(st.sampled_from(self.leases[-4:]), max_size=2)) if self.leases else []


async def outcome(call: Callable[[HubStore], Awaitable[Any]], store: HubStore) -> Any:
    try:
        result = await call(store)
    except PerdureError as error:
        return type(error)
    # Receipts are equal by identity only; what they prove is that the commit was written.
    return "written" if hasattr(result, "commit") else result


TestStoreModel = StoreMachine.TestCase
TestStoreModel.settings = settings(max_examples=40, stateful_step_count=20)
