"""A connected worker: what it takes, how much of it, and what it has."""

import asyncio
from collections.abc import Callable

from perdure.engine.remote.work import Kind, LaneKey, Names, Work, WorkFilter


class Worker:
    """Gets work as long as it is connected, never more at a time than its limits say."""

    def __init__(self, limits: dict[Kind, int], filter_: WorkFilter | None, left: "Callable[[Worker], None]") -> None:
        self._limits = limits
        self._filter: dict[Kind, Names] | None = None
        if filter_ is not None:
            self._filter = {
                Kind.ORCHESTRATOR: filter_.orchestrators,
                Kind.ACTIVITY: filter_.activities,
                Kind.ENTITY: filter_.entities,
            }
        self._left = left
        self._works: list[Work] = []
        self._waiting: asyncio.Future[None] | None = None
        self.connected = True
        self.tokens: dict[str, None] = {}
        """Of what it has, in the order in which it got it."""
        self.taken: dict[Kind, int] = dict.fromkeys(limits, 0)
        """Places that are taken, by what it has and by what is being loaded for it."""

    async def next(self, patience: float | None = None) -> list[Work]:
        """Waits for work and returns all there is; nothing once the worker is disconnected, or after ``patience`` seconds.

        Cancelling it loses nothing.
        """
        if not self._works and self.connected:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            timer = None if patience is None else loop.call_later(patience, self._wake)
            try:
                await self._waiting
            finally:
                if timer is not None:
                    timer.cancel()
        works, self._works = self._works, []
        return works

    def disconnect(self) -> None:
        """Ends it: what the worker has goes to others at once."""
        if self.connected:
            self.connected = False
            self._works = []
            self._wake()
            self._left(self)

    # --- for the engine -------------------------------------------------------------------------------------------

    def give(self, work: Work) -> None:
        """Hands work over."""
        self._works.append(work)
        self._wake()

    def room(self, kind: Kind) -> int:
        """How many more items of a kind it can get."""
        return self._limits[kind] - self.taken[kind] if self.connected else 0

    def load(self, kind: Kind) -> float:
        """How busy it is, from 0 to 1."""
        return self.taken[kind] / self._limits[kind]

    def wants(self, lane: LaneKey) -> bool:
        """Whether its filter lets it have the items of a lane."""
        if self._filter is None:
            return True
        kind, name, version = lane
        versions = self._filter[kind].get(name)
        return versions is not None and (not versions or version in versions)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
