"""Whether this thread is taking an orchestrator through its past right now. Replay-safe logging asks."""

import threading
from collections.abc import Generator
from contextlib import contextmanager

_thread = threading.local()


def is_replaying() -> bool:
    """True while user code on this thread repeats what it did before."""
    return getattr(_thread, "active", False)


@contextmanager
def replay() -> Generator[None]:
    """Marks a replay, or the closing of a session, on this thread."""
    before = is_replaying()
    _thread.active = True
    try:
        yield
    finally:
        _thread.active = before
