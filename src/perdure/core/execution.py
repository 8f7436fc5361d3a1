"""What all orchestrations have in common, wherever their code runs: folded state, the row it shows as, and what actions cause."""

from collections.abc import Iterable, Iterator
from typing import Any

from perdure.core.codec import decode_segment
from perdure.core.effects import CancelActivities, DispatchActivity, Effect, InstanceEnded
from perdure.core.errors import EngineInvariantError
from perdure.core.events import (
    AnyEvent,
    EntityLockGranted,
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    SubOrchestrationInstanceCreated,
    TaskScheduled,
    TerminationSent,
    TimerCanceled,
    TimerCreated,
)
from perdure.core.messages import Message
from perdure.core.outbound import dispatch, message_to_entity, message_to_parent, open_activities, releases, start_child
from perdure.core.state import InstanceState
from perdure.core.status import OrchestrationRuntimeStatus
from perdure.core.turn import Turn


class Execution:
    """An orchestration as far as it can be known without its code."""

    __slots__ = (
        "_projected",
        "_terminate_children",
        "created_at",
        "first_seq",
        "instance_id",
        "next_seq",
        "size",
        "state",
    )

    def __init__(self, instance_id: str, created_at: int) -> None:
        self.instance_id = instance_id
        self.created_at = created_at
        self.first_seq: int = 0
        self.next_seq: int = 0
        self.size = 0
        """Rough number of bytes in memory, for the bound of the session cache."""
        self.state = InstanceState()
        self._terminate_children = False
        self._projected: tuple[object, ...] = ()

    # --- what the engine reads for the row ------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the instance has a terminal status."""
        return self.state.completed is not None

    @property
    def started(self) -> ExecutionStarted:
        """The event that began the current generation."""
        started = self.state.started
        if started is None:
            raise EngineInvariantError(f"instance '{self.instance_id}' has no ExecutionStarted event")
        return started

    @property
    def custom_status(self) -> str | None:
        """JSON text."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """Of the orchestrator; empty before the instance has begun."""
        started = self.state.started
        return started.name if started is not None else ""

    @property
    def status(self) -> str:
        """As the row shows it."""
        return str(self.state.status)

    @property
    def pending(self) -> int:
        """What has to get going again after a restart: open activities, and a decision that is due from a worker."""
        return self.state.outstanding

    @property
    def wake_at(self) -> int | None:
        """When a turn is due although no message came."""
        return self.state.wake_at

    @property
    def durable(self) -> InstanceState:
        """What the stored bytes have to add up to."""
        return self.state

    def message_prefix(self, turn: Turn) -> str:
        """Begins the ids of a turn's messages. Recovery reads them in the order of their ids, which is that of the turns."""
        return f"{self.started.execution_id}/{turn.seq:010d}"

    def open_activities(self) -> list[DispatchActivity]:
        """What has to be dispatched (again) after a crash."""
        return open_activities(self.instance_id, self.state)

    def projection(self) -> tuple[object, ...]:
        """What the instance row shows; a turn that leaves it equal need not write the row."""
        state = self.state
        return state.status, self.custom_status, state.outstanding, state.wake_at, self.first_seq

    def _past(self, segments: Iterable[tuple[int, bytes]]) -> Iterator[tuple[bytes, list[AnyEvent]]]:
        """The stored turns of the current generation, which begins with the first of them; counts them on the way."""
        for number, (seq, data) in enumerate(segments):
            if number == 0:
                self.first_seq = seq
            self.next_seq = seq + 1
            yield data, decode_segment(data)

    # --- for turns ------------------------------------------------------------------------------------------------

    def _says_what_is_so(self, event: AnyEvent) -> bool:
        """A second suspend, or a resume of what isn't suspended: without effect, and not recorded."""
        kind = event.__class__
        return self.state.suspended if kind is ExecutionSuspended else kind is ExecutionResumed and not self.state.suspended

    def _check_known(self, event: Any) -> None:
        if event.task_id >= self.state.next_task_id:
            raise EngineInvariantError(
                f"{type(event).__name__} for task {event.task_id} of instance '{self.instance_id}', which was never asked for"
            )

    def _cause(self, actions: Iterable[AnyEvent], turn: Turn, effects: list[Effect]) -> None:
        """Turns the actions of this generation's part of the turn into messages and effects."""
        started = self.state.started
        if started is None:
            return
        for action in actions:
            if isinstance(action, TaskScheduled):
                effects.append(dispatch(self.instance_id, self.state, started, action))
            elif isinstance(action, SubOrchestrationInstanceCreated):
                turn.messages.append(start_child(self.instance_id, started, action))
            elif isinstance(action, ExecutionCompleted):
                self._announce_end(turn, effects, started, action)
            elif isinstance(action, EventSent):
                turn.messages.append(Message(action.instance_id, EventRaised(action.name, action.input)))
            elif isinstance(action, TerminationSent):
                ended = ExecutionTerminated(recursive=action.recursive, output=action.output)
                turn.messages.append(Message(action.instance_id, ended))
            elif not isinstance(action, TimerCreated | TimerCanceled):  # timers show in the projection
                turn.messages.append(message_to_entity(self.instance_id, started, action))  # type: ignore[arg-type]

    def _announce_end(self, turn: Turn, effects: list[Effect], started: ExecutionStarted, end: ExecutionCompleted) -> None:
        error = f"{end.failure.type}: {end.failure.message}" if end.failure is not None else None
        effects.append(InstanceEnded(self.instance_id, started.name, end.status, error))
        turn.messages += self._releases()
        terminated = end.status == OrchestrationRuntimeStatus.Terminated
        if terminated and self.state.pending:
            effects.append(CancelActivities(self.instance_id))
        if self._terminate_children:
            for work in self.state.open_work.values():
                if isinstance(work, SubOrchestrationInstanceCreated):
                    turn.messages.append(
                        Message(
                            work.instance_id,
                            ExecutionTerminated(f"its caller '{self.instance_id}' was terminated", recursive=True),
                        )
                    )
        report = message_to_parent(started, end)
        if report is not None:
            turn.messages.append(report)

    def _releases(self) -> list[Message]:
        """A generation that ends gives back what it has locked, or has asked to lock."""
        section = self.state.critical_section
        if section is None:
            return []
        if self.state.waits_for(section):
            return releases(section)
        # Each entity is told directly, or the release could overtake what this instance has called there.
        return releases(EntityLockGranted(section.task_id, section.critical_section_id, section.lock_set))
