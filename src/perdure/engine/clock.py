"""The only place that reads the wall clock."""

import time
from collections import deque
from typing import Protocol


class Clock(Protocol):
    """Tells the time to the engine; ``testing.VirtualClock`` is the other one."""

    def now_us(self) -> int:
        """Microseconds since the Unix epoch, UTC."""
        ...


class SystemClock:
    """The machine's clock, but it stands still where that one is set back: what was due once stays due."""

    def __init__(self) -> None:
        self._latest = 0

    def now_us(self) -> int:
        """Microseconds since the Unix epoch, UTC."""
        self._latest = max(self._latest, time.time_ns() // 1000)
        return self._latest


_REMEMBERED = 8
"""Beats whose news of the store's clock count: machines' clocks drift, so that old ones don't."""


class HubClock:
    """Goes like the store's clock, so that the engines of a shared hub agree on the time although their machines may not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead: deque[int] = deque([0], maxlen=_REMEMBERED)
        self._adjusted = False
        self._latest = 0

    def now_us(self) -> int:
        """Microseconds since the Unix epoch, UTC. Never goes back."""
        self._latest = max(self._latest, self._clock.now_us() + max(self._ahead))
        return self._latest

    def adjust(self, store_us: int) -> None:
        """The store's clock has said ``store_us``, some time ago: since then it can only have gone on.

        So each answer gives a bound from below, and the best of them comes from the one that was the fastest.
        """
        if not self._adjusted:
            self._adjusted = True
            self._ahead.clear()
        self._ahead.append(store_us - self._clock.now_us())
