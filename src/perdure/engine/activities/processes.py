"""Worker processes for activities that need a core of their own, or that only force can stop."""

import atexit
import logging
import threading
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from queue import SimpleQueue

from perdure.core.converter import JsonConverter
from perdure.core.failures import FailureDetails, failure_from_exception
from perdure.engine.activities.child import ChildProcess, LimitReachedError, StopRequestedError
from perdure.engine.activities.errors import ActivityWorkerDiedError
from perdure.engine.activities.importable import load_request
from perdure.engine.activities.job import Job
from perdure.engine.activities.wire import Reply, Run

logger = logging.getLogger("perdure.activities")


class ProcessPool:
    """An ``ActivityPool`` of worker processes, each of which runs one job at a time. One that dies or is stopped is replaced."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        converter: JsonConverter,
        kill_grace: float,
        size: int,
        done: deque[Job],
        report: Callable[[], None],
    ) -> None:
        """Jobs are handed back through ``done``; ``report`` makes the loop look at it, from any thread."""
        self.loop = loop
        self.max_payload_bytes: int = converter.max_payload_bytes
        self.kill_grace = kill_grace
        self.capacity = size
        self.done = done
        self.report = report
        self.jobs: SimpleQueue[Job | None] = SimpleQueue()
        """``None`` ends the driver that gets it."""
        self._due = 0
        self._drivers: set[_Driver] = set()
        self._named = 0
        self._gone: Future[None] | None = None

    def submit(self, job: Job) -> None:
        """Gives the job to a process."""
        self._due += 1
        self.jobs.put(job)
        if len(self._drivers) >= self._due:
            return
        if not self._named:
            # Workers aren't daemonic, for then they couldn't have children; so nobody else ends them if close() is never called.
            atexit.register(self._kill_all)
        self._named += 1
        try:
            self._drivers.add(_Driver(self, f"perdure-activity-process-{self._named}"))
        except (RuntimeError, OSError) as exc:
            # The system has no thread or pipe left to give. The job stays in line for the processes there are.
            logger.error(  # noqa: TRY400 - where it was raised doesn't matter
                "no further worker process can be started (%s); activities wait for the %d there are", exc, len(self._drivers)
            )

    def release(self, job: Job) -> None:
        """Says that the executor has taken the job back."""
        del job
        self._due -= 1

    def stop(self, job: Job) -> None:
        """Ends the process of the job: by SIGTERM, after the kill grace by SIGKILL. The job comes back when it is dead."""
        job.context.cancellation.cancel()
        for driver in self._drivers:
            if driver.job is job:
                driver.poke()

    async def close(self, patience: float) -> list[str]:
        """Ends all processes; gives the names of those that are still there after ``patience`` seconds."""
        for _ in self._drivers:
            self.jobs.put(None)
        if self._drivers:
            self._gone = self.loop.create_future()
            timer = self.loop.call_later(patience, self._give_up_waiting)
            await self._gone
            timer.cancel()
        self._kill_all()
        atexit.unregister(self._kill_all)
        return [driver.thread.name for driver in self._drivers]

    def leave(self, driver: "_Driver") -> None:
        """Says that a driver has ended."""
        driver.release()
        self._drivers.discard(driver)
        if not self._drivers:
            self._give_up_waiting()

    def _give_up_waiting(self) -> None:
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def _kill_all(self) -> None:
        for driver in self._drivers:
            child = driver.child
            if child is not None:
                child.kill()


class _Driver:
    """The thread that does for one worker process at a time all that blocks: starting it, talking to it, ending it."""

    def __init__(self, pool: ProcessPool, name: str) -> None:
        self._pool = pool
        self._processes = get_context("spawn")
        self._poked, self._poke = self._processes.Pipe(duplex=False)
        self.job: Job | None = None
        self.child: ChildProcess | None = None
        self.thread = threading.Thread(target=self._drive, name=name, daemon=True)
        self.thread.start()

    def poke(self) -> None:
        """Makes the driver look at the token of its job."""
        self._poke.send_bytes(b"!")

    def release(self) -> None:
        """Frees what the ended driver holds."""
        self.thread.join()
        self._poke.close()
        self._poked.close()

    def _drive(self) -> None:
        while (job := self._pool.jobs.get()) is not None:
            self.job = job
            reply = self._serve(job)
            self.job = None
            job.result = reply.result
            job.failure = reply.failure
            self._pool.done.append(job)
            self._pool.report()
        child, self.child = self.child, None
        if child is not None:
            child.close(self._pool.kill_grace)
        with suppress(RuntimeError):  # The loop is closed: nobody counts drivers any more.
            self._pool.loop.call_soon_threadsafe(self._pool.leave, self)

    def _serve(self, job: Job) -> Reply:
        try:
            return self._run(job)
        except StopRequestedError:
            failure = None  # Nobody wants it.
        except LimitReachedError:
            failure = job.timeout_failure()
        except ActivityWorkerDiedError as exc:
            failure = failure_from_exception(exc)
            logger.warning("%s", exc)
        except Exception as exc:
            # The system can't start a process, for example: the activity may be retried, this thread has to go on.
            failure = failure_from_exception(exc)
            logger.exception("activity '%s' couldn't be run in a worker process", job.function.name)
        # Only a process that has answered in order is used again. The next job finds none and starts one.
        child, self.child = self.child, None
        if child is not None:
            child.stop(self._pool.kill_grace)
        return Reply(failure=failure)

    def _run(self, job: Job) -> Reply:
        work, function = job.work, job.function
        token = job.context.cancellation
        if token.is_cancelled:
            return Reply()
        if self.child is not None and not self.child.is_alive:
            # It died while idle, which is nobody's failure.
            self.child.close(0)
            self.child = None
        child = self.child
        if child is None:
            child = ChildProcess(self._processes, self._pool.max_payload_bytes, self._poked, self.thread.name)
            self.child = child
            child.greet(token)
        if function.name not in child.loaded:
            request = load_request(function)
            failure = request if isinstance(request, FailureDetails) else child.load(request, token)
            if failure is not None:
                return Reply(failure=failure)
        limit = function.timeout
        return child.run(
            Run(function.name, work.input, work.instance_id, work.task_id, work.attempt, work.idempotency_key),
            token,
            None if limit is None else limit.total_seconds(),
        )
