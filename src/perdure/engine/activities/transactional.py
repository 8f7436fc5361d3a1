"""Activities whose writes become durable together with their completion: both, or neither."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from time import monotonic

import msgspec

from perdure.core.converter import Converter
from perdure.core.effects import DispatchActivity
from perdure.core.events import TaskCompleted
from perdure.core.failures import FailureDetails, failure_from_exception
from perdure.core.messages import Message
from perdure.engine.activities.invoke import INPUT, RESULT, payload_failure, user_failure
from perdure.engine.activities.job import Job, Settlement, describe
from perdure.store.contract import AsyncTransaction, Fence, StoredMessage, Transaction, Transactions
from perdure.store.errors import LeaseLostError, StoreUnavailableError, TransactionsUnsupportedError

logger = logging.getLogger("perdure.activities")

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0

Outcome = tuple[str | None, FailureDetails | None]
_NOTHING: Outcome = (None, None)
"""Of a job whose outcome is decided elsewhere: it was given up, or its settlement says it."""


class Settling(msgspec.Struct, frozen=True, kw_only=True):
    """What transactional activities need of the engine. ``fence`` and ``stored`` are called in any thread."""

    transactions: Transactions
    fence: Callable[[DispatchActivity], Fence | None]
    """What proves at this moment that the activity is this engine's to run; ``None`` if nothing does."""
    stored: Callable[[Message], StoredMessage]
    """A completion for the inbox of the activity's instance."""
    settled: Callable[[DispatchActivity, Settlement], None]
    """Called on the loop thread for each activity that has no outcome but its settlement."""
    failed: Callable[[DispatchActivity, FailureDetails], None] | None = None
    """Takes failures, instead of their being reported as outcomes."""


class TransactionalRunner:
    """Runs the function of a job in a transaction, and commits its completion in the same one.

    The order is what makes it exactly once. The fence is read first. Then the job is claimed: the engine, which drops all jobs
    when it may have lost their partitions, hasn't dropped this one; so the fence is the one under which the activity was
    dispatched. Then the store commits, if the fence is still current. An engine that takes the partition over makes it stale
    before it reads what is stored, so it either finds the completion, or the commit is refused.
    """

    def __init__(self, settling: Settling) -> None:
        self._settling = settling

    def run(self, job: Job, converter: Converter) -> Outcome:
        """A ``def``, in this thread."""
        try:
            return self._run(job, converter)
        except BaseException as exc:  # noqa: BLE001 - a thread that dies would take its place in the pool along
            return None, user_failure(exc)

    async def run_async(self, job: Job, converter: Converter, begun: Callable[[], None]) -> Outcome:
        """An ``async def``, in this task. ``begun`` is called when the user's code is about to be."""
        try:
            return await self._run_async(job, converter, begun)
        except BaseException as exc:  # noqa: BLE001 - also cancelled while it waited for a transaction
            return None, user_failure(exc)

    def _run(self, job: Job, converter: Converter) -> Outcome:
        function = job.function
        try:
            value = converter.decode(job.work.input, function.input_type, INPUT, function.name)
        except BaseException as exc:  # noqa: BLE001 - conversion runs user code
            return None, payload_failure(exc)
        with ExitStack() as stack:
            try:
                transaction = self._begin(job, stack)
            except TransactionsUnsupportedError as error:
                return None, payload_failure(error)
            if transaction is None:
                return _NOTHING
            job.started = monotonic()  # the wait for the transaction isn't the user's time
            try:
                returned = function.call(value, transaction.connection)
            except BaseException as exc:  # noqa: BLE001 - user code
                return None, user_failure(exc)
            settled = self._settle(job, converter, returned)
            if not isinstance(settled, _Ready):
                return settled
            try:
                transaction.commit(settled.message, settled.fence)
            except BaseException as exc:  # noqa: BLE001 - the database's errors are many
                return _not_committed(job, exc)
            job.settlement = Settlement()
            return _NOTHING

    async def _run_async(self, job: Job, converter: Converter, begun: Callable[[], None]) -> Outcome:
        function = job.function
        try:
            value = converter.decode(job.work.input, function.input_type, INPUT, function.name)
        except BaseException as exc:  # noqa: BLE001 - conversion runs user code
            return None, payload_failure(exc)
        async with AsyncExitStack() as stack:
            try:
                transaction = await self._begin_async(job, stack)
            except TransactionsUnsupportedError as error:
                return None, payload_failure(error)
            begun()
            try:
                returned = await function.call(value, transaction.connection)
            except BaseException as exc:  # noqa: BLE001 - user code; SystemExit would stop the loop
                return None, user_failure(exc)
            settled = self._settle(job, converter, returned)
            if not isinstance(settled, _Ready):
                return settled
            try:
                await transaction.commit(settled.message, settled.fence)
            except BaseException as exc:  # noqa: BLE001 - the database's errors are many
                return _not_committed(job, exc)
            job.settlement = Settlement()
            return _NOTHING

    def _begin(self, job: Job, stack: ExitStack) -> Transaction | None:
        """Goes on trying until the job is given up: nothing has been done yet that could fail."""
        pause = _FIRST_PAUSE
        cancellation = job.context.cancellation
        while not cancellation.is_cancelled:
            try:
                return stack.enter_context(self._settling.transactions.begin())
            except StoreUnavailableError as error:
                logger.warning("%s waits for a transaction: %s", describe(job), error)
            cancellation.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return None

    async def _begin_async(self, job: Job, stack: AsyncExitStack) -> AsyncTransaction:
        pause = _FIRST_PAUSE
        while True:
            try:
                return await stack.enter_async_context(self._settling.transactions.begin_async())
            except StoreUnavailableError as error:
                logger.warning("%s waits for a transaction: %s", describe(job), error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _settle(self, job: Job, converter: Converter, returned: object) -> "_Ready | Outcome":
        work = job.work
        try:
            result = converter.encode(returned, RESULT, job.function.name)
        except BaseException as exc:  # noqa: BLE001 - conversion runs user code
            return None, payload_failure(exc)
        fence = self._settling.fence(work)
        if not job.claim():
            return _NOTHING  # given up: whoever did it tells what became of it
        job.committing = True
        if fence is None:
            job.settlement = Settlement(refused=True)
            return _NOTHING
        completed = Message(work.instance_id, TaskCompleted(work.task_id, result), work.execution_id, work.generation)
        return _Ready(self._settling.stored(completed), fence)


class _Ready(msgspec.Struct, frozen=True):
    message: StoredMessage
    fence: Fence


def _not_committed(job: Job, error: BaseException) -> Outcome:
    if isinstance(error, LeaseLostError):
        logger.info("%s was undone, and is done again by whoever it is for now: %s", describe(job), error)
        job.settlement = Settlement(refused=True)
        return _NOTHING
    if isinstance(error, Exception) and not isinstance(error, StoreUnavailableError):
        return None, user_failure(error)  # the database refused what the user wrote
    # Also a task that is cancelled from outside of the engine, in the middle of the commit.
    if not isinstance(error, StoreUnavailableError):
        error = StoreUnavailableError(f"the commit of {describe(job)} was interrupted: {type(error).__name__}")
    job.settlement = Settlement(unknown=error)
    return _NOTHING


def no_transactions(name: str) -> FailureDetails:
    """The failure of a transactional activity where nothing could be. A retry can't help."""
    return failure_from_exception(
        TransactionsUnsupportedError(
            f"activity '{name}' is transactional, and this hub's store has no transactions for it: use sqlite:/// or postgresql://."
        ),
        non_retriable=True,
    )
