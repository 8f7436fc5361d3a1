"""The engine: one store, its partitions, and everything that moves. Embed it through ``perdure.TaskHub``."""

import asyncio
import os
import socket
from collections.abc import Coroutine, Sequence
from typing import Any

from perdure.core.converter import JsonConverter
from perdure.core.effects import CancelActivities, DispatchActivity, Effect, EntityOperationLost, InstanceEnded
from perdure.core.events import EntityStateSaved, TaskCompleted, TaskFailed
from perdure.core.functions import Functions
from perdure.core.messages import Message
from perdure.core.state import InstanceState
from perdure.engine.activities import ActivityExecutor, ActivityOutcome
from perdure.engine.clock import Clock
from perdure.engine.committer import Batch, Committer
from perdure.engine.envelopes import Envelope, Origin
from perdure.engine.errors import CommitFailedError, EngineStoppedError
from perdure.engine.hooks import EngineHooks
from perdure.engine.partition_loop import PartitionLoop
from perdure.engine.recovery import ActivityKey, Recovery, activity_key, outcome_keys
from perdure.engine.settings import EngineSettings
from perdure.engine.timers import Timers
from perdure.engine.waiters import Waiters
from perdure.engine.watchdog import Watchdog
from perdure.store.contract import HubStore, Lease
from perdure.store.errors import HubInUseError, StoreUnavailableError

_FOREVER_US = 100 * 365 * 24 * 3600 * 1_000_000
"""The stores of today have one owner at a time and prove it when they are opened, so a lease needs no renewal."""


class Engine:
    """Runs the instances of one hub. All methods belong to the event loop that called ``start``."""

    def __init__(
        self, store: HubStore, functions: Functions, *, settings: EngineSettings, clock: Clock, hooks: EngineHooks
    ) -> None:
        self._store = store
        self._functions = functions
        self._settings = settings
        self._clock = clock
        self._hooks = hooks
        self.converter = JsonConverter(settings.max_payload_bytes)
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._leases: Sequence[Lease] = ()
        self._partitions: list[int] = []
        self._stopped: Exception | None = EngineStoppedError("the hub has not been started")
        self._started = False
        self._closing = False
        self._recovery: Recovery | None = None
        self._held: set[ActivityKey] = set()
        self._recovering: asyncio.Task[None] | None = None
        self._relief = asyncio.Event()
        self._next_eviction: asyncio.TimerHandle | None = None
        self.waiters = Waiters()
        self._watchdog = Watchdog(settings.blocked_after.total_seconds(), hooks.blocked)
        self._activities = ActivityExecutor(
            functions,
            self.converter,
            self._on_outcomes,
            max_concurrent=settings.max_concurrent_activities,
            max_threads=settings.max_activity_threads,
            max_processes=settings.max_activity_processes,
            kill_grace=settings.kill_grace,
        )

    @property
    def stopped(self) -> Exception | None:
        """Why nothing can be done, if so."""
        return self._stopped

    @property
    def running_activities(self) -> int:
        """Activities being executed right now."""
        return self._activities.running

    @property
    def hydrated_instances(self) -> int:
        """Instances in memory."""
        return len(self._loop.sessions)

    def live_state(self, instance_id: str) -> InstanceState | EntityStateSaved | None:
        """What memory says of a hydrated instance, to look at; ``None`` where it isn't hydrated."""
        session = self._loop.sessions.get(instance_id)
        return session.instance.durable if session is not None else None

    async def start(self) -> None:
        """Opens the store, takes its partitions, and gets everything going that history says is open.

        Raises:
            StoreError: see ``Store.open``.
        """
        hub = await self._store.open()
        try:
            self._partitions = list(range(hub.partition_count))
            self._leases = await self._take_partitions()
            self._committer = Committer(self._store, lambda: self._leases, self._released, self._failed)
            self._loop = PartitionLoop(
                store=self._store,
                committer=self._committer,
                functions=self._functions,
                converter=self.converter,
                clock=self._clock,
                hooks=self._hooks,
                settings=self._settings,
                watchdog=self._watchdog,
                partition_count=hub.partition_count,
                hydrated=self._on_hydrated,
                ran=self._on_run,
                failed=self._failed,
            )
            self._timers = Timers(
                self._clock,
                self._on_due,
                lambda after, limit: self._store.due(self._partitions, after, limit),
                self._failed,
            )
            recovery = await self._begin()
        except BaseException:
            await self._store.close()
            raise
        self._activities.start(asyncio.get_running_loop())
        self._committer.start()
        self._watchdog.start()
        self._started = True
        self._stopped = None
        self._go_on(recovery)

    async def _take_partitions(self) -> Sequence[Lease]:
        leases = await self._store.acquire(self._owner, self._partitions, _FOREVER_US)
        if len(leases) < len(self._partitions):
            raise HubInUseError(
                "another engine owns partitions of this hub, and this kind of store allows only one. Stop it first."
            )
        return leases

    async def close(self) -> None:
        """Drains: running activities get the grace of the settings, and what was decided is written."""
        if self._closing or not self._started:
            return
        self._closing = True
        self._timers.stop()
        await self._activities.close(self._settings.drain_grace)
        await self._loop.drained()
        await self._committer.drained()
        self._shut(EngineStoppedError("the hub is closed"))
        self._watchdog.stop()
        await self._committer.stop()
        if self._recovering is not None:
            self._recovering.cancel()
            await asyncio.gather(self._recovering, return_exceptions=True)
        try:
            await self._store.release(self._leases)
        except StoreUnavailableError:
            pass  # it expires
        finally:
            await self._store.close()

    def hurry(self) -> None:
        """Lets ``close`` wait no longer for running activities. Their histories still say that they are to be done."""
        self._activities.hurry()

    # --- calls from clients ---------------------------------------------------------------------------------------

    async def send(self, message: Message, *, fresh: bool = False) -> None:
        """Returns once the message's effect is durable. ``fresh``: the instance id was made up for it.

        Raises:
            InstanceNotFoundError, InstanceFinishedError, InstanceAlreadyExistsError: as the recipient's state says.
            CommitFailedError: the store failed; the outcome is unknown.
            EngineStoppedError: the hub is closed.
        """
        await self._call(Envelope(message.instance_id, message, Origin.CLIENT, self._reply(), fresh=fresh))

    async def purge(self, instance_id: str) -> None:
        """Deletes an instance that has ended.

        Raises:
            InstanceNotFoundError, InstanceRunningError: as its state says.
            CommitFailedError, EngineStoppedError: as for ``send``.
        """
        await self._call(Envelope(instance_id, None, Origin.CLIENT, self._reply(), purge=True))

    def is_running(self, instance_id: str) -> bool:
        """Whether memory alone tells that the instance has not ended."""
        return self._stopped is None and self._loop.is_hot(instance_id)

    async def _call(self, envelope: Envelope) -> None:
        while self._stopped is None and self._overloaded:
            self._relief.clear()
            await self._relief.wait()
        if self._stopped is not None:
            raise self._stopped
        if self._closing:
            raise EngineStoppedError("the hub is closing")
        self._loop.post((envelope,))
        assert envelope.reply is not None
        await envelope.reply

    def _reply(self) -> "asyncio.Future[None]":
        return asyncio.get_running_loop().create_future()

    @property
    def _overloaded(self) -> bool:
        return self._loop.queued + self._activities.backlog > self._settings.max_queued_messages

    # --- what the parts report ------------------------------------------------------------------------------------

    def _on_outcomes(self, outcomes: list[ActivityOutcome]) -> None:
        envelopes: list[Envelope] = []
        for outcome in outcomes:
            work = outcome.work
            event = (
                TaskCompleted(work.task_id, outcome.result)
                if outcome.failure is None
                else TaskFailed(work.task_id, outcome.failure)
            )
            message = Message(work.instance_id, event, work.execution_id, work.generation)
            envelopes.append(Envelope(work.instance_id, message, Origin.ACTIVITY))
        if self._recovery is not None:
            self._held.update(activity_key(outcome.work) for outcome in outcomes)
        self._loop.post(envelopes)

    def _on_due(self, instance_ids: list[str]) -> None:
        self._loop.post(Envelope(instance_id, None, Origin.TIMER) for instance_id in instance_ids)

    def _on_hydrated(self, instance_id: str, works: list[DispatchActivity]) -> None:
        if self._recovery is not None and not self._closing:
            self._recovery.hydrated(instance_id, works)

    def _released(self, batch: Batch, effects: list[Effect]) -> None:
        """The batch is durable: now, and only now, the outside learns of it (rule 1)."""
        for effect in effects:
            self._release(effect, batch)
        for envelope, error in batch.answers:
            envelope.answer(error)
        if not self._settings.passive:
            for wake_at, instance_id in batch.wakes:
                self._timers.add(wake_at, instance_id)
        sessions = self._loop.sessions
        for session in batch.sessions:
            session.uncommitted -= 1
            if session.instance.ended and not session.uncommitted:
                instance_id = session.instance.instance_id
                if sessions.get(instance_id) is session:
                    sessions.drop(instance_id)
        if batch.reposts:
            self._loop.repost(batch.reposts)
        self._evict()
        self._make_room()

    def _on_run(self) -> None:
        if self._committer.idle:
            self._make_room()  # what was handled needed no commit, whose release would do it

    def _make_room(self) -> None:
        """Lets waiting calls in, if there is room for them."""
        if not self._overloaded:
            self._relief.set()

    def _evict(self) -> None:
        """Holds the bounds of the session cache; comes back by itself as long as anything could fall idle."""
        sessions = self._loop.sessions
        sessions.evict(self._clock.now_us())
        if self._next_eviction is None and len(sessions) and self._stopped is None:
            self._next_eviction = asyncio.get_running_loop().call_later(
                self._settings.session_idle_timeout.total_seconds(), self._evict_later
            )

    def _evict_later(self) -> None:
        self._next_eviction = None
        self._evict()

    def _release(self, effect: Effect, batch: Batch) -> None:
        match effect:
            case DispatchActivity():
                if not self._closing and not self._settings.passive:
                    self._activities.dispatch(effect)
            case CancelActivities():
                self._activities.cancel_instance(effect.instance_id)
            case InstanceEnded():
                self._hooks.instance_ended(effect.instance_id, effect.name, effect.status, effect.error)
                self.waiters.ended(effect.instance_id, batch.ended[effect.instance_id])
            case EntityOperationLost():
                self._hooks.entity_operation_lost(effect.instance_id, effect.operation, effect.error, effect.traceback)

    # --- failure and recovery -------------------------------------------------------------------------------------

    def _failed(self, error: BaseException, batches: Sequence[Batch] = ()) -> None:
        """Drops everything that is ahead of the store (``batches`` failed to be written), then recovers or stops."""
        told = CommitFailedError(f"the store failed while this call was being written, so its outcome is unknown: {error}")
        for batch in batches:
            batch.fail(told)
        if self._stopped is not None:
            return
        if self._recovering is not None:
            self._recovering.cancel()
        queued = self._loop.take_all()
        self._timers.stop()
        self._committer.batch, unwritten = Batch(), self._committer.batch
        unwritten.fail(told)
        waiting = [*(outcome for batch in (*batches, unwritten) for outcome in batch.outcomes), *queued]
        kept = [envelope for envelope in waiting if envelope.origin in (Origin.CLIENT, Origin.ACTIVITY)]
        if not isinstance(error, StoreUnavailableError):
            stopped = EngineStoppedError(f"the hub has stopped: {error}")
            stopped.__cause__ = error
            for envelope in kept:
                envelope.answer(stopped)
            self._shut(stopped)
            self._hooks.stopped(error)
            return
        self._loop.post(kept)  # it is paused: they wait there, also if this recovery is overtaken by another failure
        self._recovering = self._supervised(self._recover(error))

    async def _recover(self, error: BaseException) -> None:
        attempt = 0
        while True:
            attempt += 1
            self._hooks.recovering(error, attempt)
            await asyncio.sleep(min(0.05 * 2 ** min(attempt - 1, 20), self._settings.max_retry_delay.total_seconds()))
            await self._committer.drained()  # what is still being written must be visible to what is read next
            try:
                recovery = await self._begin()
            except StoreUnavailableError as again:
                error = again
            else:
                self._go_on(recovery)
                self.waiters.look_again()
                return

    async def _begin(self) -> Recovery | None:
        """Reads the messages and timers that are open. What is queued up already still matters."""
        if self._settings.passive:
            return None
        held: set[ActivityKey] = set()
        recovery = Recovery(self._store, self._partitions, self._activities.dispatch, held)
        inbox = await recovery.inbox()
        await self._timers.start()
        held.update(outcome_keys(self._loop.waiting))
        self._held = held
        self._recovery = recovery
        self._loop.take_up(inbox)
        return recovery

    def _go_on(self, recovery: Recovery | None) -> None:
        """New work may come in while the open activities are being found."""
        self._loop.resume()
        if recovery is None:
            return
        self._recovering = self._supervised(self._find_activities(recovery))

    async def _find_activities(self, recovery: Recovery) -> None:
        try:
            await recovery.activities()
        finally:
            self._recovery = None

    def _supervised(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Runs ``work``; what it raises is what the engine has to deal with."""
        task = asyncio.get_running_loop().create_task(work)

        def ended(task: "asyncio.Task[None]") -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._failed(error)

        task.add_done_callback(ended)
        return task

    def _shut(self, error: Exception) -> None:
        self._stopped = error
        for envelope in self._loop.take_all():
            envelope.answer(error)
        self._timers.stop()
        self.waiters.fail(error)
        self._relief.set()
        if self._next_eviction is not None:
            self._next_eviction.cancel()
            self._next_eviction = None
