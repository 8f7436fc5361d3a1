"""Connections that take work in call order, whatever happens to those who wait for it."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from perdure.store.postgres.session import Session
from perdure.store.refusals import not_open

T = TypeVar("T")
_Job = tuple[Callable[[Session], Awaitable[Any]], asyncio.Future[Any]]


class Lane:
    """One connection, or a few. Work begins in the order of the calls; with one connection it also ends in it.

    A cancelled await only stops the waiting: the work keeps its place and runs, so the order of commits holds, and no
    connection is lost to somebody's impatience.
    """

    def __init__(self, name: str, sessions: list[Session]) -> None:
        self._name = name
        self._sessions = sessions
        self._idle = list(sessions)
        self._jobs: deque[_Job] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    def run(self, work: Callable[[Session], Awaitable[T]]) -> asyncio.Future[T]:
        """Queues ``work`` behind everything that was queued before."""
        if self._closed:
            raise not_open(self._name)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.append((work, future))
        if self._idle:
            task = loop.create_task(self._run(self._idle.pop()))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return future

    async def close(self) -> None:
        """Finishes what is queued, then ends the connections."""
        self._closed = True
        if self._running:
            await asyncio.wait(self._running)
        await asyncio.gather(*(session.close() for session in self._sessions))

    async def _run(self, session: Session) -> None:
        try:
            while self._jobs:
                work, future = self._jobs.popleft()
                try:
                    result = await work(session)
                except Exception as error:  # noqa: BLE001 - handed to whoever waits
                    if not future.done():
                        future.set_exception(error)
                except BaseException:
                    future.cancel()
                    raise
                else:
                    if not future.done():
                        future.set_result(result)
                # Nothing of a job may stay alive while the next one runs.
                del work, future
        finally:
            self._idle.append(session)
