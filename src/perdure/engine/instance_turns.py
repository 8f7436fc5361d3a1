"""What happens to one instance once it is hydrated, or known to be absent. Its decisions go into the batch; nothing waits.

Whatever a turn sends to other instances is appended to ``local``, the messages of the next round.
"""

import linecache
import os
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count

import msgspec

from perdure.core.answer_checks import InvalidAnswerError, StaleAnswerError
from perdure.core.converter import JsonConverter
from perdure.core.effects import Asked, DispatchActivity
from perdure.core.entity import Entity
from perdure.core.entity_id import entity_name, is_entity
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
from perdure.core.remote import decide
from perdure.core.remote_entity import RemoteEntity
from perdure.core.remote_orchestration import RemoteOrchestration, decided_elsewhere
from perdure.core.status import OrchestrationRuntimeStatus
from perdure.core.turn import Disposition, Turn
from perdure.engine.clock import Clock
from perdure.engine.committer import Committer
from perdure.engine.envelopes import Envelope, Origin, WorkerAnswer
from perdure.engine.errors import InstanceAlreadyExistsError, InstanceRunningError, finished, not_found
from perdure.engine.sessions import Session, Sessions
from perdure.engine.watchdog import Watchdog
from perdure.store.contract import InstanceRecord, InstanceRow, Segment, TurnRecord


class InstanceTurns:
    """Runs the turns of instances, one instance after the other, and refuses what can't be."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        committer: Committer,
        functions: Functions,
        converter: JsonConverter,
        clock: Clock,
        watchdog: Watchdog,
        partition_count: int,
        passive: bool,
        ask: Callable[[Asked], None] | None,
        hydrated: Callable[[str, list[DispatchActivity]], None],
        consume: Callable[[Envelope], None],
        wait_for_commit: Callable[[str, Iterable[Envelope]], None],
        wait_for_history: Callable[[InstanceRow, list[Envelope]], None],
    ) -> None:
        self._sessions = sessions
        self._committer = committer
        self._functions = functions
        self._converter = converter
        self._clock = clock
        self._watchdog = watchdog
        self._partition_count = partition_count
        self._passive = passive
        self._remote = ask is not None
        self._ask = ask or _nobody
        self._hydrated = hydrated
        self._consume = consume
        self._wait_for_commit = wait_for_commit
        self._wait_for_history = wait_for_history
        self._hydrations = count()
        self._hydrated_us = 0

    def take(self, instance_id: str, session: Session, envelopes: list[Envelope], local: list[Envelope], now_us: int) -> None:
        """Envelopes for a hydrated instance: one turn, but for starts and purges, which concern the instance as a whole."""
        taken: list[Envelope] = []
        for position, envelope in enumerate(envelopes):
            if envelope.decided is not None:
                if taken:
                    self.turn(instance_id, session, taken, local, now_us)
                    taken = []
                self._decide(instance_id, session, envelope, envelope.decided, local, now_us)
                continue
            kind = envelope.message.event.__class__ if envelope.message is not None else None
            is_start = kind is ExecutionStarted
            if not envelope.purge and not is_start and kind is not ExecutionRewound:
                taken.append(envelope)
                continue
            if taken:
                self.turn(instance_id, session, taken, local, now_us)
            rest = envelopes[position:]
            orchestration = session.instance
            message = envelope.message
            replaces = is_start and message is not None and message.replaces(orchestration.status)
            if replaces and not orchestration.ended:
                # Decided by the status that it has now; the one that it is about to get may not be among the replaceable.
                assert message is not None
                envelope.message = msgspec.structs.replace(message, reuse=ReusePolicy.REPLACE, replaceable=None)
                terminate = Message(instance_id, ExecutionTerminated("replaced by a new instance of the same id"))
                self.turn(instance_id, session, [Envelope(instance_id, terminate, Origin.TIMER)], local, now_us)
            if kind is ExecutionRewound and orchestration.ended:
                self._wait_for_commit(instance_id, rest)
            elif orchestration.ended and (envelope.purge or replaces):
                row = self._row(session)
                self._sessions.drop(instance_id)
                self.without_session(instance_id, row, rest, local, now_us)
            else:
                self._refuse(envelope, orchestration.status, local)
                self.take(instance_id, session, rest[1:], local, now_us)
            return
        if taken:
            self.turn(instance_id, session, taken, local, now_us)

    def without_session(
        self, instance_id: str, row: InstanceRow | None, envelopes: list[Envelope], local: list[Envelope], now_us: int
    ) -> None:
        """Envelopes for an instance that doesn't exist, or has ended (then ``row`` is its last)."""
        if is_entity(instance_id):
            session = Session(self.make(instance_id, now_us), partition_of(instance_id, self._partition_count))
            self._sessions.add(instance_id, session)
            self.take(instance_id, session, envelopes, local, now_us)
            return
        batch = self._committer.batch
        for position, envelope in enumerate(envelopes):
            message = envelope.message
            if envelope.purge:
                self._consume(envelope)
                if row is None:
                    batch.answers.append((envelope, not_found(instance_id)))
                    continue
                partition = partition_of(instance_id, self._partition_count)
                batch.records.append(TurnRecord(instance_id=instance_id, delete=True))
                batch.partitions.add(partition)
                batch.answers.append((envelope, None))
                # Until then a load would still find the instance.
                self._wait_for_commit(instance_id, envelopes[position + 1 :])
                return
            if envelope.decided is not None:
                envelope.answer(StaleAnswerError(f"instance '{instance_id}' has ended; nobody wants the answer."))
            if message is None:
                continue
            if isinstance(message.event, ExecutionStarted):
                if row is None or message.replaces(row.status):
                    self._start(instance_id, row, envelopes[position:], local, now_us)
                    return
                self._refuse(envelope, row.status, local)
                continue
            if row is not None and _goes_back(envelope, row):
                self._wait_for_history(row, envelopes[position:])
                return
            self._consume(envelope)
            self._give_back(envelope, local)
            if envelope.reply is not None:
                error = finished(instance_id, row.status) if row is not None else not_found(instance_id)
                batch.answers.append((envelope, error))

    def _start(
        self, instance_id: str, old: InstanceRow | None, envelopes: list[Envelope], local: list[Envelope], now_us: int
    ) -> None:
        envelope = envelopes[0]
        message = envelope.message
        if old is not None and message is not None and isinstance(message.event, ExecutionStarted):
            # Generations count on, so that late completions for the instance of before can't be mistaken for the new one's.
            started = msgspec.structs.replace(message.event, generation=old.generation + 1)
            envelope.message = msgspec.structs.replace(message, event=started)
        assert message is not None
        assert isinstance(message.event, ExecutionStarted)
        session = Session(
            self.orchestration(instance_id, now_us, message.event.name), partition_of(instance_id, self._partition_count)
        )
        self._sessions.add(instance_id, session)
        self._hydrated(instance_id, [])
        self.turn(instance_id, session, [envelope], local, now_us, reset=old is not None)
        if len(envelopes) > 1:
            self.take(instance_id, session, envelopes[1:], local, now_us)

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

    def turn(
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
        """Every envelope is accepted or refused by one turn, and all that follows from it is in the batch or in ``local``."""
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
            self._sessions.used(instance_id, session, now_us)
        elif turn.dispositions:
            # An entity that was only asked: nothing to store, but there may be something to tell.
            batch.effects.append(turn.effects)
            self._sessions.used(instance_id, session, now_us)
        self._follow(instance_id, session, turn, local, now_us, again=new_row)
        self._answer(instance_id, instance, turn, envelopes, local)

    def _decide(
        self,
        instance_id: str,
        session: Session,
        envelope: Envelope,
        decided: WorkerAnswer,
        local: list[Envelope],
        now_us: int,
    ) -> None:
        """A worker's answer is applied by a turn of its own, or refused and without effect; it learns that at once."""
        instance = session.instance
        batch = self._committer.batch
        batch.partitions.add(session.partition)
        try:
            turn = decide(instance, decided.ticket, decided.at, decided.offered, decided.answer, now_us)
        except (StaleAnswerError, InvalidAnswerError) as error:
            envelope.answer(error)
            return
        envelope.answer(None)  # taken; if it doesn't become durable, it is asked for again
        self._stage(instance_id, session, turn, reset=False, new_row=False)
        self._sessions.used(instance_id, session, now_us)
        self._follow(instance_id, session, turn, local, now_us)

    def _follow(
        self, instance_id: str, session: Session, turn: Turn, local: list[Envelope], now_us: int, *, again: bool = False
    ) -> None:
        """Has everything happen that a turn leads to: its timer, the decision that it waits for, its messages."""
        self._arm(instance_id, session, turn, now_us)
        if turn.asked is not None:
            self._ask(turn.asked)
        if turn.messages:
            prefix = session.instance.message_prefix(turn)
            if again:  # the turn that failed had the same number, and its messages may still be on their way
                prefix = f"{prefix}/again-{now_us}"
            for number, message in enumerate(turn.messages):
                # Recovery reads messages in the order of their ids, which must be the order in which they were sent.
                message_id = f"{prefix}/{number:06d}"
                local.append(Envelope(message.instance_id, message, Origin.INSTANCE, message_id=message_id))

    def _answer(self, instance_id: str, instance: Hydrated, turn: Turn, envelopes: list[Envelope], local: list[Envelope]) -> None:
        batch = self._committer.batch
        dispositions = iter(turn.dispositions)
        for envelope in envelopes:
            if envelope.message is None:
                continue
            disposition = next(dispositions)
            if envelope.origin is Origin.ACTIVITY:
                batch.outcomes.append(envelope)
                if envelope.claim is not None:
                    self._consume(envelope)
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

    def make(self, instance_id: str, created_at: int, name: str = "", past: Iterable[bytes] = ()) -> Hydrated:
        """An object for an instance that has still to be taken through its ``past``. ``name`` is that of its orchestrator."""
        if not is_entity(instance_id):
            return self.orchestration(instance_id, created_at, name, past)
        self._hydrated_us = max(self._hydrated_us, self._clock.now_us())  # in order, even if somebody sets the clock back
        sender = f"{self._hydrated_us:016x}{next(self._hydrations):08x}{os.urandom(4).hex()}"
        here = not self._remote or entity_name(instance_id).casefold() in self._functions.entities
        make = Entity if here else RemoteEntity
        return make(instance_id, self._functions, self._converter, created_at, sender, _describe, elsewhere=self._remote)

    def orchestration(
        self, instance_id: str, created_at: int, name: str, past: Iterable[bytes] = ()
    ) -> Orchestration | RemoteOrchestration:
        """The same for an orchestration. Where its code has decided so far, it goes on deciding, whatever is registered here."""
        elsewhere = decided_elsewhere(past)
        if elsewhere is None:
            elsewhere = self._remote and name.casefold() not in self._functions.orchestrators
        if elsewhere:
            return RemoteOrchestration(instance_id, self._converter, created_at, registered=self._remote)
        return Orchestration(instance_id, self._functions, self._converter, created_at, _describe)


_describe = partial(failure_from_exception, source_line=linecache.getline)
"""Failures with the user's source lines; reading files is the engine's business, not the core's."""


def _nobody(asked: Asked) -> None:
    """There are no workers: instances whose code was in one wait until there are some again."""


def _goes_back(envelope: Envelope, row: InstanceRow) -> bool:
    """Whether a rewind needs the history of an ended instance: to undo its failure, or to report its end to its caller again."""
    rewound = envelope.message is not None and isinstance(envelope.message.event, ExecutionRewound)
    return rewound and (row.status == OrchestrationRuntimeStatus.Failed or envelope.reply is None)
