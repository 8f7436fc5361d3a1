"""Wake-ups: which instance wants a turn when. Holds the nearest ones in memory, the rest stays in the store's index."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from heapq import heapify, heappop, heappush, nsmallest

from perdure.engine.clock import Clock

Wake = tuple[int, str]
"""``(time in microseconds, instance id)``."""

_FOREVER: Wake = (2**63 - 1, "\U0010ffff")
_LONGEST_SLEEP_S = 60.0
"""Looks at the clock at least this often, in case somebody set it. Costs no query."""


class Timers:
    """Calls ``wake`` with the instances that are due, never early. Memory holds at most about ``2 * capacity`` entries.

    Everything up to ``_horizon`` is in the heap; when the heap runs empty the next page is read from the store. An
    entry may be obsolete (the timer was cancelled): the instance then finds nothing due.
    """

    def __init__(
        self,
        clock: Clock,
        wake: Callable[[list[str]], None],
        read: Callable[[Wake, int], Awaitable[Sequence[Wake]]],
        failed: Callable[[BaseException], None],
        *,
        capacity: int = 5000,
    ) -> None:
        self._clock = clock
        self._wake = wake
        self._read = read
        self._failed = failed
        self._capacity = capacity
        self._heap: list[Wake] = []
        self._horizon: Wake = _FOREVER
        self._handle: asyncio.TimerHandle | None = None
        self._reading: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._heap)

    async def start(self) -> None:
        """Reads the first page."""
        self._heap = []
        self._horizon = (-1, "")
        await self._read_page()
        self._arm()

    def stop(self) -> None:
        """Forgets everything."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        self._heap = []
        self._horizon = _FOREVER

    def add(self, wake_at: int, instance_id: str) -> None:
        """An instance's next wake-up, once it is durable."""
        entry = (wake_at, instance_id)
        if entry > self._horizon:
            return
        heappush(self._heap, entry)
        if len(self._heap) > 2 * self._capacity:
            self._heap = nsmallest(self._capacity, self._heap)
            self._horizon = self._heap[-1]
            heapify(self._heap)
        if self._heap[0] is entry:
            self._arm()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._heap:
            delay = (self._heap[0][0] - self._clock.now_us()) / 1e6
            # A millisecond more than needed, since loops round down; so that one look is enough.
            self._handle = asyncio.get_running_loop().call_later(min(max(delay + 0.001, 0), _LONGEST_SLEEP_S), self._look)
        elif self._horizon is not _FOREVER and self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read_on())

    def _look(self) -> None:
        self._handle = None
        now_us = self._clock.now_us()
        due: list[str] = []
        while self._heap and self._heap[0][0] <= now_us:
            due.append(heappop(self._heap)[1])
        if due:
            self._wake(due)
        self._arm()

    async def _read_on(self) -> None:
        try:
            await self._read_page()
        except Exception as error:  # noqa: BLE001 - the engine decides what a failed store means
            self._failed(error)
            return
        finally:
            self._reading = None
        self._arm()

    async def _read_page(self) -> None:
        after = self._horizon
        self._horizon = _FOREVER  # what is committed while the page is being read must not be missed
        page = await self._read(after, self._capacity)
        for entry in page:
            heappush(self._heap, entry)
        if len(page) == self._capacity:
            self._horizon = min(self._horizon, page[-1])  # it has come nearer where many were added meanwhile
            self._heap = [entry for entry in self._heap if entry <= self._horizon]
            heapify(self._heap)
