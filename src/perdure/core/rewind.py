"""Rewind: a failed orchestration goes back to just before it failed, and tries again.

The last turn is undone: its events are delivered again, except the failures among them, whose work is done again instead
(activities are dispatched, failed sub-orchestrations are rewound themselves). Everything earlier stays as it was, so the
replay of what remains can't differ. The Durable Task Framework removes *every* failure of the past instead, also those
that the code has handled, which breaks the replay of such histories (decision 0012).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from perdure.core.errors import EngineInvariantError
from perdure.core.events import (
    ACTIONS,
    AnyEvent,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    ExecutionCompleted,
    ExecutionRewound,
    ExecutionStarted,
    IncomingEvent,
    OrchestratorStarted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskFailed,
)
from perdure.core.messages import Message
from perdure.core.outbound import message_to_entity, message_to_parent
from perdure.core.state import InstanceState

NOT_AGAIN = (
    OrchestratorStarted,
    TaskFailed,
    SubOrchestrationInstanceFailed,
    EntityOperationFailed,
    ExecutionRewound,
    *ACTIONS,
)


@dataclass(frozen=True, slots=True)
class Rewound:
    """What a rewind leaves: the number of turns that stay, the events to take again, and what to tell others."""

    event: ExecutionRewound
    """Recorded first in the new turn."""
    kept_turns: int
    again: Sequence[IncomingEvent]
    messages: Sequence[Message]
    """To sub-orchestrations that are still open, and to entities whose answers are missing."""
    rewritten: Sequence[Sequence[AnyEvent]] | None = None
    """What is stored instead of the turns that were there."""


def rewind(instance_id: str, turns: Sequence[Sequence[AnyEvent]], asked: ExecutionRewound) -> Rewound | None:
    """Plans the rewind of a failed instance, given the events of all its turns.

    Open sub-orchestrations are told too: a failed one rewinds, and one that has ended meanwhile reports its end again, because
    its report found the caller failed. Entities don't keep what they have answered: they are called again.

    Returns:
        ``None`` where it can't be: the instance stood in a critical section. Its entities belong to others since it failed, so
        going on as if it still had them would break the promise of the section.
    """
    again = [event for event in turns[-1] if not isinstance(event, NOT_AGAIN)]
    return plan(instance_id, turns[:-1], again, turns[-1], asked)


def plan(
    instance_id: str,
    kept: Sequence[Sequence[AnyEvent]],
    again: Sequence[AnyEvent],
    undone: Sequence[AnyEvent],
    asked: ExecutionRewound,
    rewritten: Sequence[Sequence[AnyEvent]] | None = None,
) -> Rewound | None:
    """What follows from keeping the turns of ``kept``. See ``rewind``."""
    state = InstanceState()
    for turn in kept:
        for event in turn:
            state.fold(event)
    first_free = state.next_task_id
    for event in undone:
        first_free = max(first_free, getattr(event, "task_id", -1) + 1, getattr(event, "next_task_id", 0))
    if state.critical_section is not None:
        return None
    answered = {event.task_id for event in again if isinstance(event, EntityOperationCompleted)}
    messages: list[Message] = []
    for work in state.open_work.values():
        if isinstance(work, SubOrchestrationInstanceCreated):
            messages.append(Message(work.instance_id, ExecutionRewound(asked.reason)))
        elif isinstance(work, EntityOperationCalled) and work.task_id not in answered and state.started is not None:
            messages.append(message_to_entity(instance_id, state.started, work))
    event = ExecutionRewound(asked.reason, first_free)
    return Rewound(event, len(kept), again, messages, rewritten)  # type: ignore[arg-type]


def report_of_end(turns: Sequence[Sequence[AnyEvent]]) -> Message | None:
    """What an instance that has ended tells its caller; ``None`` where nobody called it."""
    started = next((event for event in turns[0] if isinstance(event, ExecutionStarted)), None)
    end = turns[-1][-1]
    if started is None or not isinstance(end, ExecutionCompleted):
        raise EngineInvariantError("the history of an ended instance has no beginning or no end")
    return message_to_parent(started, end)
