"""The only place that reads the wall clock."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time to the engine; ``testing.VirtualClock`` is the other one."""

    def now_us(self) -> int:
        """Microseconds since the Unix epoch, UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        """Microseconds since the Unix epoch, UTC."""
        return time.time_ns() // 1000
