"""What memory stores keep, apart from any of them: it outlives a simulated crash, and several may share it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from perdure.store.contract import Claim, InstanceRow, Lease, Member, OfferedActivity, Segment, StoredMessage

Heard = Callable[[str], None]


@dataclass(slots=True)
class MemoryInstance:
    """An instance: its row and all of its segments."""

    row: InstanceRow
    segments: dict[int, Segment] = field(default_factory=dict[int, Segment])

    def generation(self) -> list[Segment]:
        """Segments of the current generation, in order."""
        return [self.segments[seq] for seq in sorted(self.segments) if seq >= self.row.first_seq]

    def updated_at(self) -> int:
        """Time of the last turn."""
        last = max(self.segments, default=-1)
        return self.segments[last].at if last >= self.row.first_seq else self.row.created_at


@dataclass(slots=True)
class MemoryActivity:
    """An activity on offer, and who has claimed it."""

    offer: OfferedActivity
    offered_at: int
    claimed_by: str = ""
    token: int = 0
    """Of the last claim; 0 before the first."""
    claimed_until: int = 0

    def claim(self, owner: str, until: int) -> Claim:
        """Gives it to ``owner``; every earlier claim isn't current any more."""
        self.claimed_by, self.claimed_until = owner, until
        self.token += 1
        return Claim(self.offer.activity_id, self.token)


class Listeners:
    """Those of the open stores who want to hear nudges. Part of no copy of the data: nobody has opened the copy."""

    def __init__(self) -> None:
        self._heard: dict[Heard, asyncio.AbstractEventLoop] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "Listeners":
        return Listeners()

    def add(self, heard: Heard) -> None:
        """``heard`` gets every text from now on, in this event loop."""
        self._heard[heard] = asyncio.get_running_loop()

    def remove(self, heard: Heard) -> None:
        """``heard`` gets no more texts."""
        self._heard.pop(heard, None)

    def tell(self, text: str) -> None:
        """All get the text, one turn of the event loop later. Stores that an earlier event loop left behind are gone."""
        loop = asyncio.get_running_loop()
        for heard, its_loop in self._heard.items():
            if its_loop is loop:
                loop.call_soon(self._pass_on, heard, text)

    def _pass_on(self, heard: Heard, text: str) -> None:
        if heard in self._heard:  # it may have been closed meanwhile
            heard(text)


@dataclass(slots=True)
class MemoryData:
    """One task hub."""

    partition_count: int = 0
    """0 until a store has opened the data for the first time."""
    leases: dict[int, Lease] = field(default_factory=dict[int, Lease])
    instances: dict[str, MemoryInstance] = field(default_factory=dict[str, MemoryInstance])
    messages: dict[str, StoredMessage] = field(default_factory=dict[str, StoredMessage])
    stored_at: dict[str, int] = field(default_factory=dict[str, int])
    """When each of ``messages`` was stored."""
    members: dict[str, tuple[Member, int]] = field(default_factory=dict[str, tuple[Member, int]])
    """By owner, with the time until which it counts as alive."""
    activities: dict[str, MemoryActivity] = field(default_factory=dict[str, MemoryActivity])
    """On offer, the oldest first."""
    listeners: Listeners = field(default_factory=Listeners)

    def current(self, lease: Lease) -> bool:
        """Whether nobody has raised the epoch since, however long the lease has been expired."""
        held = self.leases.get(lease.partition)
        return held is not None and held.epoch == lease.epoch

    def add_message(self, message: StoredMessage, now: int) -> None:
        """Stores it unless its id is stored already."""
        if message.message_id not in self.messages:
            self.messages[message.message_id] = message
            self.stored_at[message.message_id] = now

    def remove_message(self, message_id: str) -> None:
        """Forgets it, where it is stored."""
        self.messages.pop(message_id, None)
        self.stored_at.pop(message_id, None)
