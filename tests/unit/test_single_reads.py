"""Reads of single instances share queries, and each caller gets exactly what it asked for."""

import asyncio
from typing import Any

import pytest

from perdure.store.contract import InstanceRecord
from perdure.store.errors import StoreError, StoreUnavailableError
from perdure.store.single_reads import SingleReads


class Lane:
    """Keeps queries until the test answers them."""

    def __init__(self) -> None:
        self.queries: list[tuple[list[str], asyncio.Future[list[Any]]]] = []

    def get_many(self, instance_ids: list[str]) -> asyncio.Future[list[Any]]:
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.queries.append((instance_ids, future))
        return future


class Row:
    def __init__(self, instance_id: str) -> None:
        self.instance_id = instance_id


class Record:
    def __init__(self, instance_id: str) -> None:
        self.row = Row(instance_id)


@pytest.fixture
def lane() -> Lane:
    return Lane()


@pytest.fixture
def reads(lane: Lane) -> SingleReads:
    return SingleReads(lane.get_many)


def found(record: InstanceRecord | None) -> str | None:
    return record and record.row.instance_id


async def test_one_read_waits_for_nobody(reads: SingleReads, lane: Lane) -> None:
    read = reads.get("a")
    assert [ids for ids, _ in lane.queries] == [["a"]]
    lane.queries[0][1].set_result([Record("a")])
    assert found(await read) == "a"


async def test_reads_during_a_query_become_the_next_one(reads: SingleReads, lane: Lane) -> None:
    first = reads.get("a")
    others = [reads.get(instance_id) for instance_id in ("b", "c", "b", "missing")]
    assert len(lane.queries) == 1
    lane.queries[0][1].set_result([])
    assert await first is None
    assert lane.queries[1][0] == ["b", "c", "missing"]
    lane.queries[1][1].set_result([Record("b"), Record("c")])
    assert [found(record) for record in await asyncio.gather(*others)] == ["b", "c", "b", None]


async def test_a_query_has_bounds(reads: SingleReads, lane: Lane) -> None:
    all_reads = [reads.get(f"{number:04}") for number in range(500)]
    while not all(read.done() for read in all_reads):
        ids, future = lane.queries[-1]
        assert len(ids) <= 200
        future.set_result([Record(instance_id) for instance_id in ids])
        await asyncio.sleep(0)
    assert [found(read.result()) for read in all_reads] == [f"{number:04}" for number in range(500)]


async def test_a_failed_query_fails_those_that_share_it_and_nobody_else(reads: SingleReads, lane: Lane) -> None:
    first, second = reads.get("a"), reads.get("b")
    lane.queries[0][1].set_exception(StoreUnavailableError("gone"))
    with pytest.raises(StoreUnavailableError, match="gone"):
        await first
    lane.queries[1][1].set_result([Record("b")])
    assert found(await second) == "b"


async def test_whoever_stops_waiting_disturbs_nobody(reads: SingleReads, lane: Lane) -> None:
    left, stays = reads.get("a"), reads.get("a")
    left.cancel()
    lane.queries[0][1].set_result([Record("a")])
    await asyncio.sleep(0)
    lane.queries[1][1].set_result([Record("a")])
    assert found(await stays) == "a"


async def test_a_store_that_is_closed_meanwhile_answers_those_who_wait() -> None:
    lane, closed = Lane(), False

    def get_many(instance_ids: list[str]) -> asyncio.Future[list[Any]]:
        if closed:
            raise StoreError("not open")
        return lane.get_many(instance_ids)

    reads = SingleReads(get_many)
    first, second = reads.get("a"), reads.get("b")
    closed = True
    lane.queries[0][1].set_result([])
    assert await first is None
    with pytest.raises(StoreError, match="not open"):
        await second
    with pytest.raises(StoreError, match="not open"):
        await reads.get("c")
