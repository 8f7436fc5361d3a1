"""Which worker has what: items go to workers with room, and to others as well where nobody has answered in time."""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from itertools import count

from perdure.core.answer_checks import StaleAnswerError
from perdure.core.effects import DispatchActivity
from perdure.core.hydrated import Hydrated
from perdure.core.remote_entity import RemoteEntity
from perdure.core.remote_orchestration import RemoteOrchestration
from perdure.engine.clock import Clock
from perdure.engine.remote.items import Grant, Item, Lanes, Phase, lane_key
from perdure.engine.remote.unwanted import Report, Unwanted
from perdure.engine.remote.work import ActivityWork, EntityWork, Kind, OrchestratorWork, Work, WorkerLimits, WorkFilter
from perdure.engine.remote.worker import Worker
from perdure.engine.settings import RemoteSettings


class Giving:
    """Every item that is open is with a worker, or will be as soon as one that wants it has room.

    Who is late keeps the item: the first answer that is valid counts. So work that takes longer than its lease comes to an end,
    and what a worker has lost is done by another one.
    """

    def __init__(
        self,
        settings: RemoteSettings,
        clock: Clock,
        *,
        instance: Callable[[str], Hydrated | None],
        wake: Callable[[Iterable[str]], None],
        unwanted: Report,
    ) -> None:
        """``instance`` gives a hot one; ``wake`` has instances say again what they want; ``unwanted`` hears what nobody takes."""
        self._settings = settings
        self._clock = clock
        self._instance = instance
        self._wake = wake
        self.workers: list[Worker] = []
        self._lanes = Lanes()
        self._unwanted = Unwanted(self._lanes, self.workers, settings.unwanted_after.total_seconds(), unwanted)
        self.items: dict[object, Item] = {}
        """Everything that is to be done, by key."""
        self._grants: dict[str, Grant] = {}
        self._secret = secrets.token_hex(16)
        """Nobody knows a token who hasn't got one from here, and none of an earlier process is good."""
        self._tokens = count()
        self._look: asyncio.TimerHandle | None = None
        self._rests: set[asyncio.TimerHandle] = set()
        self.open = True
        """Whether workers get anything."""
        self._idle: asyncio.Future[None] | None = None

    def connect(self, limits: WorkerLimits, filter_: WorkFilter | None) -> Worker:
        """A worker that gets work from now on."""
        settings = self._settings
        worker = Worker(
            {
                Kind.ORCHESTRATOR: limits.orchestrators or settings.max_orchestrators_per_worker,
                Kind.ACTIVITY: limits.activities or settings.max_activities_per_worker,
                Kind.ENTITY: limits.entities or settings.max_entities_per_worker,
            },
            filter_,
            self._left,
        )
        self.workers.append(worker)
        for kind in Kind:
            self._fill(worker, kind)
        return worker

    # --- items ----------------------------------------------------------------------------------------------------

    def add(self, item: Item) -> None:
        """There is something to do."""
        self.items[item.key] = item
        self._place(item)

    def still_wanted(self, item: Item) -> None:
        """It is asked for again: it is loaded now if it was to be, and others may get it if it was held."""
        if item.loading_for is not None:
            self._hand_over(item, item.loading_for)
        elif item.phase is Phase.HELD and item.grants:
            item.phase = Phase.OUT
        elif item.phase is Phase.HELD:
            self._place(item)

    def hold(self, item: Item) -> None:
        """Nobody else gets it before it is ``still_wanted``. Who has it may answer."""
        if item.grants or item.phase is Phase.ANSWERED:
            self._move(item, Phase.HELD)
        else:
            self.forget(item)

    def forget(self, item: Item) -> None:
        """Nobody wants it any more: answers are refused. Workers that are at it have a place less until they give one."""
        self._move(item, Phase.GONE)
        for grant in item.grants:
            grant.item = None
        item.grants.clear()
        if self.items.get(item.key) is item:
            del self.items[item.key]
        self._look_whether_idle()

    def _move(self, item: Item, phase: Phase) -> None:
        worker, item.loading_for = item.loading_for, None
        item.phase = phase
        if worker is not None:
            worker.taken[item.kind] -= 1
            asyncio.get_running_loop().call_soon(self._fill, worker, item.kind)

    # --- giving ---------------------------------------------------------------------------------------------------

    def _place(self, item: Item, *, first: bool = False) -> None:
        """Gives the item to the least busy of the workers that want it, or queues it."""
        key = lane_key(item)
        best: Worker | None = None
        for worker in self.workers:
            if worker.room(item.kind) <= 0 or not worker.wants(key):
                continue
            if best is None or self._rank(worker, item) < self._rank(best, item):
                best = worker
        if best is None or not self.open:
            self._lanes.add(item, first=first)
            self._unwanted.queued()
        else:
            self._hand_over(item, best)

    @staticmethod
    def _rank(worker: Worker, item: Item) -> tuple[bool, float]:
        return worker is item.avoid, worker.load(item.kind)

    def _fill(self, worker: Worker, kind: Kind) -> None:
        """The worker has room: gives it what is queued."""
        while self.open and worker.room(kind) > 0:
            item = self._lanes.take(kind, worker.wants)
            if item is None:
                return
            self._hand_over(item, worker)

    def _hand_over(self, item: Item, worker: Worker) -> None:
        if item.loading_for is None:
            worker.taken[item.kind] += 1
        token = f"{self._secret}{next(self._tokens):012x}"
        work, at, offered = self._work(item, token, self._clock.now_us())
        if work is None:
            item.phase = Phase.LOADING
            item.loading_for = worker
            self._wake((item.asked.instance_id,))
            return
        limit = self._settings.activity_lease if item.kind is Kind.ACTIVITY else self._settings.decision_lease
        # Longer each time, so that work which takes many times its lease isn't done many times.
        deadline = asyncio.get_running_loop().time() + limit.total_seconds() * 2 ** len(item.grants)
        grant = Grant(token, worker, item.kind, item, at, offered, deadline)
        item.phase = Phase.OUT
        item.loading_for = None
        item.grants.append(grant)
        self._grants[token] = grant
        worker.tokens[token] = None
        worker.give(work)
        if self._look is None:
            self._look_later()

    def _work(self, item: Item, token: str, at: int) -> tuple[Work | None, int, int]:
        asked = item.asked
        if isinstance(asked, DispatchActivity):
            return ActivityWork(token, asked), at, 1
        instance = self._instance(asked.instance_id)
        if isinstance(instance, RemoteOrchestration) and instance.ticket == asked.ticket:
            history = instance.history
            at = max(at, history.last_at)
            new = instance.new_events(asked.count)
            started = instance.started
            work = OrchestratorWork(token, asked.instance_id, started, history, len(history.past), at, new, history.span)
            return work, at, asked.count
        if isinstance(instance, RemoteEntity) and instance.ticket == asked.ticket:
            operations = instance.runnable(asked.count)
            execution_id = instance.started.execution_id
            return EntityWork(token, asked.instance_id, execution_id, instance.state_text, operations), at, len(operations)
        return None, at, 0

    # --- taking back ----------------------------------------------------------------------------------------------

    def grant(self, token: str, kind: Kind | None = None) -> Grant:
        """What a worker has got with a token.

        Raises:
            StaleAnswerError: nothing of that kind; or it has been taken away, and the worker has its place back now.
        """
        grant = self._grants.get(token)
        if grant is None or kind not in (None, grant.kind):
            raise _unknown()
        if grant.item is None:
            self._end(grant)
            self._fill(grant.worker, grant.kind)
            raise _unknown()
        return grant

    def answered(self, grant: Grant) -> Item:
        """Nobody else gets the item while its answer is being applied; others that have it keep it. This worker has room."""
        item = grant.item
        assert item is not None
        self._end(grant)
        if item.phase is not Phase.HELD:
            self._move(item, Phase.ANSWERED)
        self._fill(grant.worker, grant.kind)
        return item

    def refused(self, item: Item, worker: Worker) -> None:
        """The answer of ``worker`` counts for nothing. The item is offered again after a while, unless somebody else has it."""
        if item.phase is Phase.ANSWERED and item.grants:
            item.phase = Phase.OUT
        elif item.phase is Phase.ANSWERED:
            self._rest(item, worker)
        else:
            self._forget_if_held(item)

    def give_back(self, grant: Grant) -> None:
        """The worker doesn't do it. Others get it first; each return makes it rest for longer."""
        item = grant.item
        assert item is not None
        if self._end(grant) or item.phase is Phase.QUEUED:
            self._rest(item, grant.worker)
        else:
            self._forget_if_held(item)
        self._fill(grant.worker, grant.kind)

    def _end(self, grant: Grant) -> bool:
        """Whether somebody has to do the item instead."""
        worker, item = grant.worker, grant.item
        del self._grants[grant.token]
        del worker.tokens[grant.token]
        worker.taken[grant.kind] -= 1
        latest = False
        if item is not None:
            latest = item.phase is Phase.OUT and item.grants[-1] is grant
            item.grants.remove(grant)
            grant.item = None
        self._look_whether_idle()
        return latest

    def _forget_if_held(self, item: Item) -> None:
        if item.phase is Phase.HELD and not item.grants:
            self.forget(item)

    def _left(self, worker: Worker) -> None:
        """A worker is gone: what it had is for others, at once."""
        self.workers.remove(worker)
        for token in list(worker.tokens):
            grant = self._grants[token]
            item = grant.item
            if self._end(grant) and item is not None:
                self._place(item, first=True)
            elif item is not None:
                self._forget_if_held(item)
        for item in list(self.items.values()):
            if item.loading_for is worker:
                self._move(item, Phase.QUEUED)
                self._place(item, first=True)

    def _rest(self, item: Item, worker: Worker) -> None:
        """Offers the item again after a while that grows with each return."""
        item.returns += 1
        item.avoid = worker
        item.phase = Phase.RESTING
        longest = self._settings.max_rest.total_seconds()
        handle = asyncio.get_running_loop().call_later(
            min(0.1 * 2 ** min(item.returns - 1, 20), longest), lambda: self._rested(item, handle)
        )
        self._rests.add(handle)

    def _rested(self, item: Item, handle: asyncio.TimerHandle) -> None:
        self._rests.discard(handle)
        if item.phase is Phase.RESTING:
            self._place(item)

    # --- workers that hang ----------------------------------------------------------------------------------------

    def _look_later(self) -> None:
        shortest = min(self._settings.decision_lease, self._settings.activity_lease).total_seconds()
        self._look = asyncio.get_running_loop().call_later(shortest / 4, self._look_at_leases)

    def _look_at_leases(self) -> None:
        self._look = None
        now = asyncio.get_running_loop().time()
        for grant in list(self._grants.values()):
            item = grant.item
            if item is not None and item.phase is Phase.OUT and item.grants[-1] is grant and grant.deadline <= now:
                item.avoid = grant.worker
                self._place(item, first=True)
        if self._grants and self.open:
            self._look_later()

    # --- the end --------------------------------------------------------------------------------------------------

    async def idle(self, grace: float) -> None:
        """Waits until no worker has anything, or for ``grace`` seconds."""
        loop = asyncio.get_running_loop()
        idle = self._idle = loop.create_future()
        self._look_whether_idle()
        timer = loop.call_later(grace, self.hurry)
        await idle
        timer.cancel()

    def _look_whether_idle(self) -> None:
        if self._idle is not None and not any(grant.item is not None for grant in self._grants.values()):
            self.hurry()

    def hurry(self) -> None:
        """Ends the wait of ``idle``."""
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def stop(self) -> None:
        """Lets all workers go at once."""
        self.open = False
        for worker in list(self.workers):
            worker.disconnect()
        for rest in self._rests:
            rest.cancel()
        self._unwanted.stop()
        if self._look is not None:
            self._look.cancel()
            self._look = None


def _unknown() -> StaleAnswerError:
    return StaleAnswerError(
        "the completion token isn't good (any more): the item was answered before, by this worker or another one, or is obsolete."
    )
