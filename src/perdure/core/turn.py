"""The outcome of one activation of an instance, orchestration or entity."""

from collections.abc import Sequence
from enum import Enum

from perdure.core.effects import Asked, Effect, Sealed
from perdure.core.messages import Message


class Disposition(Enum):
    """What became of a message."""

    ACCEPTED = "accepted"
    """Recorded, or without effect because it says what is so already (a second suspend)."""
    DROPPED = "dropped"
    """A duplicate, or meant for an earlier generation."""
    FINISHED = "finished"
    """The instance had ended before."""


class Turn:
    """The outcome of one activation: what to store, what to tell other instances, and (sealed) what to do."""

    __slots__ = ("asked", "at", "dispositions", "effects", "events", "messages", "projection_changed", "reset", "seq", "vacated")

    def __init__(self, at: int) -> None:
        self.at = at
        self.seq = 0
        self.events: bytes | None = None
        """The segment; ``None`` where nothing happened."""
        self.reset = False
        """The segment begins a new generation; older ones are obsolete."""
        self.vacated = False
        """Nothing is left to keep of the instance; there is no segment then."""
        self.projection_changed = False
        self.asked: Asked | None = None
        """What it wants of a worker, at once; also where nothing has happened."""
        self.messages: list[Message] = []
        self.effects: Sealed[Sequence[Effect]]
        """Its own seal even if there are none: the engines of two hubs may be committing at the same time."""
        self.dispositions: list[Disposition] = []
        """One per message of the turn."""
