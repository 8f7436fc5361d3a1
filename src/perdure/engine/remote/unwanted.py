"""Work that waits because no connected worker takes it: a name with a slip in it, a worker that was forgotten."""

import asyncio
from collections.abc import Callable, Sequence

from perdure.engine.remote.items import Lanes
from perdure.engine.remote.work import LaneKey
from perdure.engine.remote.worker import Worker

Report = Callable[[str, str, int, int], None]
"""Gets the kind, the name, how many items wait, and how many workers are connected."""


class Unwanted:
    """Looks at what is queued from time to time, and reports each kind and name that nobody wanted between two looks, once."""

    def __init__(self, lanes: Lanes, workers: Sequence[Worker], period: float, report: Report) -> None:
        """``workers`` are those that are connected; ``period`` is in seconds."""
        self._lanes = lanes
        self._workers = workers
        self._period = period
        self._report = report
        self._seen: set[LaneKey] = set()
        self._told: set[LaneKey] = set()
        self._timer: asyncio.TimerHandle | None = None

    def queued(self) -> None:
        """Something has to wait."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._period, self._look)

    def stop(self) -> None:
        """Looks no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        waiting = self._lanes.waiting()
        unwanted = {lane for lane in waiting if not any(worker.wants(lane) for worker in self._workers)}
        for lane in sorted(unwanted & self._seen - self._told):
            kind, name, _ = lane
            self._report(kind, name, self._lanes.count(lane), len(self._workers))
            self._told.add(lane)
        self._seen = unwanted
        self._told &= unwanted
        if waiting:
            self.queued()
