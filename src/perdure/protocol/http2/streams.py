"""One call, as its connection sees it."""

import asyncio
from collections.abc import Callable


class Stream:
    """What is to be sent, how much of it may be, and whom to tell what comes in."""

    __slots__ = (
        "begun",
        "ended",
        "id",
        "on_data",
        "on_end",
        "on_reset",
        "trailers",
        "unsent",
        "unsent_bytes",
        "window",
        "writable",
    )

    def __init__(self, stream_id: int, window: int, begun: float) -> None:
        self.id = stream_id
        self.begun = begun
        """On the event loop's clock."""
        self.window = window
        """How much may be sent."""
        self.unsent: list[memoryview] = []
        self.unsent_bytes = 0
        self.trailers: bytes | None = None
        """Sent behind ``unsent``."""
        self.ended = False
        """Whether the peer has sent all."""
        self.writable: asyncio.Future[None] | None = None
        self.on_data: Callable[[bytes], None]
        self.on_end: Callable[[], None]
        self.on_reset: Callable[[], None]
