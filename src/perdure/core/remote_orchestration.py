"""An orchestration whose code is in another process: it records what arrives, asks for decisions, and applies them. Pure.

Turns record arrivals at once, so that nobody who sends something has to wait for a worker. ``decide`` applies what a worker
answers; what that causes is the same as if the code were here.
"""

from collections.abc import Iterable, Sequence
from itertools import islice

import msgspec

from perdure.core.answer_checks import StaleAnswerError, checked_actions
from perdure.core.answers import Continuation, OrchestratorAnswer, Ticket
from perdure.core.codec import decode_segment, encode_segment
from perdure.core.converter import JsonConverter
from perdure.core.effects import Effect, OfferWork, Sealed, WithdrawWork
from perdure.core.events import (
    COMPLETIONS,
    Action,
    AnyEvent,
    ExecutionCompleted,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionTerminated,
    OrchestratorDecided,
    OrchestratorStarted,
    SubOrchestrationInstanceCreated,
    TaskScheduled,
)
from perdure.core.execution import Execution
from perdure.core.messages import Message
from perdure.core.state import InstanceState
from perdure.core.status import OrchestrationRuntimeStatus
from perdure.core.turn import Disposition, Turn
from perdure.core.work_history import WorkHistory

_COMPLETION_TYPES = frozenset(COMPLETIONS)
_PER_BYTE = 3
"""Bytes in memory for each byte of a segment: the decoded events, and their form on the wire."""


class RemoteOrchestration(Execution):
    """One instance in memory. Single-threaded; dropped when its commit fails, rebuilt from history when needed again."""

    __slots__ = ("_attempts", "_converter", "_custom_status", "_events", "history", "registered")

    def __init__(self, instance_id: str, converter: JsonConverter, created_at: int, *, registered: bool = True) -> None:
        """``registered``: workers that may have its function can connect."""
        super().__init__(instance_id, created_at)
        self.registered = registered
        self._converter = converter
        self._custom_status: str | None = None
        self._events: list[AnyEvent] = []
        self._new_generation()

    def _new_generation(self) -> None:
        self.first_seq = self.next_seq
        self.state = InstanceState()
        self.size = 2000
        self.history = WorkHistory()
        self._attempts: dict[int, int] = {}
        self._terminate_children = False

    @property
    def custom_status(self) -> str | None:
        """JSON text."""
        return self._custom_status

    @property
    def ticket(self) -> Ticket:
        """Of the decision that is due."""
        started = self.started
        return started.execution_id, started.generation, self.history.decisions, self.history.rewinds

    def new_events(self, count: int) -> list[AnyEvent]:
        """The oldest ``count`` events that no decision has seen."""
        return list(islice(self.history.new, count))

    # --- turns ----------------------------------------------------------------------------------------------------

    def turn(self, messages: Sequence[Message], now_us: int, *, idle: bool = False) -> Turn:
        """Records the messages and the timers that are due, and asks for a decision where one can be made.

        The object has moved on when this returns, durable or not: if the commit fails, drop it.
        """
        del idle  # it always is
        turn = Turn(now_us)
        effects: list[Effect] = []
        self._events = []
        if self.state.started is not None:
            for fired in self.state.due_timers(now_us):
                if not self.ended:
                    self._receive(fired, now_us)
        for message in messages:
            turn.dispositions.append(self._accept(message, now_us))
        events = self._events
        if events:
            end = self.state.completed
            kept = len(events) - 1 - (end is not None) - sum(isinstance(event, ExecutionRewound) for event in events)
            events[0] = OrchestratorStarted(now_us, idle=kept > 0, kept=kept)
            self.state.idle = kept > 0
            self.state.unseen += kept
            if end is not None:
                self._cause((end,), turn, effects)
            self._record(turn, events)
        self._ask(turn)
        turn.effects = Sealed(effects)
        return turn

    def decide(self, ticket: Ticket, at: int, offered: int, answer: OrchestratorAnswer, now_us: int) -> Turn:
        """Applies a worker's answer, which was given at the code's time ``at`` with ``offered`` new events before it.

        Raises:
            StaleAnswerError: another decision is due, or none.
            InvalidAnswerError: it can't be applied.
        """
        if self.ended or ticket != self.ticket or offered > len(self.history.new):
            raise StaleAnswerError(
                f"the answer for instance '{self.instance_id}' is obsolete: it was answered before, or has ended"
            )
        actions = [self._numbered(action) for action in checked_actions(self.instance_id, self.state, answer, offered)]
        turn = Turn(now_us)
        effects: list[Effect] = []
        seen = offered if answer.seen is None else answer.seen
        events: list[AnyEvent] = [OrchestratorStarted(now_us, idle=True), OrchestratorDecided(at, seen, answer.span), *actions]
        for event in events:
            self.state.fold(event)
        self._custom_status = answer.custom_status
        self._cause(actions, turn, effects)
        if answer.continuation is None:
            self._record(turn, events)
        else:
            turn.messages += self._releases()
            arrived = [event for event in islice(self.history.new, seen, None) if event.__class__ not in _COMPLETION_TYPES]
            self._record(turn, self._continue_as_new(answer.continuation, arrived, now_us), reset=True)
        self._ask(turn)
        turn.effects = Sealed(effects)
        return turn

    def replay(self, segments: Iterable[tuple[int, bytes]], custom_status: str | None) -> None:
        """Folds the past, given as ``(seq, segment)`` pairs of the current generation."""
        self._custom_status = custom_status
        for data, events in self._past(segments):
            for event in events:
                self.state.fold(event)
                if isinstance(event, SubOrchestrationInstanceCreated | TaskScheduled) and event.attempt > 1:
                    self._attempts[event.task_id] = event.attempt
            self.history.add_turn(events)
            self.size += _PER_BYTE * len(data)
        self.state.unseen = len(self.history.new)  # also what was recorded before anybody thought of workers
        self._projected = self.projection()

    def close(self) -> None:
        """Nothing: no code is under way here."""

    # --- inside ---------------------------------------------------------------------------------------------------

    def _accept(self, message: Message, now_us: int) -> Disposition:
        event = message.event
        if message.execution_id is not None:
            started = self.started
            if message.generation != started.generation or message.execution_id != started.execution_id:
                return Disposition.DROPPED
        if self.ended:
            return Disposition.FINISHED
        if event.__class__ in _COMPLETION_TYPES:
            if not self.state.is_open(event):  # type: ignore[arg-type]
                self._check_known(event)
                return Disposition.DROPPED
        elif self._says_what_is_so(event):  # type: ignore[arg-type]
            return Disposition.ACCEPTED
        self._receive(event, now_us)  # type: ignore[arg-type]
        return Disposition.ACCEPTED

    def _receive(self, event: AnyEvent, now_us: int) -> None:
        events = self._events
        if not events:
            opening = OrchestratorStarted(now_us, idle=True)
            events.append(opening)
            self.state.fold(opening)
        events.append(event)
        self.state.fold(event)
        if isinstance(event, ExecutionTerminated):
            self._terminate_children = event.recursive
            output = event.output
            if output is None:
                output = self._converter.encode(event.reason, "reason of terminating", self.instance_id)
            end = ExecutionCompleted(OrchestrationRuntimeStatus.Terminated, output)
            events.append(end)
            self.state.fold(end)

    def _record(self, turn: Turn, events: list[AnyEvent], *, reset: bool = False) -> None:
        turn.seq = self.next_seq
        turn.events = encode_segment(events)
        turn.reset = reset
        self.next_seq += 1
        self.history.add_turn(events)
        self.size += _PER_BYTE * len(turn.events)
        projected = self.projection()
        turn.projection_changed = reset or projected != self._projected
        self._projected = projected

    def _ask(self, turn: Turn) -> None:
        state = self.state
        started = state.started
        if started is None or not state.undecided:
            if state.suspended:
                turn.asked = WithdrawWork(self.instance_id)
            return
        if not state.begun and started.start_at is not None and started.start_at > turn.at:
            return
        turn.asked = OfferWork(self.instance_id, self.ticket, len(self.history.new), started.name, started.version)

    def _numbered(self, action: Action) -> Action:
        """With the number of its attempt, where its id has been used before."""
        if isinstance(action, TaskScheduled | SubOrchestrationInstanceCreated) and action.task_id < self.state.next_task_id:
            attempt = self._attempts[action.task_id] = self._attempts.get(action.task_id, 1) + 1
            return msgspec.structs.replace(action, attempt=attempt)
        return action

    def _continue_as_new(self, continuation: Continuation, arrived: list[AnyEvent], now_us: int) -> list[AnyEvent]:
        """Begins the next generation; returns its events. What arrived after the decision is never lost."""
        old = self.started
        self._new_generation()
        started = ExecutionStarted(
            name=old.name,
            execution_id=old.execution_id,
            generation=old.generation + 1,
            input=continuation.input,
            version=old.version if continuation.version is None else continuation.version,
            tags=old.tags,
            parent=old.parent,
            features=old.features,
            trace=old.trace,
        )
        events: list[AnyEvent] = [OrchestratorStarted(now_us), started]
        self.state.fold(events[0])
        self.state.fold(started)
        for event in (*continuation.carried, *arrived):
            if not self._says_what_is_so(event):
                events.append(event)
                self.state.fold(event)
        kept = len(events) - 1
        events[0] = OrchestratorStarted(now_us, kept=kept)
        self.state.unseen = kept
        return events


def decided_elsewhere(segments: Iterable[bytes]) -> bool | None:
    """Whether the code that has decided so far was in another process; ``None`` where none has decided anything."""
    for data in segments:
        events = decode_segment(data)
        opening = events[0]
        if len(events) > 1 and isinstance(events[1], OrchestratorDecided):
            return True
        if isinstance(opening, OrchestratorStarted) and not opening.idle:
            return opening.kept > 0
    return None
