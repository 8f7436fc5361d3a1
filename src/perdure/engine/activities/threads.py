"""Threads for ``def`` activities: few wake-ups where activities are short, full parallelism where they block."""

import logging
import threading
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from time import monotonic

from perdure.core.converter import JsonConverter
from perdure.core.failures import FailureDetails
from perdure.engine.activities.context import current
from perdure.engine.activities.invoke import invoke
from perdure.engine.activities.job import Job, describe
from perdure.engine.activities.transactional import TransactionalRunner

logger = logging.getLogger("perdure.activities")


class ThreadPool:
    """An ``ActivityPool`` of threads, each of which runs one job at a time.

    Waking a thread costs more than a short activity. So at most one thread is being woken at any time, and each thread that finds
    more than one job wakes the next one before it starts: while activities are short, one thread does them all; as soon as one
    blocks, the next thread is already there. The thread being woken also sees to it that finished jobs are reported, so that the
    others may report many at once instead of one by one.

    A thread can't be stopped. One whose job is given up is lost: it is replaced, and ends when its job does.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        converter: JsonConverter,
        size: int,
        done: deque[Job],
        report: Callable[[], None],
        transactional: TransactionalRunner | None = None,
    ) -> None:
        """Jobs are handed back through ``done``; ``report`` makes the loop look at it, from any thread."""
        self._loop = loop
        self._converter = converter
        self._size = size
        self.capacity = size
        """Lost threads are replaced as long as they are no more than ``size``; those beyond that are missing."""
        self._done = done
        self._report = report
        self._transactional = transactional
        self._context = copy_context()
        self._jobs: deque[Job] = deque()
        self._calls: SimpleQueue[bool] = SimpleQueue()
        """What idle threads wait for: ``True`` to look for jobs, ``False`` to end."""
        self._waking = False
        self._lock = threading.Lock()
        """Guards ``_hands``."""
        self._hands = 0
        """Threads that take jobs; at least ``_due`` as soon as all are awake, so that a woken thread is always an idle one."""
        self._due = 0
        """Jobs submitted and not released."""
        self._lost = 0
        self._named = 0
        self._threads: set[threading.Thread] = set()
        self._gone: Future[None] | None = None

    def submit(self, job: Job) -> None:
        """Gives the job to a thread."""
        self._due += 1
        if job.function.timeout is not None:
            job.timer = self._loop.call_later(job.function.timeout.total_seconds(), self._expire, job)
        self._jobs.append(job)
        if not self._waking:
            self._wake()

    def stop(self, job: Job) -> None:
        """Sets the job's token and gives it up, unless it has just finished, or is being committed."""
        job.context.cancellation.cancel()
        if job.claim():
            self._give_up(job)

    def release(self, job: Job) -> None:
        """Says that the executor has taken the job back."""
        job.drop_timer()
        self._due -= 1

    async def close(self, patience: float) -> list[str]:
        """Ends all threads; gives the names of those that still hang in user code after ``patience`` seconds."""
        with self._lock:
            for _ in range(self._hands):
                self._calls.put(False)
        if self._threads:
            self._gone = self._loop.create_future()
            timer = self._loop.call_later(patience, self._stop_waiting)
            await self._gone
            timer.cancel()
        return [thread.name for thread in self._threads]

    def _expire(self, job: Job) -> None:
        limit = job.function.timeout
        assert limit is not None
        left = limit.total_seconds() - (0 if job.started is None else monotonic() - job.started)
        if left > 0:
            # The thread has come to it a moment after it was submitted.
            job.timer = self._loop.call_later(left, self._expire, job)
            return
        job.context.cancellation.cancel()
        if not job.claim():
            return
        job.expired = True
        self._give_up(job)
        logger.warning(
            "%s ran longer than its timeout of %s; its thread can't be stopped and was replaced (%d such threads now)%s",
            describe(job),
            limit,
            self._lost,
            f"; too many: until some end, only {self.capacity} activities at a time run in threads"
            if self._lost > self._size
            else "",
        )

    def _give_up(self, job: Job) -> None:
        with self._lock:
            self._hands -= 1
        self._count_lost(1)
        self._done.append(job)
        self._report()

    def _wake(self) -> None:
        self._waking = True
        with self._lock:
            if self._hands >= self._due:
                self._calls.put(True)
                return
            self._hands += 1
            self._named += 1
            thread = threading.Thread(target=self._work, name=f"perdure-activity-{self._named}", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError as exc:
            # The system has no thread left to give. The job stays in line for the threads there are.
            self._threads.discard(thread)
            with self._lock:
                self._hands -= 1
            self._waking = False
            logger.error(  # noqa: TRY400 - where it was raised doesn't matter
                "no further activity thread can be started (%s); activities wait for the %d there are", exc, self._hands
            )

    def _work(self) -> None:
        lost = False
        while not lost:
            self._waking = False
            self._report_done()
            lost = self._run_all()
            self._report_done()
            if not lost and not self._calls.get():
                break
        with suppress(RuntimeError):  # The loop is closed: nobody counts threads any more.
            self._loop.call_soon_threadsafe(self._leave, threading.current_thread(), lost)

    def _run_all(self) -> bool:
        """Runs jobs until there are none, or until one was given up (``True``): this thread is not counted on any more."""
        jobs = self._jobs
        while True:
            try:
                job = jobs.popleft()
            except IndexError:
                return False
            if jobs and not self._waking:
                self._wake()
            if not self._waking:
                # No other thread is about to report what is finished, and this job may take long.
                self._report_done()
            result = failure = None
            if not job.context.cancellation.is_cancelled:
                job.started = monotonic()
                result, failure = self._context.copy().run(self._run, job)
            if not (job.committing or job.claim()):
                return True
            job.result = result
            job.failure = failure
            self._done.append(job)

    def _report_done(self) -> None:
        if self._done:
            self._report()

    def _run(self, job: Job) -> tuple[str | None, FailureDetails | None]:
        current.set(job.context)
        function = job.function
        converter = self._converter if function.converter is None else function.converter(self._converter)
        if function.transactional and self._transactional is not None:
            return self._transactional.run(job, converter)
        return invoke(converter, function.name, function.call, function.takes_input, function.input_type, job.work.input)

    def _leave(self, thread: threading.Thread, lost: bool) -> None:
        thread.join()
        self._threads.discard(thread)
        if lost:
            self._count_lost(-1)
        if not self._threads:
            self._stop_waiting()

    def _count_lost(self, change: int) -> None:
        self._lost += change
        self.capacity = self._size - max(0, self._lost - self._size)
        # There may be room for another activity.
        self._report()

    def _stop_waiting(self) -> None:
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
