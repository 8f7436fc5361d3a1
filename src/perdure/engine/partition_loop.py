"""The partition loop: takes what is ready, runs turns, fills the batch. Single-threaded; never waits.

Messages between instances are handled in the same batch where possible, so they never touch the disk. Those that
can't be (too many rounds, or the recipient has to be loaded first) are written to the outbox with the same commit.
So is everything for instances that another engine owns: from there it is up to that engine.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable
from itertools import chain

from perdure.core.answer_checks import StaleAnswerError
from perdure.core.converter import JsonConverter
from perdure.core.effects import Asked, DispatchActivity
from perdure.core.functions import Functions
from perdure.core.ids import partition_of
from perdure.core.times import duration_us
from perdure.engine.clock import Clock
from perdure.engine.committer import Committer
from perdure.engine.envelopes import Envelope, Origin
from perdure.engine.hooks import EngineHooks
from perdure.engine.hydration import Found, Hydrator
from perdure.engine.instance_turns import InstanceTurns
from perdure.engine.recovery import outcome_id
from perdure.engine.rewinding import Rewinding
from perdure.engine.sessions import Session, Sessions
from perdure.engine.settings import EngineSettings
from perdure.engine.watchdog import Watchdog
from perdure.store.contract import HubStore, InstanceRow, StoredMessage

_ROUNDS = 50
"""Rounds of messages between instances within one batch; a ping-pong without end must not keep a commit from being written."""
_MAX_GATHERED = 5000
"""Messages in one round. An entity takes all of its own in one turn, which must not hold up the others for long."""


class PartitionLoop:
    """The instances of all partitions this engine owns."""

    def __init__(
        self,
        *,
        store: HubStore,
        committer: Committer,
        functions: Functions,
        converter: JsonConverter,
        clock: Clock,
        hooks: EngineHooks,
        settings: EngineSettings,
        watchdog: Watchdog,
        partition_count: int,
        held: set[str],
        ask: Callable[[Asked], None] | None,
        store_request: Callable[[Envelope, int], StoredMessage] | None,
        hydrated: Callable[[str, list[DispatchActivity]], None],
        ran: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """``held`` gets the ids of messages that are stored and in memory; ``store_request`` makes a caller's request storable.

        It is needed where other engines may own partitions. ``ask`` passes on what instances want of workers, if there are any.
        """
        self._committer = committer
        self._held = held
        self._store_request = store_request
        self._clock = clock
        self._partition_count = partition_count
        self._ran = ran
        self._failed = failed
        self._owned: Collection[int] = ()
        self._routes = True
        """Whether envelopes have to be looked at one by one: some may be for other engines, or for partitions that are coming."""
        self._coming: Collection[int] = ()
        self._early: list[Envelope] = []
        """What is for partitions that are coming: behind what the inbox has for them, in order."""
        self._max_batch_turns = settings.max_batch_turns
        self.sessions = Sessions(settings.max_sessions, settings.max_session_bytes, duration_us(settings.session_idle_timeout))
        self._queue: deque[Envelope] = deque()
        self._postponed: deque[Envelope] = deque()
        """Messages that found no turn in their own batch. They come first: later ones of their senders must not overtake them."""
        self._handling: Iterable[list[Envelope]] = ()
        """What the turns that are running now have been given."""
        self._loading: dict[str, list[Envelope]] = {}
        self._ready: list[tuple[str, Found]] = []
        self._turns = InstanceTurns(
            sessions=self.sessions,
            committer=committer,
            functions=functions,
            converter=converter,
            clock=clock,
            watchdog=watchdog,
            partition_count=partition_count,
            passive=settings.passive,
            ask=ask,
            hydrated=hydrated,
            consume=self._consume,
            wait_for_commit=self._wait_for_commit,
            wait_for_history=self._wait_for_history,
        )
        self._hydrator = Hydrator(store, self._turns.make, hooks, watchdog, hydrated=hydrated, ready=self._found, failed=failed)
        self._rewinding = Rewinding(
            sessions=self.sessions,
            committer=committer,
            turns=self._turns,
            hydrator=self._hydrator,
            hydrated=hydrated,
            consume=self._consume,
        )
        self._scheduled = False
        self.paused = True
        """While the engine starts or recovers, envelopes only queue up."""

    # --- queue ----------------------------------------------------------------------------------------------------

    @property
    def queued(self) -> int:
        """Envelopes that wait for their turn."""
        return len(self._queue) + len(self._postponed)

    @property
    def waiting(self) -> Iterable[Envelope]:
        """Them, to look at."""
        return chain(self._postponed, self._queue)

    def take_up(self, envelopes: Iterable[Envelope]) -> None:
        """Queues stored messages before everything else."""
        self._postponed.extend(envelopes)
        self._schedule()

    def post(self, envelopes: Iterable[Envelope]) -> None:
        """Queues envelopes; they are handled in this order, instance by instance."""
        self._queue.extend(envelopes)
        self._schedule()

    def resume(self) -> None:
        """Handles what queued up while paused, and all that comes."""
        self.paused = False
        self._schedule()

    # --- ownership ------------------------------------------------------------------------------------------------

    def own(self, partitions: Collection[int], coming: Collection[int] = ()) -> None:
        """From now on the instances of ``partitions`` are handled here, and no others; those of ``coming`` from ``welcome`` on.

        What is in the queue for those that are no longer among them goes to their next owner. Sessions of theirs may have turns
        that are being written: ``let_go`` waits for them.
        """
        self._owned = frozenset(partitions)
        self._coming = frozenset(coming)
        self._routes = len(self._owned) < self._partition_count or bool(self._coming)
        if not self._routes:
            return
        for instance_id, envelopes in self._loading.items():
            if not self.owns(instance_id):
                for envelope in envelopes:
                    self._route(envelope)
                envelopes.clear()  # the entry stays until what is being loaded has come, to be thrown away
        for queue in (self._postponed, self._queue):
            kept = [envelope for envelope in queue if not self._route(envelope)]
            queue.clear()
            queue.extend(kept)
        self._committer.flush()  # nothing else may come that would

    def welcome(self, envelopes: Iterable[Envelope]) -> None:
        """The inbox of the coming partitions is read: their instances are handled from now on, beginning with ``envelopes``."""
        self._coming = ()
        self._routes = len(self._owned) < self._partition_count
        early, self._early = self._early, []
        self.take_up(chain(envelopes, early))

    async def let_go(self) -> None:
        """Returns when nothing is left of the instances that aren't owned any more, and what is decided for them is durable."""
        while any(not self.owns(instance_id) for instance_id in self._loading) and not self.paused:  # noqa: ASYNC110 - rare and short
            await asyncio.sleep(0.001)
        await self._committer.written()
        for instance_id in self.sessions.ids:
            if not self.owns(instance_id):
                self.sessions.drop(instance_id)

    @property
    def readable(self) -> Collection[int]:
        """Partitions whose inbox may be read bit by bit. Of those that are coming, and while paused, all is read at once."""
        return () if self.paused else frozenset(self._owned) - frozenset(self._coming)

    def owns(self, instance_id: str) -> bool:
        """Whether the instance is handled here."""
        return not self._routes or self._partition(instance_id) in self._owned

    def _route(self, envelope: Envelope) -> bool:
        """Puts aside what can't be handled here: what is for other engines goes to their inboxes."""
        partition = self._partition(envelope.instance_id)
        if partition in self._owned:
            if partition not in self._coming:
                return False
            self._early.append(envelope)
            self._keep((envelope,))
            return True
        if envelope.origin is Origin.TIMER:
            return True  # the timer index of the owner has it
        if envelope.origin is Origin.WORKER:
            envelope.answer(StaleAnswerError(f"instance '{envelope.instance_id}' is another process's now, which asks again."))
            return True
        batch = self._committer.batch
        batch.foreign.add(partition)
        message = envelope.message
        if envelope.stored:
            self._held.discard(envelope.message_id)  # it lies there already
        elif envelope.purge or envelope.origin is Origin.CLIENT:
            assert self._store_request is not None
            batch.requests.append(self._store_request(envelope, partition))
            batch.requested.append(envelope)
        elif message is not None and envelope.origin is Origin.ACTIVITY:
            batch.outbox[outcome_id(message)] = (message, partition)
            batch.outcomes.append(envelope)
            if envelope.claim is not None:
                batch.settled.append(envelope.claim)
        elif message is not None:
            batch.outbox[envelope.message_id] = (message, partition)
        return True

    # --- running --------------------------------------------------------------------------------------------------

    async def drained(self) -> None:
        """Returns when nothing is left to handle, or while paused."""
        while (self._queue or self._postponed or self._ready or self._loading) and not self.paused:  # noqa: ASYNC110 - the engine ends
            await asyncio.sleep(0.001)  # it may be the store that everybody waits for

    def take_all(self) -> list[Envelope]:
        """Empties the queue and stops loading, for recovery: returns everything that was not handled."""
        self.paused = True
        self._hydrator.stop()
        waiting = [envelope for envelopes in self._loading.values() for envelope in envelopes]
        self._loading = {}
        for _, found in self._ready:
            if isinstance(found, Session):
                found.close()
        self._ready = []
        waiting.extend(self._early)
        self._early = []
        waiting.extend(self.waiting)
        self._postponed.clear()
        self._queue.clear()
        self.sessions.drop_all()
        return waiting

    def forget_stored(self) -> None:
        """Drops what will be read from the inbox again."""
        for queue in (self._postponed, self._queue):
            kept = [envelope for envelope in queue if not envelope.stored]
            queue.clear()
            queue.extend(kept)

    def is_hot(self, instance_id: str) -> bool:
        """Whether the instance is in memory and has not ended, so that nobody needs to ask the store."""
        session = self.sessions.get(instance_id)
        return session is not None and not session.instance.ended and self.owns(instance_id)

    def _schedule(self) -> None:
        if (self._queue or self._postponed or self._ready) and not self._scheduled and not self.paused:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        if self.paused:
            return
        try:
            self._run_rounds()
        except Exception as error:  # noqa: BLE001 - user code can't raise here: this is a bug of the engine's, and stops it
            self._queue.extend(chain.from_iterable(self._handling))  # or those of them who wait would never hear of it
            self._handling = ()
            self._failed(error)
            return
        self._committer.flush()
        self._schedule()
        self._ran()

    def _run_rounds(self) -> None:
        now_us = self._clock.now_us()
        local: list[Envelope] = []
        ready, self._ready = self._ready, []
        for loaded in ready:
            self._admit(loaded, local, now_us)
        for _ in range(_ROUNDS):
            groups = self._gather(local)
            local = []  # all of it has its place now, be it with another engine
            if not groups:
                break
            self._handling = groups.values()
            for instance_id, envelopes in groups.items():
                self._handle(instance_id, envelopes, local, now_us)
            if len(self._committer.batch.records) >= self._max_batch_turns:
                break
        self._handling = ()
        # What found no turn in this batch becomes durable with it and is handled in a later one.
        self._postpone(local)

    def _gather(self, local: list[Envelope]) -> dict[str, list[Envelope]]:
        groups: dict[str, list[Envelope]] = {}
        postponed = self._postponed
        if postponed:
            self._postpone(local)
            local = [postponed.popleft() for _ in range(min(len(postponed), _MAX_GATHERED))]
        routes = self._routes
        for envelope in local:
            if not routes or not self._route(envelope):
                groups.setdefault(envelope.instance_id, []).append(envelope)
        queue = self._queue
        room = _MAX_GATHERED
        while queue and room and len(groups) < self._max_batch_turns:
            envelope = queue.popleft()
            room -= 1
            if not routes or not self._route(envelope):
                groups.setdefault(envelope.instance_id, []).append(envelope)
        return groups

    def _postpone(self, envelopes: list[Envelope]) -> None:
        if self._routes:
            envelopes = [envelope for envelope in envelopes if not self._route(envelope)]
        self._postponed.extend(envelopes)
        self._keep(envelopes)

    def _keep(self, envelopes: Iterable[Envelope]) -> None:
        """Writes messages between instances to the outbox, if they aren't there."""
        for envelope in envelopes:
            message = envelope.message
            if envelope.origin is Origin.INSTANCE and not envelope.stored and message is not None:
                envelope.stored = True
                self._held.add(envelope.message_id)
                partition = self._partition(message.instance_id)
                self._committer.batch.outbox[envelope.message_id] = (message, partition)
                self._committer.batch.partitions.add(partition)

    def _consume(self, envelope: Envelope) -> None:
        """The message has been handled by a turn of this batch (or will never be)."""
        batch = self._committer.batch
        if envelope.stored:
            if batch.outbox.pop(envelope.message_id, None) is None:
                batch.consumed.append(envelope.message_id)
                batch.partitions.add(self._partition(envelope.instance_id))
            else:
                self._held.discard(envelope.message_id)
        elif envelope.claim is not None:
            batch.settled.append(envelope.claim)

    def _partition(self, instance_id: str) -> int:
        return partition_of(instance_id, self._partition_count)

    # --- instances ------------------------------------------------------------------------------------------------

    def _handle(self, instance_id: str, envelopes: list[Envelope], local: list[Envelope], now_us: int) -> None:
        session = self.sessions.get(instance_id)
        if session is not None:
            self._turns.take(instance_id, session, envelopes, local, now_us)
        elif envelopes[0].fresh:
            self._turns.without_session(instance_id, None, envelopes, local, now_us)
        else:
            waiting = self._loading.get(instance_id)
            if waiting is None:
                waiting = self._loading[instance_id] = []
                self._hydrator.want(instance_id)
            waiting.extend(envelopes)
            self._keep(envelopes)

    # --- hydration ------------------------------------------------------------------------------------------------

    def _found(self, instance_id: str, found: Found) -> None:
        self._ready.append((instance_id, found))
        self._schedule()

    def _admit(self, loaded: tuple[str, Found], local: list[Envelope], now_us: int) -> None:
        instance_id, found = loaded
        envelopes = self._loading.pop(instance_id)
        self._handling = (envelopes,)
        if not self.owns(instance_id):
            if isinstance(found, Session):
                found.close()
            return
        if isinstance(found, Session):
            self.sessions.add(instance_id, found)
            self._turns.take(instance_id, found, envelopes, local, now_us)
        elif found is not None and found.segments is not None:
            self._rewinding.go_back(instance_id, found.row, found.segments, envelopes, local, now_us)
        else:
            self._turns.without_session(instance_id, found.row if found is not None else None, envelopes, local, now_us)

    def _wait_for_commit(self, instance_id: str, envelopes: Iterable[Envelope]) -> None:
        """What is for this instance is looked at again when the batch is durable, and the store tells what is so."""
        self._committer.batch.reposts.append(instance_id)
        waiting = self._loading.setdefault(instance_id, [])
        waiting.extend(envelopes)
        self._keep(waiting)

    def _wait_for_history(self, row: InstanceRow, envelopes: list[Envelope]) -> None:
        """What is for this instance, which has ended, is looked at again when its history is here."""
        waiting = self._loading.setdefault(row.instance_id, [])
        waiting[:0] = envelopes
        self._keep(waiting)
        self._hydrator.revisit(row)

    def repost(self, instance_ids: Iterable[str]) -> None:
        """The batch that messages for these instances waited for is durable."""
        for instance_id in instance_ids:
            self._postponed.extendleft(reversed(self._loading.pop(instance_id, [])))
        self._schedule()
