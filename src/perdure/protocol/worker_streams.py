"""The streams of workers, and how they end: behind the news that the server goes, where it does."""

import asyncio
from contextlib import suppress

from perdure.engine.remote.worker import Worker

_PATIENCE = 1.0
"""Seconds between the end of a hub and that of its server, if they end together."""


class WorkerStreams:
    """Those of one server."""

    def __init__(self) -> None:
        self._workers: set[Worker] = set()
        self._going = asyncio.Event()

    def begun(self, worker: Worker) -> None:
        """A worker listens."""
        self._workers.add(worker)

    def ended(self, worker: Worker) -> None:
        """It doesn't any more."""
        self._workers.discard(worker)

    def let_go(self) -> None:
        """Ends the streams of all workers, since the server goes."""
        self._going.set()
        for worker in list(self._workers):
            worker.disconnect()

    async def hub_ended(self) -> None:
        """Returns once a stream may end whose hub is closed.

        The SDKs' workers connect again at once. If the server goes too, they should know by then: what they begin on a
        connection that is about to end may be lost (gRPC's own library, as of 1.85, can leave a stream without an end).
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._going.wait(), _PATIENCE)
