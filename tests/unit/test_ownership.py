"""Leases of an engine that comes and goes."""

import asyncio
from collections.abc import Sequence

from perdure.engine.ownership import Ownership
from perdure.store.contract import Lease, Member
from perdure.store.memory import MemoryStore

SECOND_US = 1_000_000
LEASE_US = 10 * SECOND_US


class LateStore(MemoryStore):
    """Answers ``acquire`` late, once ``late`` is set: what it gives is given long before."""

    def __init__(self) -> None:
        super().__init__(shared=True)
        self.late = False
        self.given = asyncio.Event()
        self.answer = asyncio.Event()

    async def acquire(self, owner: str, partitions: Sequence[int], duration: int) -> Sequence[Lease]:
        leases = await super().acquire(owner, partitions, duration)
        if self.late:
            self.given.set()
            await self.answer.wait()
        return leases


def _member(owner: str) -> Member:
    return Member(owner=owner, owns_partitions=True, runs_activities=True)


def test_an_engine_that_ends_gives_back_what_it_is_just_being_given() -> None:
    async def main() -> None:
        store = LateStore()
        info = await store.open()
        sharing = store.sharing
        assert sharing is not None
        await sharing.beat(_member("other"), (), (), LEASE_US)
        others = await store.acquire("other", range(info.partition_count // 2), LEASE_US)

        async def nothing(_: object) -> None:
            pass

        failures: list[BaseException] = []
        ownership = Ownership(
            store,
            sharing,
            owner="me",
            duration=LEASE_US / SECOND_US,
            passive=False,
            member=lambda: _member("me"),
            claims=lambda: (),
            beaten=lambda _: None,
            settled=lambda: True,
            gain=nothing,
            let_go=nothing,
            changed=lambda: None,
            failed=failures.append,
        )
        await ownership.take(info.partition_count)
        ownership.start()
        await store.release(others)
        await sharing.leave("other")
        store.late = True
        ownership.look()
        await store.given.wait()

        ending = asyncio.create_task(ownership.stop())
        await asyncio.sleep(0)
        store.answer.set()
        await ending
        await ownership.release()

        beat = await sharing.beat(_member("next"), (), (), LEASE_US)
        assert set(beat.owners) == {""}
        assert not failures
        await store.close()

    asyncio.run(main())
