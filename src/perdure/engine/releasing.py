"""What follows from a batch that is durable: now, and only now, the outside learns of it (rule 1)."""

import asyncio
from collections.abc import Callable, Iterable

from perdure.core.effects import CancelActivities, DispatchActivity, Effect, EntityOperationLost, InstanceEnded
from perdure.core.events import ExecutionStarted
from perdure.core.status import OrchestrationRuntimeStatus
from perdure.engine.clock import Clock
from perdure.engine.committer import Batch
from perdure.engine.dispatching import Dispatching
from perdure.engine.envelopes import Envelope
from perdure.engine.hooks import EngineHooks
from perdure.engine.inbox import Inbox
from perdure.engine.neighbours import Neighbours
from perdure.engine.partition_loop import PartitionLoop
from perdure.engine.remote.remote import RemoteWork
from perdure.engine.sessions import Session
from perdure.engine.settings import EngineSettings
from perdure.engine.timers import Timers
from perdure.engine.waiters import Waiters


class Releasing:
    """Lets out what a commit has held back, and lets go of sessions that need not stay."""

    def __init__(
        self,
        settings: EngineSettings,
        clock: Clock,
        hooks: EngineHooks,
        *,
        loop: PartitionLoop,
        dispatching: Dispatching,
        inbox: Inbox,
        timers: Timers,
        waiters: Waiters,
        remote: RemoteWork | None,
        neighbours: Neighbours | None,
        closing: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._hooks = hooks
        self._loop = loop
        self._dispatching = dispatching
        self._inbox = inbox
        self._timers = timers
        self._waiters = waiters
        self._remote = remote
        self._neighbours = neighbours
        self._closing = closing
        self._next_eviction: asyncio.TimerHandle | None = None
        self._stopped = False

    def release(self, batch: Batch, effects: Iterable[Effect]) -> None:
        """The batch is durable."""
        for effect in effects:
            self._let_out(effect, batch)
        for envelope, error in batch.answers:
            if error is not None and envelope.reply is None:
                self._report_unheard(envelope, error)
            envelope.answer(error)
        for mark in batch.marks:
            if not mark.done():
                mark.set_result(None)
        if batch.consumed:
            self._inbox.handled(batch.consumed)
        if self._neighbours is not None:
            self._neighbours.released(batch)
        if not self._settings.passive:
            for wake_at, instance_id in batch.wakes:
                self._timers.add(wake_at, instance_id)
        for session in batch.sessions:
            self._let_go(session)
        if batch.reposts:
            self._loop.repost(batch.reposts)
        self._evict()

    def stop(self) -> None:
        """Nothing falls idle any more."""
        self._stopped = True
        if self._next_eviction is not None:
            self._next_eviction.cancel()
            self._next_eviction = None

    def _let_out(self, effect: Effect, batch: Batch) -> None:
        match effect:
            case DispatchActivity():
                if not self._closing() and not self._settings.passive:
                    self._dispatching.dispatch(effect)
            case CancelActivities():
                self._dispatching.cancel(effect.instance_id)
            case InstanceEnded():
                self._hooks.instance_ended(effect.instance_id, effect.name, effect.status, effect.error)
                record = batch.ended[effect.instance_id]
                self._waiters.ended(effect.instance_id, record)
                if self._remote is not None:
                    self._remote.ended(effect.instance_id, record.row.execution_id)
                if self._neighbours is not None:
                    self._neighbours.exchange.ended(effect.instance_id)
            case EntityOperationLost():
                self._hooks.entity_operation_lost(effect.instance_id, effect.operation, effect.error, effect.traceback)

    def _report_unheard(self, envelope: Envelope, error: Exception) -> None:
        started = envelope.message.event if envelope.message is not None else None
        if isinstance(started, ExecutionStarted) and started.parent is None:
            self._hooks.start_refused(envelope.instance_id, started.name, str(error))

    def _let_go(self, session: Session) -> None:
        session.uncommitted -= 1
        instance = session.instance
        if self._waiters.for_begin and instance.status != OrchestrationRuntimeStatus.Pending:
            self._waiters.begun(instance.instance_id)
        sessions = self._loop.sessions
        if instance.ended and not session.uncommitted and sessions.get(instance.instance_id) is session:
            sessions.drop(instance.instance_id)

    def _evict(self) -> None:
        """Holds the bounds of the session cache; comes back by itself as long as anything could fall idle."""
        sessions = self._loop.sessions
        sessions.evict(self._clock.now_us())
        if self._next_eviction is None and len(sessions) and not self._stopped:
            self._next_eviction = asyncio.get_running_loop().call_later(
                self._settings.session_idle_timeout.total_seconds(), self._evict_later
            )

    def _evict_later(self) -> None:
        self._next_eviction = None
        self._evict()
