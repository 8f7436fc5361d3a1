"""What history says is open, after a start, after a failure, and when partitions come: messages, timers and activities."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from itertools import chain
from typing import Any

from perdure.core.effects import DispatchActivity
from perdure.engine.envelopes import Envelope
from perdure.engine.inbox import Inbox
from perdure.engine.recovery import ActivityKey, Recovery, outcome_keys
from perdure.engine.timers import Timers
from perdure.store.contract import Store


class OpenWork:
    """Gets it going again. One search for open activities goes on at a time."""

    def __init__(
        self,
        store: Store,
        inbox: Inbox,
        timers: Timers,
        *,
        waiting: Callable[[], Iterable[Envelope]],
        offered: Callable[[Collection[int]], Awaitable[Collection[str]]] | None,
        partition: Callable[[str], int],
        dispatch: Callable[[DispatchActivity], None],
        undecided: Callable[[Iterable[str]], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """``waiting``: what is queued up already; ``offered``: ids of activities on the shared queue, if there is one.

        ``partition``: of an instance.
        """
        self._store = store
        self._inbox = inbox
        self._timers = timers
        self._waiting = waiting
        self._offered = offered
        self._partition = partition
        self._dispatch = dispatch
        self._undecided = undecided
        self._failed = failed
        self._recovery: Recovery | None = None
        self._task: asyncio.Task[None] | None = None

    async def read(self, partitions: Collection[int], owned: Collection[int]) -> list[Envelope]:
        """What is open in ``partitions``, and all messages for ``owned`` ones that haven't been read.

        All of them, not only those for ``partitions``: from now on instances of ``partitions`` send messages to others within
        this engine, which must not overtake those that were stored before.

        Raises:
            StoreUnavailableError: the store can't be read.
        """
        elsewhere = await self._offered(partitions) if self._offered is not None else ()
        await self._timers.start()
        # Last, since others may fail, and then nobody would get the messages. What has been done elsewhere is among them.
        envelopes = await self._inbox.everything(owned)
        held = set(outcome_keys(chain(self._waiting(), envelopes)))
        self._recovery = Recovery(self._store, list(partitions), self._dispatch, held, elsewhere, self._undecided)
        return envelopes

    @property
    def searching(self) -> bool:
        """Whether activities may be open that nobody has dispatched yet."""
        return self._recovery is not None

    def find_activities(self) -> None:
        """Goes through the instances with open activities; new work may come in meanwhile."""
        if self._recovery is not None:
            self.run(self._find(self._recovery))

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs a step of a recovery, instead of any that is going on; what it raises is what the engine has to deal with."""
        task = self._task = asyncio.get_running_loop().create_task(work)

        def ended(task: "asyncio.Task[None]") -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._failed(error)

        task.add_done_callback(ended)

    def stop(self) -> None:
        """Forgets everything."""
        self._recovery = None
        self._timers.stop()
        self._inbox.stop()
        if self._task is not None:
            self._task.cancel()

    async def ended(self) -> None:
        """Returns when nothing runs any more, after ``stop``."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def hydrated(self, instance_id: str, works: list[DispatchActivity]) -> None:
        """An instance was loaded: its open activities needn't wait for the search, if it is one of those that it is for."""
        if self._recovery is not None and self._partition(instance_id) in self._recovery.partitions:
            self._recovery.hydrated(instance_id, works)

    def done(self, keys: Iterable[ActivityKey]) -> None:
        """These activities have outcomes, which aren't in history yet."""
        if self._recovery is not None:
            self._recovery.held.update(keys)

    async def _find(self, recovery: Recovery) -> None:
        try:
            await recovery.activities()
        finally:
            if self._recovery is recovery:
                self._recovery = None
