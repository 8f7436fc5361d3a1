"""Copies a hub, and shows how far it is where somebody watches."""

import asyncio
import sys
import time

from perdure.engine.copying import CopySummary, copy_hub
from perdure.store.opening import open_store

_SHOW_EVERY = 0.1


def copy_with_progress(source: str, target: str) -> tuple[CopySummary, float]:
    """What was copied, and the seconds that it took.

    Raises:
        PerdureError: see ``copy_hub``.
    """
    shown = _ProgressLine()
    started = time.monotonic()
    try:
        summary = asyncio.run(copy_hub(open_store(source, make=False), open_store(target), progress=shown.show))
    finally:
        shown.clear()
    return summary, time.monotonic() - started


class _ProgressLine:
    """A line on standard error that is written again and again; none where that isn't a terminal."""

    def __init__(self) -> None:
        self._watched = sys.stderr.isatty()
        self._next = 0.0

    def show(self, summary: CopySummary) -> None:
        if not self._watched or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _SHOW_EVERY
        number = summary.verified if summary.phase == "verifying" else summary.instances
        sys.stderr.write(f"\r\x1b[K{summary.phase}: {number} instances, {summary.bytes / 1e6:.1f} MB written")
        sys.stderr.flush()

    def clear(self) -> None:
        if self._watched:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
