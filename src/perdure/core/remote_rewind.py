"""Rewind of an orchestration whose code is in another process.

Its failures were recorded when they arrived, which may be long before the decision that failed because of them. So the decisions
at the end that asked for nothing are undone together with the last one: code that waits for several things takes in their
failures one by one. What remains is written anew, each decision behind all that it has seen.
"""

from collections import deque
from collections.abc import Sequence

from perdure.core.events import ACTIONS, AnyEvent, ExecutionRewound, OrchestratorDecided, OrchestratorStarted, TimerCanceled
from perdure.core.rewind import NOT_AGAIN, Rewound, plan

_ACTION_TYPES = frozenset(ACTIONS)


def rewind_remote(instance_id: str, turns: Sequence[Sequence[AnyEvent]], asked: ExecutionRewound) -> Rewound | None:
    """As ``rewind``; the turns that stay are those of ``Rewound.rewritten``."""
    decisions, unseen = _decisions(turns)
    undone = [decisions.pop()]
    while decisions and not _asked_for_anything(decisions[-1]):
        undone.append(decisions.pop())
    again = [event for seen, _ in reversed(undone) for event in seen] + unseen
    kept = [turn for seen, turn in decisions for turn in _turns(seen, turn)]
    last = [event for _, turn in undone for event in turn]
    return plan(instance_id, kept, [event for event in again if not isinstance(event, NOT_AGAIN)], last, asked, rewritten=kept)


_Decision = tuple[list[AnyEvent], Sequence[AnyEvent]]
"""What it has seen, and its turn."""


def _decisions(turns: Sequence[Sequence[AnyEvent]]) -> tuple[list[_Decision], list[AnyEvent]]:
    decisions: list[_Decision] = []
    waiting: deque[AnyEvent] = deque()
    for turn in turns:
        decided = turn[1] if len(turn) > 1 else None
        if isinstance(decided, OrchestratorDecided):
            decisions.append(([waiting.popleft() for _ in range(decided.seen)], turn))
        else:
            waiting.extend(event for event in turn[1:] if event.__class__ not in _ACTION_TYPES)
    return decisions, list(waiting)


def _asked_for_anything(decision: _Decision) -> bool:
    return any(not isinstance(event, TimerCanceled) for event in decision[1][2:])


def _turns(seen: list[AnyEvent], turn: Sequence[AnyEvent]) -> list[Sequence[AnyEvent]]:
    decided = turn[1]
    assert isinstance(decided, OrchestratorDecided)
    kept = sum(not isinstance(event, ExecutionRewound) for event in seen)
    return [[OrchestratorStarted(decided.at, idle=True, kept=kept), *seen], turn]
