"""Several engines that do everything at once on one hub: none may wait for one that waits for it."""

import asyncio
import random
from typing import Any

import pytest

from perdure.store.contract import Claim, Lease
from perdure.store.errors import LeaseLostError
from perdure.store.postgres import PostgresStore
from perdure.testing.store_checks.harness import HOUR, OpenHub, activity, first_turn, member, message

_PARTITIONS = 8
_ENGINES = 4
_ROUNDS = 60


class Engine:
    """Takes and gives back partitions, writes to everybody's, and runs anybody's activities."""

    def __init__(self, name: str, url: str, luck: random.Random) -> None:
        self.name = name
        self.luck = luck
        self.store = PostgresStore(url, partition_count=_PARTITIONS)
        self.hub = OpenHub(self.store, [])
        self.claims: list[Claim] = []
        self.commits = 0

    async def run(self) -> None:
        for number in range(_ROUNDS):
            try:
                await self._round(number)
            except LeaseLostError:
                self.hub.leases = []

    async def _round(self, number: int) -> None:
        hub, luck = self.hub, self.luck
        mine = [lease.partition for lease in hub.leases]
        work = [
            self._commit(number, mine),
            self.store.sharing.beat(member(self.name), self._some(list(hub.leases)), self.claims, HOUR),
            self.store.sharing.claim(self.name, ["copy"], 3, 1),
            self.store.inbox(mine, (), 20),
        ]
        luck.shuffle(work)
        outcomes = await asyncio.gather(*work, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        # Claims last for a microsecond, so everybody takes them from everybody.
        self.claims = [claim for claim, _ in await self.store.sharing.claim(self.name, ["copy"], 5, 1)]
        change = luck.random()
        if change < 0.2:
            await self.store.release(self._some(list(hub.leases)))
            hub.leases = []
        if change < 0.5:
            taken = await self.store.acquire(self.name, self._some(list(range(_PARTITIONS))), HOUR)
            kept = {lease.partition: lease for lease in [*hub.leases, *taken]}
            hub.leases = list(kept.values())
        elif change > 0.95:
            await self.store.sharing.leave(self.name)

    async def _commit(self, number: int, mine: list[int]) -> None:
        luck = self.luck
        leases: list[Lease] = self._some(list(self.hub.leases))
        own = [lease.partition for lease in leases]
        # All send the same ids at about the same time, each in an order of its own.
        ids = luck.sample([f"m{number // 4}-{key}" for key in range(30)], 20)
        waiting = await self.store.inbox(own, (), 10)
        hub = OpenHub(self.store, leases)
        await hub.commit(
            *(first_turn(f"{self.name}-{number}-{partition}", partition=partition) for partition in own),
            outbox=[message(key, partition=luck.randrange(_PARTITIONS)) for key in ids],
            consumed=self._some([stored.message_id for stored in waiting]),
            owner=self.name,
            offered=[activity(f"{self.name}-{number}-{key}", f"i{luck.randrange(9)}", claimed_for=key % 2) for key in range(4)],
            settled=self._some(self.claims),
            withdrawn=[f"i{luck.randrange(9)}"] if luck.random() < 0.2 else [],
        )
        self.commits += 1

    def _some(self, items: list[Any]) -> list[Any]:
        return self.luck.sample(items, self.luck.randint(0, len(items)))


@pytest.mark.parametrize("seed", range(3))
async def test_engines_that_do_everything_at_once_never_deadlock(seed: int, postgres_url: str) -> None:
    print("seed", seed)
    engines = [Engine(f"engine-{number}", postgres_url, random.Random(f"{seed}-{number}")) for number in range(_ENGINES)]
    for engine in engines:
        await engine.store.open()
    await asyncio.gather(*(engine.run() for engine in engines))
    assert [engine.store.deadlocks for engine in engines] == [0] * _ENGINES
    assert sum(engine.commits for engine in engines) > _ENGINES * _ROUNDS / 2
    for engine in engines:
        await engine.store.close()
