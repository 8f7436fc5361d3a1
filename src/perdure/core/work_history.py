"""The history of an instance in the order in which its code, in another process, has seen it.

What arrives while a worker decides is stored before the decision, but is behind it for the code. The fold here puts it right.
"""

from collections import deque
from collections.abc import Sequence

from perdure.core.errors import EngineInvariantError
from perdure.core.events import ACTIONS, AnyEvent, ExecutionRewound, OrchestratorDecided, OrchestratorStarted, WorkerSpan

_ACTION_TYPES = frozenset(ACTIONS)


class WorkHistory:
    """Folds turns of one generation, live and from the store alike.

    ``past`` begins each decision (and each turn of code that was here) with its ``OrchestratorStarted``; after that come the
    events that the code got to see then, and then what it asked for. It is only ever appended to.
    """

    __slots__ = ("cache", "decisions", "last_at", "new", "past", "rewinds", "span")

    def __init__(self) -> None:
        self.past: list[AnyEvent] = []
        self.new: deque[AnyEvent] = deque()
        """What no decision has seen yet."""
        self.decisions = 0
        self.rewinds = 0
        self.last_at = 0
        """The time that the code saw last."""
        self.span: WorkerSpan | None = None
        self.cache: object = None
        """For whoever sends histories: what it has made of ``past`` so far."""

    def add_turn(self, events: Sequence[AnyEvent]) -> None:
        """Takes one stored turn into account."""
        opening = events[0]
        if not isinstance(opening, OrchestratorStarted):
            raise EngineInvariantError("a turn doesn't begin with OrchestratorStarted")
        decided = events[1] if len(events) > 1 else None
        if isinstance(decided, OrchestratorDecided):
            self.decisions += 1
            self.span = decided.span or self.span
            self._saw(decided.at, decided.seen)
            self.past += events[2:]
        elif opening.idle or opening.kept:
            self._add_arrivals(opening, events)
        else:  # code that was in this process has seen all of it
            self._saw(opening.at, len(self.new))
            self.past += events[1:]
            self.rewinds += sum(event.__class__ is ExecutionRewound for event in events)

    def _add_arrivals(self, opening: OrchestratorStarted, events: Sequence[AnyEvent]) -> None:
        actions: list[AnyEvent] = []
        for event in events[1:]:
            if event.__class__ in _ACTION_TYPES:
                actions.append(event)
            elif event.__class__ is ExecutionRewound:
                self.rewinds += 1
                self.past.append(event)  # nothing to decide about
            else:
                self.new.append(event)
        if actions:  # somebody ended the instance without asking its code
            self._saw(opening.at, len(self.new))
            self.past += actions

    def _saw(self, at: int, count: int) -> None:
        self.last_at = at
        self.past.append(OrchestratorStarted(at))
        for _ in range(count):
            self.past.append(self.new.popleft())
