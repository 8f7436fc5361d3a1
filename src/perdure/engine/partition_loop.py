"""The partition loop: takes what is ready, runs turns, fills the batch. Single-threaded; never waits.

Messages between instances are handled in the same batch where possible, so they never touch the disk. Those that
can't be (too many rounds, or the recipient has to be loaded first) are written to the outbox with the same commit.
"""

import asyncio
import linecache
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, count

import msgspec

from perdure.core.codec import decode_segment
from perdure.core.converter import JsonConverter
from perdure.core.effects import DispatchActivity, Effect, Sealed
from perdure.core.entity import Entity
from perdure.core.entity_id import is_entity
from perdure.core.errors import PerdureError
from perdure.core.events import (
    EntityLockGranted,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionTerminated,
    SubOrchestrationInstanceFailed,
)
from perdure.core.failures import failure_from_exception
from perdure.core.functions import Functions
from perdure.core.hydrated import Hydrated
from perdure.core.ids import partition_of
from perdure.core.messages import Message, ReusePolicy
from perdure.core.orchestration import Orchestration
from perdure.core.outbound import releases
from perdure.core.rewind import Rewound, report_of_end, rewind
from perdure.core.status import OrchestrationRuntimeStatus
from perdure.core.times import duration_us
from perdure.core.turn import Disposition, Turn
from perdure.engine.clock import Clock
from perdure.engine.committer import Committer
from perdure.engine.envelopes import Envelope, Origin
from perdure.engine.errors import (
    InstanceAlreadyExistsError,
    InstanceRunningError,
    finished,
    not_found,
    stays_failed,
)
from perdure.engine.hooks import EngineHooks
from perdure.engine.hydration import Found, Hydrator
from perdure.engine.sessions import Session, Sessions
from perdure.engine.settings import EngineSettings
from perdure.engine.watchdog import Watchdog
from perdure.store.contract import HubStore, InstanceRecord, InstanceRow, Segment, TurnRecord

_ROUNDS = 50
"""Rounds of messages between instances within one batch; a ping-pong without end must not keep a commit from being written."""
_MAX_GATHERED = 5000
"""Messages in one round. An entity takes all of its own in one turn, which must not hold up the others for long."""
_REPLACING = frozenset({ReusePolicy.ONLY_IF_TERMINAL, ReusePolicy.REPLACE})
"""Policies that let a start take the place of an instance that has ended."""


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
        hydrated: Callable[[str, list[DispatchActivity]], None],
        ran: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._committer = committer
        self._functions = functions
        self._converter = converter
        self._clock = clock
        self._watchdog = watchdog
        self._partition_count = partition_count
        self._hydrated = hydrated
        self._ran = ran
        self._failed = failed
        self._max_batch_turns = settings.max_batch_turns
        self._passive = settings.passive
        self.sessions = Sessions(settings.max_sessions, settings.max_session_bytes, duration_us(settings.session_idle_timeout))
        self._queue: deque[Envelope] = deque()
        self._postponed: deque[Envelope] = deque()
        """Messages that found no turn in their own batch. They come first: later ones of their senders must not overtake them."""
        self._hydrations = count()
        self._hydrated_us = 0
        self._loading: dict[str, list[Envelope]] = {}
        self._ready: list[tuple[str, Found]] = []
        self._hydrator = Hydrator(store, self._make, hooks, watchdog, hydrated=hydrated, ready=self._found, failed=failed)
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
        waiting.extend(self.waiting)
        self._postponed.clear()
        self._queue.clear()
        self.sessions.drop_all()
        return waiting

    def is_hot(self, instance_id: str) -> bool:
        """Whether the instance is in memory and has not ended, so that nobody needs to ask the store."""
        session = self.sessions.get(instance_id)
        return session is not None and not session.instance.ended

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
            if not groups:
                break
            local = []
            for instance_id, envelopes in groups.items():
                self._handle(instance_id, envelopes, local, now_us)
            if len(self._committer.batch.records) >= self._max_batch_turns:
                break
        # What found no turn in this batch becomes durable with it and is handled in a later one.
        self._postpone(local)

    def _gather(self, local: list[Envelope]) -> dict[str, list[Envelope]]:
        groups: dict[str, list[Envelope]] = {}
        postponed = self._postponed
        if postponed:
            self._postpone(local)
            local = [postponed.popleft() for _ in range(min(len(postponed), _MAX_GATHERED))]
        for envelope in local:
            groups.setdefault(envelope.instance_id, []).append(envelope)
        queue = self._queue
        room = _MAX_GATHERED
        while queue and room and len(groups) < self._max_batch_turns:
            envelope = queue.popleft()
            room -= 1
            groups.setdefault(envelope.instance_id, []).append(envelope)
        return groups

    def _postpone(self, envelopes: Iterable[Envelope]) -> None:
        self._postponed.extend(envelopes)
        self._keep(envelopes)

    def _keep(self, envelopes: Iterable[Envelope]) -> None:
        """Writes messages between instances to the outbox, if they aren't there."""
        for envelope in envelopes:
            message = envelope.message
            if envelope.origin is Origin.INSTANCE and not envelope.stored and message is not None:
                envelope.stored = True
                partition = self._partition(message.instance_id)
                self._committer.batch.outbox[envelope.message_id] = (message, partition)
                self._committer.batch.partitions.add(partition)

    def _consume(self, envelope: Envelope) -> None:
        """The message has been handled by a turn of this batch (or will never be)."""
        if envelope.stored:
            batch = self._committer.batch
            if batch.outbox.pop(envelope.message_id, None) is None:
                batch.consumed.append(envelope.message_id)
                batch.partitions.add(self._partition(envelope.instance_id))

    def _partition(self, instance_id: str) -> int:
        return partition_of(instance_id, self._partition_count)

    # --- one instance ---------------------------------------------------------------------------------------------

    def _handle(self, instance_id: str, envelopes: list[Envelope], local: list[Envelope], now_us: int) -> None:
        session = self.sessions.get(instance_id)
        if session is not None:
            self._turns(instance_id, session, envelopes, local, now_us)
        elif envelopes[0].fresh:
            self._without_session(instance_id, None, envelopes, local, now_us)
        else:
            waiting = self._loading.get(instance_id)
            if waiting is None:
                waiting = self._loading[instance_id] = []
                self._hydrator.want(instance_id)
            waiting.extend(envelopes)
            self._keep(envelopes)

    def _turns(self, instance_id: str, session: Session, envelopes: list[Envelope], local: list[Envelope], now_us: int) -> None:
        """Envelopes for a hydrated instance: one turn, but for starts and purges, which concern the instance as a whole."""
        taken: list[Envelope] = []
        for position, envelope in enumerate(envelopes):
            kind = envelope.message.event.__class__ if envelope.message is not None else None
            is_start = kind is ExecutionStarted
            if not envelope.purge and not is_start and kind is not ExecutionRewound:
                taken.append(envelope)
                continue
            if taken:
                self._turn(instance_id, session, taken, local, now_us)
            rest = envelopes[position:]
            orchestration = session.instance
            if not orchestration.ended and is_start and _reuse(envelope) is ReusePolicy.REPLACE:
                terminate = Message(instance_id, ExecutionTerminated("replaced by a new instance of the same id"))
                self._turn(instance_id, session, [Envelope(instance_id, terminate, Origin.TIMER)], local, now_us)
            if kind is ExecutionRewound and orchestration.ended:
                self._wait_for_commit(instance_id, rest)
            elif orchestration.ended and (envelope.purge or _reuse(envelope) in _REPLACING):
                row = self._row(session)
                self.sessions.drop(instance_id)
                self._without_session(instance_id, row, rest, local, now_us)
            else:
                self._refuse(envelope, orchestration.status, local)
                self._turns(instance_id, session, rest[1:], local, now_us)
            return
        if taken:
            self._turn(instance_id, session, taken, local, now_us)

    def _without_session(
        self, instance_id: str, row: InstanceRow | None, envelopes: list[Envelope], local: list[Envelope], now_us: int
    ) -> None:
        """Envelopes for an instance that doesn't exist, or has ended (then ``row`` is its last)."""
        if is_entity(instance_id):
            session = Session(self._make(instance_id, now_us), self._partition(instance_id))
            self.sessions.add(instance_id, session)
            self._turns(instance_id, session, envelopes, local, now_us)
            return
        batch = self._committer.batch
        for position, envelope in enumerate(envelopes):
            message = envelope.message
            if envelope.purge:
                if row is None:
                    batch.answers.append((envelope, not_found(instance_id)))
                    continue
                partition = self._partition(instance_id)
                batch.records.append(TurnRecord(instance_id=instance_id, delete=True))
                batch.partitions.add(partition)
                batch.answers.append((envelope, None))
                # Until then a load would still find the instance.
                self._wait_for_commit(instance_id, envelopes[position + 1 :])
                return
            if message is None:
                continue
            if isinstance(message.event, ExecutionStarted):
                if row is None or message.reuse in _REPLACING:
                    self._start(instance_id, row, envelopes[position:], local, now_us)
                    return
                self._refuse(envelope, row.status, local)
                continue
            if row is not None and _goes_back(envelope, row):
                waiting = self._loading.setdefault(instance_id, [])
                waiting[:0] = envelopes[position:]
                self._keep(waiting)
                self._hydrator.revisit(row)
                return
            self._consume(envelope)
            self._give_back(envelope, local)
            if envelope.reply is not None:
                error = finished(instance_id, row.status) if row is not None else not_found(instance_id)
                batch.answers.append((envelope, error))

    def _wait_for_commit(self, instance_id: str, envelopes: Iterable[Envelope]) -> None:
        """What is for this instance is looked at again when the batch is durable, and the store tells what is so."""
        self._committer.batch.reposts.append(instance_id)
        waiting = self._loading.setdefault(instance_id, [])
        waiting.extend(envelopes)
        self._keep(waiting)

    def _start(
        self, instance_id: str, old: InstanceRow | None, envelopes: list[Envelope], local: list[Envelope], now_us: int
    ) -> None:
        envelope = envelopes[0]
        message = envelope.message
        if old is not None and message is not None and isinstance(message.event, ExecutionStarted):
            # Generations count on, so that late completions for the instance of before can't be mistaken for the new one's.
            started = msgspec.structs.replace(message.event, generation=old.generation + 1)
            envelope.message = msgspec.structs.replace(message, event=started)
        session = Session(self._orchestration(instance_id, now_us), self._partition(instance_id))
        self.sessions.add(instance_id, session)
        self._hydrated(instance_id, [])
        self._turn(instance_id, session, [envelope], local, now_us, reset=old is not None)
        if len(envelopes) > 1:
            self._turns(instance_id, session, envelopes[1:], local, now_us)

    def _refuse(self, envelope: Envelope, status: str, local: list[Envelope]) -> None:
        """A start, purge or rewind that can't be: tells the caller, or the parent orchestration."""
        self._consume(envelope)
        batch = self._committer.batch
        message = envelope.message
        if envelope.purge or message is None or isinstance(message.event, ExecutionRewound):
            error: PerdureError = InstanceRunningError(
                f"instance '{envelope.instance_id}' is {status}; only ended ones can be purged, only failed ones rewound."
            )
            batch.answers.append((envelope, error))
            return
        if message.reuse is ReusePolicy.RETURN_EXISTING:
            batch.answers.append((envelope, None))
            return
        error = InstanceAlreadyExistsError(
            f"there is an instance '{envelope.instance_id}' already; its status is {status}. "
            "Choose another id, or another reuse policy."
        )
        batch.answers.append((envelope, error))
        started = message.event
        if isinstance(started, ExecutionStarted) and started.parent is not None:
            parent = started.parent
            failed = SubOrchestrationInstanceFailed(parent.task_id, failure_from_exception(error))
            answer = Message(parent.instance_id, failed, parent.execution_id, parent.generation)
            local.append(Envelope(parent.instance_id, answer, Origin.INSTANCE, message_id=f"{started.execution_id}/refused"))

    def _turn(
        self,
        instance_id: str,
        session: Session,
        envelopes: list[Envelope],
        local: list[Envelope],
        now_us: int,
        *,
        reset: bool = False,
        new_row: bool = False,
    ) -> None:
        instance = session.instance
        watchdog = self._watchdog
        watchdog.turns += 1
        watchdog.current = session
        messages = [envelope.message for envelope in envelopes if envelope.message is not None]
        turn = instance.turn(messages, now_us, idle=self._passive)
        watchdog.current = None
        batch = self._committer.batch
        batch.partitions.add(session.partition)
        if turn.events is not None or turn.vacated:
            self._stage(instance_id, session, turn, reset=reset, new_row=new_row)
            self.sessions.used(instance_id, session, now_us)
        elif turn.dispositions:
            # An entity that was only asked: nothing to store, but there may be something to tell.
            batch.effects.append(turn.effects)
            self.sessions.used(instance_id, session, now_us)
        self._arm(instance_id, session, turn, now_us)
        if turn.messages:
            prefix = instance.message_prefix(turn)
            if new_row:  # the turn that failed had the same number, and its messages may still be on their way
                prefix = f"{prefix}/again-{now_us}"
            for number, message in enumerate(turn.messages):
                # Recovery reads messages in the order of their ids, which must be the order in which they were sent.
                message_id = f"{prefix}/{number:06d}"
                local.append(Envelope(message.instance_id, message, Origin.INSTANCE, message_id=message_id))
        dispositions = iter(turn.dispositions)
        for envelope in envelopes:
            if envelope.message is None:
                continue
            disposition = next(dispositions)
            if envelope.origin is Origin.ACTIVITY:
                batch.outcomes.append(envelope)
            elif envelope.stored:
                self._consume(envelope)
            if disposition is not Disposition.ACCEPTED:
                self._give_back(envelope, local)
            if envelope.reply is not None:
                error = finished(instance_id, instance.status) if disposition is Disposition.FINISHED else None
                batch.answers.append((envelope, error))

    def _give_back(self, envelope: Envelope, local: list[Envelope]) -> None:
        """A lock was granted to an orchestration that doesn't want it any more: nobody else would release the entities."""
        event = envelope.message.event if envelope.message is not None else None
        if isinstance(event, EntityLockGranted):
            for number, message in enumerate(releases(event)):
                message_id = f"{envelope.message_id}/{number:06d}"
                local.append(Envelope(message.instance_id, message, Origin.INSTANCE, message_id=message_id))

    def _stage(self, instance_id: str, session: Session, turn: Turn, *, reset: bool, new_row: bool) -> None:
        batch = self._committer.batch
        row = None
        if turn.projection_changed or new_row:
            row = self._row(session)
        if turn.events is None:
            batch.records.append(TurnRecord(instance_id=instance_id, vacate=True))
        else:
            segment = Segment(turn.seq, turn.at, turn.events)
            batch.records.append(TurnRecord(instance_id=instance_id, segment=segment, row=row, reset=reset or turn.reset))
            if row is not None and session.instance.ended:
                batch.ended[instance_id] = InstanceRecord(row, turn.at, None, segment)
        batch.effects.append(turn.effects)
        batch.sessions.append(session)
        session.uncommitted += 1

    def _arm(self, instance_id: str, session: Session, turn: Turn, now_us: int) -> None:
        """Sees to it that the timer index knows the next wake-up, once this batch is durable."""
        armed = session.armed
        if armed is not None and armed <= now_us:
            session.armed = None  # that entry has left the index, or is about to: it would do for no later timer
        elif not turn.projection_changed:
            return
        wake_at = session.instance.wake_at
        # Where a turn leaves something due, another one at the same state would do nothing either: it waits for its code.
        if wake_at is not None and wake_at != session.armed and (turn.events is not None or wake_at > now_us):
            session.armed = wake_at
            self._committer.batch.wakes.append((wake_at, instance_id))

    def _row(self, session: Session) -> InstanceRow:
        instance = session.instance
        started = instance.started
        return InstanceRow(
            instance_id=instance.instance_id,
            partition=session.partition,
            execution_id=started.execution_id,
            generation=started.generation,
            name=started.name,
            version=started.version,
            status=instance.status,
            created_at=instance.created_at,
            custom_status=instance.custom_status,
            tags=started.tags,
            parent_id=started.parent.instance_id if started.parent is not None else None,
            pending=instance.pending,
            wake_at=instance.wake_at,
            first_seq=instance.first_seq,
        )

    def _make(self, instance_id: str, created_at: int) -> Hydrated:
        if not is_entity(instance_id):
            return self._orchestration(instance_id, created_at)
        self._hydrated_us = max(self._hydrated_us, self._clock.now_us())  # in order, even if somebody sets the clock back
        sender = f"{self._hydrated_us:016x}{next(self._hydrations):08x}{os.urandom(4).hex()}"
        return Entity(instance_id, self._functions, self._converter, created_at, sender, _describe)

    def _orchestration(self, instance_id: str, created_at: int) -> Orchestration:
        return Orchestration(instance_id, self._functions, self._converter, created_at, _describe)

    # --- hydration ------------------------------------------------------------------------------------------------

    def _found(self, instance_id: str, found: Found) -> None:
        self._ready.append((instance_id, found))
        self._schedule()

    def _admit(self, loaded: tuple[str, Found], local: list[Envelope], now_us: int) -> None:
        instance_id, found = loaded
        envelopes = self._loading.pop(instance_id)
        if isinstance(found, Session):
            self.sessions.add(instance_id, found)
            self._turns(instance_id, found, envelopes, local, now_us)
        elif found is not None and found.segments is not None:
            self._go_back(instance_id, found.row, found.segments, envelopes, local, now_us)
        else:
            self._without_session(instance_id, found.row if found is not None else None, envelopes, local, now_us)

    def _go_back(
        self,
        instance_id: str,
        row: InstanceRow,
        segments: Sequence[Segment],
        envelopes: list[Envelope],
        local: list[Envelope],
        now_us: int,
    ) -> None:
        """The first envelope asks an instance that has ended to go on, and its history is here now."""
        envelope = envelopes[0]
        assert envelope.message is not None
        asked = envelope.message.event
        assert isinstance(asked, ExecutionRewound)
        turns = [decode_segment(segment.events) for segment in segments]
        failed = row.status == OrchestrationRuntimeStatus.Failed
        plan = rewind(instance_id, turns, asked) if failed else None
        if plan is not None:
            self._rewind(instance_id, row, segments, plan, envelope, local, now_us)
            session = self.sessions.get(instance_id)
            assert session is not None
            if len(envelopes) > 1:
                self._turns(instance_id, session, envelopes[1:], local, now_us)
            return
        # It ended well (or was terminated, or can't go back) while its caller had failed: it reports that again.
        self._consume(envelope)
        if envelope.reply is not None:
            self._committer.batch.answers.append((envelope, stays_failed(instance_id)))
            self._without_session(instance_id, row, envelopes[1:], local, now_us)
            return
        report = report_of_end(turns)
        if report is not None:
            message_id = f"{row.execution_id}/again/{now_us}"
            local.append(Envelope(report.instance_id, report, Origin.INSTANCE, message_id=message_id))
        self._without_session(instance_id, row, envelopes[1:], local, now_us)

    def _rewind(
        self,
        instance_id: str,
        row: InstanceRow,
        segments: Sequence[Segment],
        plan: Rewound,
        envelope: Envelope,
        local: list[Envelope],
        now_us: int,
    ) -> None:
        session = Session(self._orchestration(instance_id, row.created_at), row.partition)
        kept = segments[: plan.kept_turns]
        self._hydrator.replay(session, kept, row.custom_status)
        self.sessions.add(instance_id, session)
        self._hydrated(instance_id, [])
        batch = self._committer.batch
        for number, segment in enumerate(kept):
            batch.records.append(TurnRecord(instance_id=instance_id, segment=segment, reset=not number))
        open_before = {work.task_id for work in session.instance.open_activities()}
        again = [Envelope(instance_id, Message(instance_id, event), Origin.TIMER) for event in plan.again]
        envelope.message = Message(instance_id, plan.event)
        again.insert(0, envelope)  # first, since what follows may end the instance at once
        self._turn(instance_id, session, again, local, now_us, reset=not kept, new_row=True)
        still_open = session.instance.open_activities()
        effects: list[Effect] = [work for work in still_open if work.task_id in open_before]
        batch.effects.append(Sealed(effects))
        for number, message in enumerate(plan.messages):
            message_id = f"{row.execution_id}/rewind/{now_us}/{number:06d}"
            local.append(Envelope(message.instance_id, message, Origin.INSTANCE, message_id=message_id))

    def repost(self, instance_ids: Iterable[str]) -> None:
        """The batch that messages for these instances waited for is durable."""
        for instance_id in instance_ids:
            self._postponed.extendleft(reversed(self._loading.pop(instance_id, [])))
        self._schedule()


_describe = partial(failure_from_exception, source_line=linecache.getline)
"""Failures with the user's source lines; reading files is the engine's business, not the core's."""


def _reuse(envelope: Envelope) -> ReusePolicy | None:
    return envelope.message.reuse if envelope.message is not None else None


def _goes_back(envelope: Envelope, row: InstanceRow) -> bool:
    """Whether a rewind needs the history of an ended instance: to undo its failure, or to report its end to its caller again."""
    rewound = envelope.message is not None and isinstance(envelope.message.event, ExecutionRewound)
    return rewound and (row.status == OrchestrationRuntimeStatus.Failed or envelope.reply is None)
