"""After a failure of the store, or of a lease: what is ahead of the store is dropped, and the engine goes on from the store."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from perdure.engine.committer import Batch, Committer
from perdure.engine.dispatching import Dispatching
from perdure.engine.envelopes import Envelope, Origin
from perdure.engine.errors import CommitFailedError, EngineStoppedError
from perdure.engine.hooks import EngineHooks
from perdure.engine.neighbours import Neighbours
from perdure.engine.open_work import OpenWork
from perdure.engine.ownership import Ownership
from perdure.engine.partition_loop import PartitionLoop
from perdure.engine.remote.remote import RemoteWork
from perdure.store.errors import LeaseLostError, StoreUnavailableError


class Failover:
    """Nobody who waits is forgotten: whoever can't be served again is told that the outcome is unknown."""

    def __init__(
        self,
        hooks: EngineHooks,
        *,
        max_retry_delay: float,
        loop: PartitionLoop,
        committer: Committer,
        dispatching: Dispatching,
        ownership: Ownership,
        open_work: OpenWork,
        remote: RemoteWork | None,
        neighbours: Neighbours | None,
        stopped: Callable[[], bool],
        begin: Callable[[], Awaitable[None]],
        resumed: Callable[[], None],
        shut: Callable[[Exception], None],
    ) -> None:
        """``begin`` takes the partitions and reads what is open, then ``resumed`` is called; ``shut`` where nothing can go on."""
        self._hooks = hooks
        self._max_retry_delay = max_retry_delay
        self._loop = loop
        self._committer = committer
        self._dispatching = dispatching
        self._ownership = ownership
        self._open_work = open_work
        self._remote = remote
        self._neighbours = neighbours
        self._stopped = stopped
        self._begin = begin
        self._resumed = resumed
        self._shut = shut
        # Where one engine owns everything, another owner is one too many. On a shared hub it is everyday life.
        self._recoverable: tuple[type[BaseException], ...] = (
            (StoreUnavailableError,) if neighbours is None else (StoreUnavailableError, LeaseLostError)
        )

    def failed(self, error: BaseException, batches: Sequence[Batch] = ()) -> None:
        """Drops everything that is ahead of the store (``batches`` failed to be written), then recovers or stops."""
        self._committer.batch, unwritten = Batch(), self._committer.batch
        lost = [*batches, unwritten]
        callers = [caller for batch in lost for caller in batch.callers]
        for batch in lost:
            batch.give_up()
        if self._neighbours is not None:
            self._neighbours.exchange.requests.forget(callers)
        asked_again = not self._stopped() and self._neighbours is not None and isinstance(error, LeaseLostError)
        if not asked_again:
            unknown = CommitFailedError(f"the store failed while this call was being written, so its outcome is unknown: {error}")
            tell(callers, unknown)
        if self._stopped():
            return
        self._open_work.stop()
        queued = self._loop.take_all()
        self._dispatching.void()
        if self._remote is not None:
            self._remote.reset()
        self._ownership.drop()
        outcomes = (outcome for batch in lost for outcome in batch.outcomes)
        # Where a lease was lost, surely nothing was written, so that the calls can go to the next owner.
        waiting = [*outcomes, *(callers if asked_again else ()), *queued]
        kept = [envelope for envelope in waiting if envelope.origin in (Origin.CLIENT, Origin.ACTIVITY)]
        decided = [envelope for envelope in waiting if envelope.origin is Origin.WORKER]
        if not isinstance(error, self._recoverable):
            stopped = EngineStoppedError(f"the hub has stopped: {error}")
            stopped.__cause__ = error
            tell([*kept, *decided], stopped)
            self._shut(stopped)
            self._hooks.stopped(error)
            return
        tell(decided, _ask_again(error))  # what a worker was asked may not have become durable
        self._loop.post(kept)  # it is paused: they wait there, also if this recovery is overtaken by another failure
        self._open_work.run(self._recover(error))

    async def _recover(self, error: BaseException) -> None:
        attempt = 0
        while True:
            attempt += 1
            self._hooks.recovering(error, attempt)
            await asyncio.sleep(min(0.05 * 2 ** min(attempt - 1, 20), self._max_retry_delay))
            await self._committer.drained()  # what is still being written must be visible to what is read next
            try:
                await self._begin()
            except self._recoverable as again:
                error = again
            else:
                self._resumed()
                return


def _ask_again(error: BaseException) -> CommitFailedError:
    return CommitFailedError(f"the store failed before this answer was written, so that the work is offered again: {error}")


def tell(callers: Iterable[Envelope], error: Exception) -> None:
    """Says it to those who call this engine. Requests of other engines lie in the inbox, where they will be found again."""
    for caller in callers:
        if not caller.stored:
            caller.answer(error)
