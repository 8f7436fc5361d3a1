"""What an executor tells about its room, and how activities leave it for another engine."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from perdure.engine.shared_activities import SharedActivities
from perdure.store.contract import Beat, Claim, Commit, Member
from perdure.store.memory import MemoryStore
from perdure.testing.store_checks.harness import sharing_of
from tests.unit.activity_harness import Harness, activity, work

LEASE_US = 10_000_000
ME, OTHER = (Member(owner=name, owns_partitions=True, runs_activities=True) for name in ("me", "other"))


class Bench(Harness):
    """An executor with two places, whose activities run until they are let go, and its side of the shared queue."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun: list[int] = []

        async def slow(number: int) -> int:
            self.begun.append(number)
            await self.gate.wait()
            return number

        def other(number: int) -> int:
            return number

        super().__init__(activity(slow, "loop"), activity(other, "thread"), max_concurrent=2, max_threads=1)
        self.store = MemoryStore(shared=True)
        self.shared = SharedActivities(
            sharing_of(self.store),
            self.executor,
            owner="me",
            lease_us=LEASE_US,
            partition_count=16,
            runs_activities=True,
            failed=self._raise,
        )

    def slow(self, number: int, instance: str = "i") -> None:
        self.dispatch(work("slow", str(number), instance=instance, task=number))

    async def commit(self, **what: Any) -> None:
        leases = await self.store.acquire("me", range(16), LEASE_US)
        await self.store.commit(Commit(leases=leases, turns=(), owner="me", **what))

    async def beat(self) -> Beat:
        return await sharing_of(self.store).beat(ME, [], self.shared.claims, LEASE_US)

    def _raise(self, error: BaseException) -> None:
        raise error


def bench_test(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        async def main() -> None:
            bench = Bench()
            await bench.store.open()
            async with bench:
                await test(bench)

        asyncio.run(main())

    run.__name__ = test.__name__
    return run


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@bench_test
async def test_an_executor_is_crowded_when_as_many_wait_as_can_run(bench: Bench) -> None:
    for number in range(4):
        assert not bench.executor.crowded("slow")
        bench.slow(number)
    assert bench.executor.crowded("SLOW")
    assert not bench.executor.crowded("other")
    assert not bench.executor.crowded("nobody knows it")
    bench.gate.set()
    await bench.until(4)
    assert not bench.executor.crowded("slow")


@bench_test
async def test_there_is_room_for_what_can_start_at_once(bench: Bench) -> None:
    assert dict(_rooms(bench)) == {"slow": 2, "other": 1}
    bench.slow(0)
    assert dict(_rooms(bench)) == {"slow": 1, "other": 1}
    bench.slow(1)
    bench.slow(2)
    assert not any(dict(_rooms(bench)).values())
    bench.gate.set()
    await bench.until(3)
    assert dict(_rooms(bench)) == {"slow": 2, "other": 1}


@bench_test
async def test_what_waits_goes_and_what_runs_stays(bench: Bench) -> None:
    for number in range(5):
        bench.slow(number, instance="mine" if number % 2 else "theirs")
    await settle()
    waiting, running = bench.executor.hand_over(lambda item: item.instance_id == "theirs")
    assert [item.task_id for item in waiting] == [2, 4]
    assert [item.task_id for item in running] == [0]
    bench.gate.set()
    await bench.until(3)
    await settle()
    assert bench.begun == [0, 1, 3]
    assert sorted(bench.results, key=str) == ["0", "1", "3"]


@bench_test
async def test_an_activity_that_was_handed_over_may_come_back(bench: Bench) -> None:
    for number in range(3):
        bench.slow(number)
    bench.executor.hand_over(lambda _: True)
    bench.slow(2)
    bench.slow(0)  # it has never left
    bench.gate.set()
    await bench.until(3)
    await settle()
    assert bench.begun == [0, 1, 2]


@bench_test
async def test_one_activity_can_be_cancelled_and_the_others_of_its_instance_not(bench: Bench) -> None:
    for number in range(4):
        bench.slow(number)
    await settle()
    for task in (0, 3, 7):
        bench.executor.cancel(("i", "e", 0, task))
    bench.gate.set()
    await bench.until(2)
    await settle()
    assert sorted(bench.results, key=str) == ["1", "2"]


@bench_test
async def test_what_crowds_an_engine_is_offered_if_there_is_another_that_could_run_it(bench: Bench) -> None:
    for number in range(4):
        bench.slow(number)
    assert bench.shared.keeps(work("slow"))
    beat = await bench.beat()
    bench.shared.beaten(beat)
    assert bench.shared.keeps(work("slow"))
    await sharing_of(bench.store).beat(OTHER, [], [], LEASE_US)
    bench.shared.beaten(await bench.beat())
    assert not bench.shared.keeps(work("slow"))
    assert bench.shared.keeps(work("other"))
    bench.gate.set()


@bench_test
async def test_a_running_activity_isnt_given_up_because_the_store_doesnt_know_its_offer_yet(bench: Bench) -> None:
    bench.slow(0)
    offer = bench.shared.offer(work("slow", "0"), running=True)
    bench.shared.beaten(await bench.beat())
    assert bench.shared.claims == []
    await bench.commit(offered=[offer])
    bench.shared.stored([offer])
    assert bench.shared.claims == [Claim(offer.activity_id, 1)]
    bench.shared.beaten(await bench.beat())
    bench.gate.set()
    await bench.until(1)
    assert bench.shared.finished(work("slow", "0")) == Claim(offer.activity_id, 1)


@bench_test
async def test_an_activity_whose_offer_failed_is_this_engines_own_again(bench: Bench) -> None:
    bench.slow(0)
    bench.shared.offer(work("slow", "0"), running=True)
    bench.shared.forget_unstored()
    assert bench.shared.claim_of(work("slow", "0")) is None
    bench.gate.set()
    await bench.until(1)
    assert bench.shared.finished(work("slow", "0")) is None


@bench_test
async def test_what_others_have_taken_over_is_stopped_here(bench: Bench) -> None:
    bench.slow(0)
    offer = bench.shared.offer(work("slow", "0"), running=True)
    await bench.commit(offered=[offer])
    bench.shared.stored([offer])
    await bench.commit(withdrawn=["i"])
    bench.shared.beaten(await bench.beat())
    assert bench.shared.claims == []
    bench.gate.set()
    await settle()
    assert bench.executor.running == 0
    assert bench.results == []


@bench_test
async def test_what_was_claimed_runs_once_and_is_settled(bench: Bench) -> None:
    offer = bench.shared.offer(work("slow", "5"))
    await bench.commit(offered=[offer])
    bench.gate.set()
    bench.shared.want()
    bench.shared.want()
    await bench.until(1)
    claim = bench.shared.finished(work("slow", "5"))
    assert claim == Claim(offer.activity_id, 1)
    await bench.commit(settled=[claim])
    bench.shared.want()
    await settle()
    assert bench.begun == [5]


def _rooms(bench: Bench) -> list[tuple[str, int]]:
    return [(names[0], free) for names, free in bench.executor.rooms()]
