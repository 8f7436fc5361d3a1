"""Who may write to a database file next: the engine's commits, and the transactions of activities, one after the other."""

import asyncio
import threading
from collections import deque
from concurrent.futures import Future

LONGEST_TRANSACTION_SECONDS = 30.0
"""How long others wait for an activity's transaction."""


class WriterGate:
    """Lets one in at a time, in the order in which they came.

    SQLite has one writer too, but makes the others poll for their turn: who polls at the wrong moments may wait for long.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._waiting: deque[Future[None]] = deque()

    def enter(self, seconds: float) -> bool:
        """Blocks until the caller is in (``True``), or for ``seconds``."""
        place = self._place()
        if place is None:
            return True
        try:
            place.result(seconds)
        except TimeoutError:
            return not place.cancel()  # it may have come just now
        return True

    async def enter_async(self, seconds: float) -> bool:
        """The same on the event loop, which it doesn't block."""
        place = self._place()
        if place is None:
            return True
        try:
            await asyncio.wait([asyncio.wrap_future(place)], timeout=seconds)
        except asyncio.CancelledError:
            if not place.cancel():
                self.leave()
            raise
        return not place.cancel()

    def leave(self) -> None:
        """Lets the next one in."""
        with self._lock:
            while self._waiting:
                place = self._waiting.popleft()
                if place.set_running_or_notify_cancel():
                    place.set_result(None)
                    return
            self._taken = False

    def _place(self) -> Future[None] | None:
        with self._lock:
            if not self._taken:
                self._taken = True
                return None
            place = Future[None]()
            self._waiting.append(place)
            return place
