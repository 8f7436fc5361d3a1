"""The only place that reads the wall clock."""

import time
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


class HubClock:
    """Goes like the store's clock, so that the engines of a shared hub agree on the time although their machines may not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = 0
        self._latest = 0

    def now_us(self) -> int:
        """Microseconds since the Unix epoch, UTC. Never goes back."""
        self._latest = max(self._latest, self._clock.now_us() + self._ahead)
        return self._latest

    def adjust(self, store_us: int) -> None:
        """The store's clock says ``store_us`` now."""
        self._ahead = store_us - self._clock.now_us()
