"""Activities of the shared queue, as one engine takes them."""

import asyncio

from perdure.engine.activities import ActivityOutcome
from perdure.engine.shared_activities import SharedActivities
from perdure.store.contract import Commit
from perdure.store.memory import MemoryStore
from tests.unit.activity_harness import Harness, activity, work

ENOUGH = 7
THREADS = 2


class Taker(Harness):
    """Tells the shared queue of each outcome, as the engine does."""

    shared: SharedActivities

    def _receive(self, outcomes: list[ActivityOutcome]) -> None:
        for outcome in outcomes:
            self.shared.finished(outcome.work)
        super()._receive(outcomes)


def _blocking() -> None:
    pass


async def _other() -> None:
    pass


def test_a_full_pool_goes_on_taking_while_another_pool_finds_nothing() -> None:
    """One look, and no beat: what doesn't fit at first is taken when there is room, though idle pools have looked in vain."""

    async def main() -> None:
        store = MemoryStore(shared=True)
        assert store.sharing is not None
        info = await store.open()
        failures: list[BaseException] = []
        taker = Taker(
            activity(_blocking, "thread", takes_input=False), activity(_other, "loop", takes_input=False), max_threads=THREADS
        )
        taker.shared = SharedActivities(
            store.sharing,
            taker.executor,
            owner="taker",
            lease_us=10_000_000,
            partition_count=info.partition_count,
            runs_activities=True,
            failed=failures.append,
        )
        offered = [taker.shared.offer(work("_blocking", task=task)) for task in range(ENOUGH)]
        leases = await store.acquire("owner", range(info.partition_count), 10_000_000)
        await store.commit(Commit(leases=leases, turns=(), owner="owner", offered=offered))
        async with taker:
            taker.shared.want()
            assert len(await taker.until(ENOUGH)) == ENOUGH
            taker.shared.stop()
        await store.close()
        assert not failures

    asyncio.run(main())
