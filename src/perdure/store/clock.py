"""The stores' clock. Leases are judged by it, so tests and simulations put their own in its place."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Gives microseconds since the Unix epoch, UTC."""


def system_clock() -> int:
    """The time of this machine, in microseconds since the Unix epoch."""
    return time.time_ns() // 1000
