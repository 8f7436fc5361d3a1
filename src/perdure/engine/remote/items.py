"""Work on its way: items that wait for a worker or are with one."""

from collections import OrderedDict, deque
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec

from perdure.core.effects import DispatchActivity, OfferWork
from perdure.engine.recovery import ActivityKey
from perdure.engine.remote.work import Kind, LaneKey
from perdure.engine.remote.worker import Worker


class Phase(StrEnum):
    """Where an item is."""

    QUEUED = "queued"
    """In its lane, for the next worker with room."""
    LOADING = "loading"
    """Meant for a worker; its instance is being hydrated for that."""
    OUT = "out"
    """With a worker."""
    ANSWERED = "answered"
    """An answer is being applied."""
    RESTING = "resting"
    """Given back by a worker: offered again after a while."""
    HELD = "held"
    """Nobody else may get it, for its instance is suspended. Whoever has it may answer."""
    GONE = "gone"
    """Nobody wants it any more. It may still lie in its lane."""


class Item(msgspec.Struct, eq=False):
    """Something that a worker has to do."""

    kind: Kind
    key: str | ActivityKey
    """Instance id, or that of the activity."""
    asked: OfferWork | DispatchActivity
    phase: Phase = Phase.QUEUED
    loading_for: Worker | None = None
    """Who gets it when it is loaded; a place is taken there."""
    grants: "list[Grant]" = []
    """Those that have it and may answer, oldest first. Only the last one may be within its lease."""
    returns: int = 0
    """How often it was given back unanswered."""
    avoid: Worker | None = None
    """Who gave it back last: others go first."""


class Grant(msgspec.Struct, eq=False):
    """An item in the hands of a worker. It takes up a place there until the worker answers, even if the item is taken from it."""

    token: str
    worker: Worker
    kind: Kind
    item: Item | None
    """``None``: it has been taken away; an answer will be refused."""
    at: int
    """The time that the code sees (microseconds)."""
    offered: int
    """Events or operations that the worker got."""
    deadline: float
    """On the event loop's clock. From then on, others get the item too."""
    parts: list[Any] = []
    """What has come of an answer that comes in several parts."""


class Lanes:
    """The queued items, by kind, name and version; each lane in order of arrival, the lanes of a kind in turn."""

    def __init__(self) -> None:
        self._lanes: dict[Kind, OrderedDict[LaneKey, deque[Item]]] = {kind: OrderedDict() for kind in Kind}

    def add(self, item: Item, *, first: bool = False) -> None:
        """Queues an item; ``first`` where it has waited before."""
        item.phase = Phase.QUEUED
        lane = self._lanes[item.kind].setdefault(lane_key(item), deque())
        if first:
            lane.appendleft(item)
        else:
            lane.append(item)

    def take(self, kind: Kind, wants: Callable[[LaneKey], bool]) -> Item | None:
        """Removes the next item from one of the lanes that are wanted."""
        lanes = self._lanes[kind]
        for key in list(lanes):
            lane = lanes[key]
            found = self._first(lane) if wants(key) else None
            if not lane:
                del lanes[key]
            elif found is not None:
                lanes.move_to_end(key)
            if found is not None:
                return found
        return None

    def waiting(self) -> list[LaneKey]:
        """The lanes in which something waits."""
        return [
            key
            for lanes in self._lanes.values()
            for key, lane in lanes.items()
            if any(item.phase is Phase.QUEUED for item in lane)
        ]

    def count(self, key: LaneKey) -> int:
        """How many items wait in one of them."""
        return sum(item.phase is Phase.QUEUED for item in self._lanes[key[0]][key])

    @staticmethod
    def _first(lane: deque[Item]) -> Item | None:
        while lane:
            item = lane.popleft()
            if item.phase is Phase.QUEUED:
                return item
        return None


def lane_key(item: Item) -> LaneKey:
    """Where an item waits."""
    return item.kind, item.asked.name, item.asked.version or ""
