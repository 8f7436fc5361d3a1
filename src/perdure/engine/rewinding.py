"""Rewinding: takes an instance that has failed back to before its failure, and lets it go on from there."""

from collections.abc import Callable, Sequence

from perdure.core.codec import decode_segment, encode_segment
from perdure.core.effects import DispatchActivity, Effect, Sealed
from perdure.core.events import AnyEvent, ExecutionRewound
from perdure.core.messages import Message
from perdure.core.remote_orchestration import decided_elsewhere
from perdure.core.remote_rewind import rewind_remote
from perdure.core.rewind import Rewound, report_of_end, rewind
from perdure.core.status import OrchestrationRuntimeStatus
from perdure.engine.committer import Committer
from perdure.engine.envelopes import Envelope, Origin
from perdure.engine.errors import stays_failed
from perdure.engine.hydration import Hydrator
from perdure.engine.instance_turns import InstanceTurns
from perdure.engine.sessions import Session, Sessions
from perdure.store.contract import InstanceRow, Segment, TurnRecord


class Rewinding:
    """Answers rewinds of instances that have ended: by undoing the failure, or by reporting the end once more."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        committer: Committer,
        turns: InstanceTurns,
        hydrator: Hydrator,
        hydrated: Callable[[str, list[DispatchActivity]], None],
        consume: Callable[[Envelope], None],
    ) -> None:
        self._sessions = sessions
        self._committer = committer
        self._turns = turns
        self._hydrator = hydrator
        self._hydrated = hydrated
        self._consume = consume

    def go_back(
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
        elsewhere = decided_elsewhere(segment.events for segment in segments)
        plan = (rewind_remote if elsewhere else rewind)(instance_id, turns, asked) if failed else None
        if plan is not None:
            self._rewind(instance_id, row, segments, plan, envelope, local, now_us)
            session = self._sessions.get(instance_id)
            assert session is not None
            if len(envelopes) > 1:
                self._turns.take(instance_id, session, envelopes[1:], local, now_us)
            return
        # It ended well (or was terminated, or can't go back) while its caller had failed: it reports that again.
        self._consume(envelope)
        if envelope.reply is not None:
            self._committer.batch.answers.append((envelope, stays_failed(instance_id)))
            self._turns.without_session(instance_id, row, envelopes[1:], local, now_us)
            return
        report = report_of_end(turns)
        if report is not None:
            message_id = f"{row.execution_id}/again/{now_us}"
            local.append(Envelope(report.instance_id, report, Origin.INSTANCE, message_id=message_id))
        self._turns.without_session(instance_id, row, envelopes[1:], local, now_us)

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
        past = (segment.events for segment in segments)
        session = Session(self._turns.orchestration(instance_id, row.created_at, row.name, past), row.partition)
        kept = segments[: plan.kept_turns] if plan.rewritten is None else _rewritten(segments[0], plan.rewritten)
        self._hydrator.replay(session, kept, row.custom_status)
        self._sessions.add(instance_id, session)
        self._hydrated(instance_id, [])
        batch = self._committer.batch
        for number, segment in enumerate(kept):
            batch.records.append(TurnRecord(instance_id=instance_id, segment=segment, reset=not number))
        open_before = {work.task_id for work in session.instance.open_activities()}
        again = [Envelope(instance_id, Message(instance_id, event), Origin.TIMER) for event in plan.again]
        envelope.message = Message(instance_id, plan.event)
        again.insert(0, envelope)  # first, since what follows may end the instance at once
        self._turns.turn(instance_id, session, again, local, now_us, reset=not kept, new_row=True)
        still_open = session.instance.open_activities()
        effects: list[Effect] = [work for work in still_open if work.task_id in open_before]
        batch.effects.append(Sealed(effects))
        for number, message in enumerate(plan.messages):
            message_id = f"{row.execution_id}/rewind/{now_us}/{number:06d}"
            local.append(Envelope(message.instance_id, message, Origin.INSTANCE, message_id=message_id))


def _rewritten(first: Segment, turns: Sequence[Sequence[AnyEvent]]) -> Sequence[Segment]:
    return [Segment(first.seq + number, first.at, encode_segment(turn)) for number, turn in enumerate(turns)]
