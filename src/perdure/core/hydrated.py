"""What the engine asks of an instance in memory, whatever kind it is: an orchestration or an entity."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from perdure.core.effects import DispatchActivity
from perdure.core.events import EntityStateSaved, ExecutionStarted
from perdure.core.messages import Message
from perdure.core.state import InstanceState
from perdure.core.turn import Turn


class Hydrated(Protocol):
    """An instance in memory: moved by turns, one at a time, and rebuilt from what the turns stored."""

    instance_id: str
    created_at: int
    first_seq: int
    size: int
    """Rough number of bytes in memory."""

    @property
    def ended(self) -> bool:
        """Whether it has a terminal status."""
        ...

    @property
    def name(self) -> str:
        """Of its function."""
        ...

    @property
    def status(self) -> str:
        """As the row shows it."""
        ...

    @property
    def pending(self) -> int:
        """Open activities."""
        ...

    @property
    def wake_at(self) -> int | None:
        """When a turn is due although no message came (microseconds)."""
        ...

    @property
    def started(self) -> ExecutionStarted:
        """Execution id, generation, version, tags and parent, for the row."""
        ...

    @property
    def custom_status(self) -> str | None:
        """JSON text."""
        ...

    @property
    def registered(self) -> bool:
        """Whether the app has its function."""
        ...

    @property
    def durable(self) -> "InstanceState | EntityStateSaved":
        """What the stored bytes have to add up to."""
        ...

    def turn(self, messages: Sequence[Message], now_us: int, *, idle: bool = False) -> Turn:
        """Takes messages, runs code, and says what came of it."""
        ...

    def replay(self, segments: Iterable[tuple[int, bytes]], custom_status: str | None) -> None:
        """Rebuilds it from ``(seq, segment)`` pairs."""
        ...

    def close(self) -> None:
        """Dehydrates it: its code does nothing any more."""
        ...

    def message_prefix(self, turn: Turn) -> str:
        """Makes ids for the messages of a turn: unique in the hub, and sorted as the turns of this instance were."""
        ...

    def open_activities(self) -> list[DispatchActivity]:
        """What has to be dispatched (again) after a crash."""
        ...
