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
from perdure.core.orchestration import message_to_parent
from perdure.core.state import InstanceState

_NOT_AGAIN = (OrchestratorStarted, TaskFailed, SubOrchestrationInstanceFailed, ExecutionRewound, *ACTIONS)


@dataclass(frozen=True, slots=True)
class Rewound:
    """What a rewind leaves: the number of turns that stay, the events to take again, and what to tell sub-orchestrations."""

    kept_turns: int
    again: Sequence[IncomingEvent]
    to_children: Sequence[Message]


def rewind(turns: Sequence[Sequence[AnyEvent]], asked: ExecutionRewound) -> Rewound:
    """Plans the rewind of a failed instance, given the events of all its turns.

    Open sub-orchestrations are told too: a failed one rewinds, and one that has ended meanwhile reports its end again, because
    its report found the caller failed.
    """
    kept = turns[:-1]
    again = [event for event in turns[-1] if not isinstance(event, _NOT_AGAIN)]
    state = InstanceState()
    for turn in kept:
        for event in turn:
            state.fold(event)
    children = [
        Message(work.instance_id, asked) for work in state.open_work.values() if isinstance(work, SubOrchestrationInstanceCreated)
    ]
    return Rewound(len(kept), again, children)  # type: ignore[arg-type]


def report_of_end(turns: Sequence[Sequence[AnyEvent]]) -> Message | None:
    """What an instance that has ended tells its caller; ``None`` where nobody called it."""
    started = next((event for event in turns[0] if isinstance(event, ExecutionStarted)), None)
    end = turns[-1][-1]
    if started is None or not isinstance(end, ExecutionCompleted):
        raise EngineInvariantError("the history of an ended instance has no beginning or no end")
    return message_to_parent(started, end)
