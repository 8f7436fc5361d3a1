"""A hydrated orchestration: folded state plus live code, moved by turns. Pure: values in, values out.

``turn`` never raises for anything that user code does; it raises ``EngineInvariantError`` where Perdure itself is wrong.
``replay`` rebuilds the same object from stored segments, through the same methods.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from perdure.core.code import Code, check_output
from perdure.core.codec import decode_segment, encode_segment
from perdure.core.context import DurableOrchestrationContext
from perdure.core.converter import JsonConverter
from perdure.core.critical_section import LockTask
from perdure.core.effects import Effect, Sealed
from perdure.core.entity_id import entity_name
from perdure.core.errors import EngineInvariantError, PerdureError
from perdure.core.events import (
    ACTIONS,
    COMPLETIONS,
    AnyEvent,
    EntityOperationCompleted,
    EntityOperationFailed,
    EventRaised,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionTerminated,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TimerFired,
)
from perdure.core.execution import Execution
from perdure.core.failures import FailureDetails, TaskFailedError, failure_from_exception, original_exception
from perdure.core.functions import Functions, OrchestratorFunction, no_orchestrator
from perdure.core.matching import NonDeterminismError, check_turn
from perdure.core.messages import Message
from perdure.core.recorder import Recorder
from perdure.core.state import InstanceState
from perdure.core.status import OrchestrationRuntimeStatus
from perdure.core.tasks import LeafTask
from perdure.core.turn import Disposition, Turn

MAX_GENERATIONS_PER_TURN = 100
"""An orchestrator that continues as new without ever waiting gets a new turn after this many, so that others get theirs."""

_ACTION_TYPES = frozenset(ACTIONS)
_COMPLETION_TYPES = frozenset(COMPLETIONS)


class Orchestration(Execution):
    """One instance in memory. Single-threaded; dropped when its commit fails, rebuilt from history when needed again."""

    __slots__ = (
        "_code",
        "_context",
        "_continuing",
        "_converter",
        "_custom_status",
        "_describe",
        "_doomed",
        "_entered",
        "_function",
        "_functions",
        "_idle_turn",
        "_moved",
        "_parked",
        "_recorder",
        "segments",
    )

    def __init__(
        self,
        instance_id: str,
        functions: Functions,
        converter: JsonConverter,
        created_at: int,
        describe: Callable[[BaseException], FailureDetails] = failure_from_exception,
    ) -> None:
        """``describe`` turns what user code raised into what is stored; the engine's also reads source lines."""
        super().__init__(instance_id, created_at)
        self._functions = functions
        self._converter = converter
        self._describe = describe
        self._doomed: Exception | None = None
        self._idle_turn = False
        self._new_generation()

    def _new_generation(self) -> None:
        self.first_seq = self.next_seq
        self.state = InstanceState()
        self.segments: list[bytes] = []
        self.size = 2000
        self._recorder = Recorder(self.instance_id, self._converter, self.state.fold)
        self._context: DurableOrchestrationContext | None = None
        self._code = Code()
        self._function: OrchestratorFunction | None = None
        self._parked: list[AnyEvent] = []
        self._continuing = False
        self._entered = False
        self._terminate_children = False
        self._custom_status: str | None = None
        self._moved = False
        """Whether this turn did something that has to be recorded although no event arrived."""

    # --- what the engine reads for the projection -----------------------------------------------------------------

    @property
    def custom_status(self) -> str | None:
        """JSON text."""
        return self._context.custom_status_text if self._context is not None else self._custom_status

    @property
    def registered(self) -> bool:
        """Whether the app has this instance's orchestrator function."""
        return self._function is not None

    # --- live -----------------------------------------------------------------------------------------------------

    def turn(self, messages: Sequence[Message], now_us: int, *, idle: bool = False) -> Turn:
        """Takes the messages in order, runs the code as far as it goes, and says what came of it.

        ``now_us`` becomes the orchestration's time. ``idle`` makes a new instance wait for an app that has its code. The object
        has moved on when this returns, durable or not: if the commit fails, drop it.
        """
        turn = Turn(now_us)
        effects: list[Effect] = []
        events = self._begin_turn(
            OrchestratorStarted(now_us, self._function is None and (idle or self.state.started is not None))
        )
        if self._doomed is not None:
            if not self.ended:
                self._end(OrchestrationRuntimeStatus.Failed, None, self._describe(self._doomed))
        elif self.state.started is not None:
            for fired in self.state.due_timers(now_us):
                # Code woken by an earlier one may have ended, or have cancelled this one.
                if self.state.is_open(fired) and not self.ended and not self._continuing:
                    self._receive(fired, events)
        carried: list[AnyEvent] = []
        for message in messages:
            turn.dispositions.append(self._accept(message, events, carried))
        self._cause(self._recorder.actions, turn, effects)
        generations = 1
        while self._continuing and not self.ended:
            turn.messages += self._releases()
            events = self._continue_as_new(now_us, carried, wait=generations >= MAX_GENERATIONS_PER_TURN)
            carried = []
            turn.reset = True
            generations += 1
            self._cause(self._recorder.actions, turn, effects)
        actions = self._recorder.actions
        if len(events) > 1 or actions or self._moved:
            turn.seq = self.next_seq
            turn.events = encode_segment(events + actions)
            self.next_seq += 1
            self.segments.append(turn.events)
            self.size += len(turn.events)
            projected = self.projection()  # not of a turn that leaves no trace: then no row is written either
            turn.projection_changed = turn.reset or projected != self._projected
            self._projected = projected
        turn.effects = Sealed(effects)
        return turn

    def close(self) -> None:
        """Dehydrates: drops the code without letting it do anything."""
        if self._code.ended:
            return
        self._recorder.closed = True
        self._recorder.replaying = True  # whatever its ``finally`` blocks still do is not part of the history
        self._code.close()

    # --- from history ---------------------------------------------------------------------------------------------

    def replay(self, segments: Iterable[tuple[int, bytes]], custom_status: str | None) -> None:
        """Takes the code through its past, given as ``(seq, segment)`` pairs of the current generation.

        Code that no longer fits its history dooms the instance: its next turn fails it. An orchestrator that is not
        registered leaves it idle: its turns record what arrives, for a later app that has the function.

        Raises:
            EngineInvariantError: the segments can't be a history.
        """
        self._custom_status = custom_status
        recorder = self._recorder
        recorder.replaying = True
        for number, (data, events) in enumerate(self._past(segments), 1):
            if self._doomed is None:
                self._replay_turn(number, events)
            else:
                for event in events:
                    self.state.fold(event)  # what is open doesn't depend on what the code does now
            self.segments.append(data)  # not earlier: the code doesn't see the turn in progress among the histories
            self.size += len(data)
        recorder.replaying = False
        recorder.sources = []
        self._moved = False
        self._projected = self.projection()

    def _replay_turn(self, number: int, events: list[AnyEvent]) -> None:
        opening = events[0]
        if not isinstance(opening, OrchestratorStarted):
            raise EngineInvariantError(f"turn {number} of instance '{self.instance_id}' doesn't begin with OrchestratorStarted")
        recorded: list[Any] = []
        self._recorder.sources = []
        self._begin_turn(opening)
        for event in events[1:]:
            self.state.fold(event)
            if event.__class__ in _ACTION_TYPES:
                recorded.append(event)
            else:
                self._deliver(event)
        if self._function is None or self._idle_turn:
            return
        recorder = self._recorder
        try:
            check_turn(
                self.instance_id,
                number,
                recorded,
                recorder.actions,
                recorder.sources,
                self._code.position,
                continued_at=recorder.continued_at if self._continuing else None,
            )
        except NonDeterminismError as mismatch:
            mismatch.__cause__ = self._code.error  # the first failure is never masked by this one
            self._doomed = mismatch
            self._context = None  # its custom status is not what this instance showed

    # --- both -----------------------------------------------------------------------------------------------------

    def _begin_turn(self, opening: OrchestratorStarted) -> list[AnyEvent]:
        self.state.fold(opening)
        recorder = self._recorder
        recorder.now_us = opening.at
        recorder.actions = []
        self._idle_turn = opening.idle
        self._moved = False
        if not opening.idle and self._doomed is None and not self.ended:
            if self._parked and not self.state.suspended:
                self._moved = True
                self._release_parked()
            self._begin_if_ready()
        return [opening]

    def _accept(self, message: Message, events: list[AnyEvent], carried: list[AnyEvent]) -> Disposition:
        event = message.event
        kind = event.__class__
        if message.execution_id is not None:
            started = self.started
            if message.generation != started.generation or message.execution_id != started.execution_id:
                return Disposition.DROPPED
        state = self.state
        if state.completed is not None:
            return Disposition.FINISHED
        if self._continuing and kind is not ExecutionTerminated:
            if kind in _COMPLETION_TYPES:
                return Disposition.DROPPED
            carried.append(event)
            return Disposition.ACCEPTED
        if kind in _COMPLETION_TYPES:
            if not state.is_open(event):
                self._check_known(event)
                return Disposition.DROPPED
        elif self._says_what_is_so(event):
            return Disposition.ACCEPTED
        self._receive(event, events)
        return Disposition.ACCEPTED

    def _receive(self, event: AnyEvent, events: list[AnyEvent]) -> None:
        events.append(event)
        self.state.fold(event)
        self._deliver(event)

    def _deliver(self, event: AnyEvent) -> None:
        """The event is part of the history now; does what it means for the code."""
        kind = event.__class__
        if kind in _COMPLETION_TYPES or kind is EventRaised:
            if self._idle_turn or self._doomed is not None or self.state.suspended:
                self._parked.append(event)
                if isinstance(event, TimerFired):
                    self._recorder.timer_fired_unseen(event.task_id)
            else:
                self._to_code(event)
        elif isinstance(event, ExecutionStarted):
            self._enter(event)
        elif kind is ExecutionResumed:
            if not self._idle_turn:
                self._release_parked()
                self._begin_if_ready()
        elif isinstance(event, ExecutionTerminated):
            self._terminate_children = event.recursive
            self._end(OrchestrationRuntimeStatus.Terminated, event.reason, None, event.output)
        elif isinstance(event, ExecutionRewound):
            self._recorder.next_task_id = max(self._recorder.next_task_id, event.next_task_id)

    def _enter(self, started: ExecutionStarted) -> None:
        self._function = self._functions.orchestrators.get(started.name.casefold())
        if self._function is None:
            if not self._recorder.replaying and not self._idle_turn:
                error = no_orchestrator(started.name, self._functions)
                self._end(OrchestrationRuntimeStatus.Failed, None, self._describe(error))
            return
        flavour = self._function.flavour
        if flavour is not None:
            self._code = flavour.code()
            self._recorder.place = self._code.position
            self._recorder.converter = flavour.converter(self._converter)
        make = DurableOrchestrationContext if flavour is None else flavour.context
        self._context = make(self._recorder, started, self._functions, self._custom_status, self._decoded_segments)
        self._begin_if_ready()

    def _begin_if_ready(self) -> None:
        if self.state.begun and not self._entered and self._function is not None:
            self._moved = self._entered = True
            self._code.begin(self._function.call, self._context)
            self._after_code()

    def _release_parked(self) -> None:
        parked, self._parked = self._parked, []
        for position, event in enumerate(parked):
            if self._continuing or self._code.ended:
                # The code ended while taking them: external events among the rest belong to the next generation.
                self._parked = [later for later in parked[position:] if isinstance(later, EventRaised)]
                return
            self._to_code(event)

    def _to_code(self, event: AnyEvent) -> None:
        recorder = self._recorder
        if isinstance(event, EventRaised):
            recorder.event_arrived(event, self._code.waiting_for)
        else:
            task = recorder.tasks.pop(event.task_id, None)  # type: ignore[union-attr]
            if task is None:
                return  # a timer that the code has cancelled
            if isinstance(event, TaskCompleted):
                self._settle(task, event.result, "result of activity")
            elif isinstance(event, SubOrchestrationInstanceCompleted):
                self._settle(task, event.result, "result of orchestrator")
            elif isinstance(event, TaskFailed):
                function = self._functions.activities.get(task.name.casefold())
                task.settle(None, self._task_error("activity", task.name, event, function.raises if function else ()))
            elif isinstance(event, SubOrchestrationInstanceFailed):
                orchestrator = self._functions.orchestrators.get(task.name.casefold())
                types = orchestrator.raises if orchestrator else ()
                task.settle(None, self._task_error("sub-orchestration", task.name, event, types))
            elif isinstance(event, EntityOperationCompleted):
                self._settle(task, event.result, "result of entity operation")
            elif isinstance(event, EntityOperationFailed):
                entity = self._functions.entities.get(entity_name(task.name))
                task.settle(None, self._task_error("entity operation", task.name, event, entity.raises if entity else ()))
            elif isinstance(task, LockTask):
                task.section.granted = True
                task.settle(task.section)
            else:
                task.settle(None)
        self._code.resume()
        self._after_code()

    def _settle(self, task: LeafTask[Any], result: str | None, what: str) -> None:
        try:
            value = self._recorder.converter.decode(result, task.result_type, what, task.name)
        except PerdureError as error:
            task.settle(None, error)
        else:
            task.settle(value)

    def _task_error(
        self,
        kind: Literal["activity", "sub-orchestration", "entity operation"],
        name: str,
        event: TaskFailed | SubOrchestrationInstanceFailed | EntityOperationFailed,
        types: tuple[type[Exception], ...],
    ) -> Exception:
        if self._function is not None and self._function.flavour is not None:
            return self._function.flavour.failure(kind, name, event.task_id, event.failure)
        error = TaskFailedError(f"{kind} '{name}'", event.task_id, event.failure)
        if types:
            original = original_exception(event.failure, types)
            if original is not None:
                original.__cause__ = error
                return original
        return error

    def _after_code(self) -> None:
        code, context = self._code, self._context
        if code.waiting_for is None and not code.ended:
            return
        continuing = context is not None and context.next_generation is not None
        if code.ended:
            if self.ended or self._continuing:
                return
            if code.error is not None:
                self._end(OrchestrationRuntimeStatus.Failed, None, self._describe(code.error))
            elif continuing:
                self._continuing = True
            else:
                self._complete(code.output)
        elif continuing:
            self._continuing = True
            self._drop_code()

    def _complete(self, output: object) -> None:
        try:
            check_output(output, self.started.name)
            text = self._recorder.converter.encode(output, "output of orchestrator", self.started.name)
        except PerdureError as error:
            self._end(OrchestrationRuntimeStatus.Failed, None, self._describe(error))
        else:
            self._recorder.add(ExecutionCompleted(OrchestrationRuntimeStatus.Completed, text))

    def _end(
        self,
        status: OrchestrationRuntimeStatus,
        reason: str | None,
        failure: FailureDetails | None,
        result: str | None = None,
    ) -> None:
        self._continuing = False
        if result is None:
            result = self._converter.encode(reason, "reason of terminating", self.instance_id)
        self._recorder.add(ExecutionCompleted(status, result, failure))
        self._drop_code()

    def _drop_code(self) -> None:
        recorder = self._recorder
        replaying = recorder.replaying
        recorder.closed = recorder.replaying = True
        self._code.close()
        recorder.closed, recorder.replaying = False, replaying

    # --- outcome --------------------------------------------------------------------------------------------------

    def _continue_as_new(self, now_us: int, carried: Sequence[AnyEvent], *, wait: bool) -> list[AnyEvent]:
        """Begins the next generation; returns its events."""
        old, context = self.started, self._context
        if context is None or context.next_generation is None:
            raise EngineInvariantError("an instance continues as new without having asked for it")
        input_, save_events, new_version = context.next_generation
        # What came after the decision is never lost; what was parked comes after it, as if it had not been parked.
        kept: list[AnyEvent] = [*(self._recorder.unprocessed_events() if save_events else ()), *self._parked]
        custom_status = self.custom_status
        self._new_generation()
        self._custom_status = custom_status
        events = self._begin_turn(OrchestratorStarted(now_us))
        started = ExecutionStarted(
            name=old.name,
            execution_id=old.execution_id,
            generation=old.generation + 1,
            input=input_,
            version=old.version if new_version is None else new_version,
            tags=old.tags,
            parent=old.parent,
            start_at=now_us + 1 if wait else None,
            features=old.features,
        )
        self._receive(started, events)
        rest: list[AnyEvent] = []
        for event in (*kept, *carried):
            if self._continuing or self.ended:
                rest.append(event)
            elif not self._says_what_is_so(event):
                self._receive(event, events)
        self._parked += rest
        return events

    def _decoded_segments(self) -> list[AnyEvent]:
        return [event for data in self.segments for event in decode_segment(data)]
