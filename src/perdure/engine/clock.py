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
