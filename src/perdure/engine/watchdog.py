"""Finds orchestrators that block the engine (``time.sleep``, ``requests.get``) and shows where they stand."""

import sys
import threading
import traceback
from collections.abc import Callable

from perdure.engine.sessions import Session


class Watchdog:
    """A thread that looks at a counter of turns. Costs the engine two attribute writes per turn and no clock reads."""

    def __init__(self, blocked_after_s: float, report: Callable[[str, str, float, str], None]) -> None:
        self._blocked_after_s = blocked_after_s
        self._report = report
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._engine_thread = 0
        self.turns = 0
        """Counts turns; the engine raises it at the beginning of each."""
        self.current: Session | None = None
        """Whose turn is in progress."""

    def start(self) -> None:
        """Watches the calling thread."""
        self._engine_thread = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="perdure-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        period = self._blocked_after_s / 4
        seen, ticks, reported = -1, 0, -1
        while not self._stop.wait(period):
            turn, current = self.turns, self.current
            if current is None or turn != seen:
                seen, ticks = turn, 0
                continue
            ticks += 1
            if ticks * period >= self._blocked_after_s and reported != turn:
                frame = sys._current_frames().get(self._engine_thread)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - documented
                # The turn may have ended in between: then the stack would be somebody else's.
                stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
                if self.turns == turn and self.current is current:
                    reported = turn
                    instance = current.instance
                    self._report(instance.instance_id, instance.name, ticks * period, stack)
