"""The connections of one store, apart by what they are for."""

import asyncio
from dataclasses import dataclass

from perdure.store.postgres.lane import Lane
from perdure.store.postgres.session import BY_INDEX, Counters, Session
from perdure.store.postgres.target import Target

_READERS = 2
_QUERIES = 2


@dataclass(frozen=True, slots=True)
class Lanes:
    """None of these waits for another: not a renewal for a large commit, not a rehydration for a dashboard's long scan.

    Each connects when it is first used.
    """

    writer: Lane
    """Commits, in call order."""
    control: Lane
    """Leases, members and claims."""
    reader: Lane
    """What the engine reads."""
    queries: Lane
    """What clients read."""

    @classmethod
    def to(cls, target: Target, counters: Counters, name: str) -> "Lanes":
        """Lanes to one hub."""

        def lane(size: int, settings: str) -> Lane:
            return Lane(name, [Session(target, counters, settings) for _ in range(size)])

        return cls(lane(1, BY_INDEX), lane(1, BY_INDEX), lane(_READERS, BY_INDEX), lane(_QUERIES, ""))

    async def close(self) -> None:
        """Finishes what was called, then ends all connections."""
        await asyncio.gather(self.writer.close(), self.control.close(), self.reader.close(), self.queries.close())
