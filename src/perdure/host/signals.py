"""SIGINT and SIGTERM, for servers that end in order."""

import asyncio
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def on_signals(stop: Callable[[], object]) -> Generator[None]:
    """SIGINT and SIGTERM call ``stop`` instead of ending the process, as long as the context lasts."""
    loop = asyncio.get_running_loop()
    handled: list[signal.Signals] = []
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
            handled.append(number)
    except (NotImplementedError, RuntimeError, ValueError):
        pass  # not the main thread, or Windows: whoever runs the loop calls stop() itself
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
