"""A thread that runs jobs in the order in which they were handed over, whatever happens to those who wait for them."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_Job = tuple[Callable[[], Any], asyncio.Future[Any], asyncio.AbstractEventLoop]


class OrderedThread:
    """Runs every submitted job, in order, one at a time.

    A cancelled await only stops the waiting: the job keeps its place and runs, so the order of commits holds. One
    ``SimpleQueue`` put and one ``call_soon_threadsafe`` are the whole hand-off; an executor costs several times that.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        # A daemon, so that a store nobody closed can't keep the process from ending; commits are durable without close.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Queues ``work``; the future, of the running loop, gets its result."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put((work, future, loop))
        return future

    def stop_after_last(self) -> None:
        """Ends the thread after the jobs submitted so far. None may follow."""
        self._jobs.put(None)

    def join(self) -> None:
        """Waits for the end of the thread."""
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, future, loop = job
            result: Any = None
            error: BaseException | None = None
            try:
                result = work()
            except BaseException as raised:  # noqa: BLE001 - handed to whoever waits
                error = raised
            try:
                loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:
                # The loop was closed meanwhile; nobody waits any more.
                continue
            finally:
                # Nothing of a job may stay alive while the thread waits for the next one.
                del job, work, future, loop, result, error


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
