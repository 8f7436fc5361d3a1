"""Which partitions an engine owns: taken, renewed, given and lost, with the store's word for everything."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from perdure.engine.ownership import Ownership
from perdure.store.contract import Beat, Claim, Commit, Member
from perdure.store.errors import HubInUseError, LeaseLostError, StoreUnavailableError
from perdure.store.memory import MemoryData, MemoryStore
from perdure.testing.faults import Fault, FaultyStore
from perdure.testing.virtual_clock import VirtualClock, run_simulation

LEASE = 6.0
PARTITIONS = 4


class Switch:
    """The next call of a method gets the fault."""

    def __init__(self) -> None:
        self.next: dict[str, Fault] = {}
        self.always: Fault | None = None

    def fault(self, method: str) -> Fault | None:
        return self.next.pop(method, self.always)


class Engine:
    """An ownership, and a record of what it asks for."""

    def __init__(self, name: str, data: MemoryData, clock: VirtualClock, *, owns: bool = True, passive: bool = False) -> None:
        self.name = name
        self.owns = owns
        self.switch = Switch()
        self.store = FaultyStore(MemoryStore(data, clock=clock.now_us, partition_count=PARTITIONS, shared=True), self.switch)
        self.events: list[str] = []
        self.failures: list[BaseException] = []
        self.beats: list[Beat] = []
        self.claims: list[Claim] = []
        self.settled = True
        self.draining = asyncio.Event()
        self.draining.set()
        self.ownership = Ownership(
            self.store,
            self.store.sharing,
            owner=name,
            duration=LEASE,
            passive=passive,
            member=lambda: Member(owner=name, owns_partitions=self.owns, runs_activities=False),
            claims=lambda: self.claims,
            beaten=self.beats.append,
            gain=self._gain,
            let_go=self._let_go,
            settled=lambda: self.settled,
            changed=lambda: self.events.append("changed"),
            touch=lambda error: self.events.append("in touch" if error is None else "out of touch"),
            failed=self._failed,
        )

    @property
    def held(self) -> list[int]:
        return sorted(self.ownership.leases)

    async def start(self) -> None:
        await self.store.open()
        await self.ownership.take(PARTITIONS)
        self.ownership.start()

    async def _gain(self, partitions: Collection[int]) -> None:
        self.events.append(f"gain {sorted(partitions)}")

    async def _let_go(self, partitions: Collection[int]) -> None:
        assert set(partitions) <= set(self.held)
        self.events.append(f"let go {sorted(partitions)}")
        await self.draining.wait()

    def _failed(self, error: BaseException) -> None:
        self.failures.append(error)
        self.ownership.drop()


class Hub:
    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.data = MemoryData()
        self.engines: list[Engine] = []

    async def join(self, name: str, **options: Any) -> Engine:
        engine = Engine(name, self.data, self.clock, **options)
        self.engines.append(engine)
        await engine.start()
        return engine


@asynccontextmanager
async def hub(clock: VirtualClock) -> AsyncIterator[Hub]:
    made = Hub(clock)
    try:
        yield made
    finally:
        for engine in made.engines:
            await engine.ownership.stop()


def hub_test(test: Callable[[Hub], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        async def main(clock: VirtualClock) -> None:
            async with hub(clock) as made:
                await test(made)

        run_simulation(main)

    run.__name__ = test.__name__
    return run


@hub_test
async def test_the_first_engine_takes_all_and_gives_half_to_the_second(hub: Hub) -> None:
    a = await hub.join("a")
    assert a.held == [0, 1, 2, 3]
    b = await hub.join("b")
    assert b.held == []
    await asyncio.sleep(2 * LEASE)
    assert (a.held, b.held) == ([0, 1], [2, 3])
    assert "let go [2, 3]" in a.events
    assert "gain [2, 3]" in b.events
    assert not a.failures + b.failures


@hub_test
async def test_who_wants_partitions_no_more_gives_all_of_them_once_somebody_does(hub: Hub) -> None:
    a = await hub.join("a")
    a.owns = False
    await asyncio.sleep(2 * LEASE)
    assert a.held == [0, 1, 2, 3]
    b = await hub.join("b")
    await asyncio.sleep(2 * LEASE)
    assert (a.held, b.held) == ([], [0, 1, 2, 3])


@hub_test
async def test_an_outage_is_told_once_and_so_is_its_end(hub: Hub) -> None:
    a = await hub.join("a")
    await asyncio.sleep(LEASE)
    a.events.clear()
    a.switch.always = Fault("before")
    await asyncio.sleep(0.5 * LEASE)
    a.switch.always = None
    await asyncio.sleep(0.3 * LEASE)
    assert a.events == ["out of touch", "in touch"]


@hub_test
async def test_a_partition_is_released_only_when_nothing_of_it_is_left(hub: Hub) -> None:
    a = await hub.join("a")
    a.draining.clear()
    b = await hub.join("b")
    await asyncio.sleep(5 * LEASE)
    assert (a.held, b.held) == ([0, 1, 2, 3], [])
    assert a.events.count("let go [2, 3]") == 1
    a.draining.set()
    await asyncio.sleep(LEASE)
    assert (a.held, b.held) == ([0, 1], [2, 3])


@hub_test
async def test_nothing_moves_while_the_engine_isnt_settled(hub: Hub) -> None:
    a = await hub.join("a")
    a.settled = False
    b = await hub.join("b")
    await asyncio.sleep(3 * LEASE)
    assert (a.held, b.held) == ([0, 1, 2, 3], [])
    a.settled = True
    await asyncio.sleep(LEASE)
    assert (a.held, b.held) == ([0, 1], [2, 3])


@hub_test
async def test_what_an_engine_has_owned_that_is_silent_others_take_when_its_leases_have_expired(hub: Hub) -> None:
    a, b = await hub.join("a"), await hub.join("b")
    await asyncio.sleep(2 * LEASE)
    await a.ownership.stop()
    await asyncio.sleep(0.5 * LEASE)
    assert b.held == [2, 3]
    await asyncio.sleep(LEASE)
    assert b.held == [0, 1, 2, 3]


@hub_test
async def test_an_engine_that_was_silent_for_too_long_learns_that_it_has_lost_everything(hub: Hub) -> None:
    a = await hub.join("a")
    b = await hub.join("b", owns=False)
    a.switch.next["beat"] = Fault("hang")
    await a.store.hanging()
    lease = a.ownership.leases[0]
    await asyncio.sleep(0.95 * LEASE)
    assert not a.ownership.certain
    b.owns = True
    await asyncio.sleep(LEASE)
    assert b.held == [0, 1, 2, 3]
    a.store.let_go()
    await asyncio.sleep(0.01)
    assert [type(error) for error in a.failures] == [LeaseLostError]
    assert a.held == []
    with pytest.raises(LeaseLostError):
        await a.store.commit(Commit(leases=[lease], turns=(), consumed=["m"]))


@hub_test
async def test_what_was_owned_before_a_failure_comes_back_with_a_higher_epoch(hub: Hub) -> None:
    a, b = await hub.join("a"), await hub.join("b")
    await asyncio.sleep(2 * LEASE)
    before = dict(a.ownership.leases)
    a.ownership.drop()
    with pytest.raises(LeaseLostError):
        a.ownership.of([0])
    await a.ownership.take(PARTITIONS)
    assert a.held == [0, 1]
    assert all(a.ownership.leases[partition].epoch > before[partition].epoch for partition in before)
    assert b.held == [2, 3]


@hub_test
async def test_what_others_have_taken_meanwhile_stays_theirs(hub: Hub) -> None:
    a, b = await hub.join("a"), await hub.join("b")
    await asyncio.sleep(2 * LEASE)
    a.ownership.drop()
    await a.ownership.stop()
    await asyncio.sleep(2 * LEASE)
    await a.ownership.take(PARTITIONS)
    assert (a.held, b.held) == ([], [0, 1, 2, 3])


@hub_test
async def test_a_beat_that_fails_is_repeated_sooner_and_costs_nothing(hub: Hub) -> None:
    a = await hub.join("a")
    count = len(a.beats)
    a.switch.next["beat"] = Fault("before")
    await asyncio.sleep(0.5 * LEASE)
    assert len(a.beats) > count
    assert not a.failures
    assert a.ownership.certain


@hub_test
async def test_a_move_that_fails_is_the_engines_business(hub: Hub) -> None:
    a = await hub.join("a")
    a.switch.next["release"] = Fault("before")
    await hub.join("b")
    await asyncio.sleep(LEASE)
    assert [type(error) for error in a.failures] == [StoreUnavailableError]


@hub_test
async def test_what_was_released_in_vain_is_taken_again_by_whom_the_store_still_knows_as_its_owner(hub: Hub) -> None:
    a = await hub.join("a")
    a.switch.next["release"] = Fault("before")
    b = await hub.join("b")
    await asyncio.sleep(LEASE / 2)
    await a.ownership.take(PARTITIONS)
    await asyncio.sleep(2 * LEASE)
    assert sorted(a.held + b.held) == [0, 1, 2, 3]


@hub_test
async def test_a_failure_stops_a_move(hub: Hub) -> None:
    a = await hub.join("a")
    a.draining.clear()
    b = await hub.join("b")
    await asyncio.sleep(LEASE)
    a.ownership.drop()
    await a.ownership.take(PARTITIONS)
    a.draining.set()
    assert a.held == [0, 1, 2, 3]
    await asyncio.sleep(2 * LEASE)
    assert (a.held, b.held) == ([0, 1], [2, 3])
    assert not a.failures


@hub_test
async def test_an_engine_that_owns_none_beats_nevertheless(hub: Hub) -> None:
    a = await hub.join("a", owns=False)
    b = await hub.join("b")
    await asyncio.sleep(2 * LEASE)
    assert (a.held, b.held) == ([], [0, 1, 2, 3])
    assert [member.owner for member in a.beats[-1].members] == ["a", "b"]


@hub_test
async def test_a_passive_engine_takes_what_is_free_and_wants_no_more(hub: Hub) -> None:
    tool = await hub.join("tool", owns=False, passive=True)
    assert tool.held == [0, 1, 2, 3]
    await tool.ownership.stop()
    await tool.ownership.release()
    a = await hub.join("a")
    assert a.held == [0, 1, 2, 3]
    other = await hub.join("other", owns=False, passive=True)
    await asyncio.sleep(LEASE)
    assert (a.held, other.held) == ([0, 1, 2, 3], [])


@hub_test
async def test_an_orderly_end_leaves_nothing_to_wait_for(hub: Hub) -> None:
    a, b = await hub.join("a"), await hub.join("b")
    await asyncio.sleep(2 * LEASE)
    await a.ownership.stop()
    await a.ownership.release()
    b.ownership.look()
    await asyncio.sleep(0.01)
    assert b.held == [0, 1, 2, 3]
    assert [member.owner for member in b.beats[-1].members] == ["b"]


def test_a_store_that_cant_be_shared_belongs_to_one_engine() -> None:
    async def main() -> None:
        data = MemoryData()

        def alone(name: str) -> tuple[MemoryStore, Ownership]:
            store = MemoryStore(data, partition_count=PARTITIONS)

            async def nothing(partitions: Collection[int]) -> None:
                raise AssertionError

            ownership = Ownership(
                store,
                None,
                owner=name,
                duration=LEASE,
                passive=False,
                member=None,
                claims=list,
                beaten=lambda beat: None,
                gain=nothing,
                let_go=nothing,
                settled=lambda: True,
                changed=lambda: None,
                touch=lambda error: None,
                failed=lambda error: None,
            )
            return store, ownership

        store, first = alone("a")
        await store.open()
        await first.take(PARTITIONS)
        first.start()
        assert first.certain
        assert sorted(first.leases) == [0, 1, 2, 3]
        store, second = alone("b")
        await store.open()
        with pytest.raises(HubInUseError):
            await second.take(PARTITIONS)

    asyncio.run(main())
