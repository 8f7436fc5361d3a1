"""Event loop tasks for ``async def`` activities."""

import logging
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from time import monotonic

from perdure.core.converter import Converter, JsonConverter
from perdure.core.failures import FailureDetails
from perdure.engine.activities.context import current
from perdure.engine.activities.invoke import INPUT, RESULT, payload_failure, user_failure
from perdure.engine.activities.job import Job, describe
from perdure.engine.activities.transactional import TransactionalRunner

logger = logging.getLogger("perdure.activities")


class TaskPool:
    """An ``ActivityPool`` of asyncio tasks, one for each activity, so that user code may shield and time out as it likes."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        converter: JsonConverter,
        kill_grace: float,
        capacity: int,
        hand_back: Callable[[Job], None],
        transactional: TransactionalRunner | None = None,
    ) -> None:
        self._loop = loop
        self._converter = converter
        self._kill_grace = kill_grace
        self._hand_back = hand_back
        self._transactional = transactional
        self._context = copy_context()
        self._strays: set[Task[None]] = set()
        """Tasks that were given up because they ignored their cancellation."""
        self.capacity = capacity

    def submit(self, job: Job) -> None:
        """Starts a job: its first step is made by the loop, not here."""
        job.task = self._loop.create_task(self._run(job), context=self._context.copy())

    def stop(self, job: Job) -> None:
        """Cancels a job, unless it is being committed. If it hasn't ended after the kill grace, it is given up."""
        token = job.context.cancellation
        if token.is_cancelled or not job.claim():
            return
        token.cancel()
        job.drop_timer()
        if job.started is None:
            self._hand_back(job)
        elif job.task is not None:
            job.task.cancel()
            job.timer = self._loop.call_later(self._kill_grace, self._give_up, job)

    def release(self, job: Job) -> None:
        """Drops what could still happen to a job."""
        job.drop_timer()

    async def close(self, patience: float) -> list[str]:
        """Names the activities that go on in spite of their cancellation: nothing else is left of a released job."""
        del patience
        return [task.get_name() for task in self._strays]

    async def _run(self, job: Job) -> None:
        if job.context.cancellation.is_cancelled:
            return  # Stopped before it started, and handed back by stop().
        function = job.function
        converter = self._converter if function.converter is None else function.converter(self._converter)
        job.started = monotonic()
        current.set(job.context)
        if function.transactional and self._transactional is not None:
            job.result, job.failure = await self._transactional.run_async(job, converter, partial(self._limit, job))
        else:
            self._limit(job)
            job.result, job.failure = await self._call(job, converter)
        self._hand_back(job)

    async def _call(self, job: Job, converter: Converter) -> tuple[str | None, FailureDetails | None]:
        function, name = job.function, job.function.name
        try:
            arguments = (converter.decode(job.work.input, function.input_type, INPUT, name),) if function.takes_input else ()
        except BaseException as exc:  # noqa: BLE001 - conversion runs user code
            return None, payload_failure(exc)
        try:
            value = await function.call(*arguments)
        except BaseException as exc:  # noqa: BLE001 - user code; SystemExit would stop the loop
            return None, user_failure(exc)
        try:
            return converter.encode(value, RESULT, name), None
        except BaseException as exc:  # noqa: BLE001 - conversion runs user code
            return None, payload_failure(exc)

    def _limit(self, job: Job) -> None:
        if job.function.timeout is not None and not job.context.cancellation.is_cancelled:
            job.timer = self._loop.call_later(job.function.timeout.total_seconds(), self._expire, job)

    def _expire(self, job: Job) -> None:
        if not job.committing:
            job.expired = True
            self.stop(job)

    def _give_up(self, job: Job) -> None:
        logger.warning("%s has ignored its cancellation for %g s; it is left to itself", describe(job), self._kill_grace)
        task = job.task
        if task is not None:
            task.set_name(describe(job))
            self._strays.add(task)
            task.add_done_callback(self._strays.discard)
        self._hand_back(job)
