"""Hints between the engines of a hub: that something waits in the store, or has ended. Any may get lost; none is the only way."""

import asyncio
from collections.abc import Callable

import msgspec

from perdure.store.contract import MAX_NUDGE_BYTES, Sharing
from perdure.store.errors import StoreUnavailableError


class MessagesStored(msgspec.Struct, frozen=True, tag="messages"):
    """Messages wait in a partition."""

    partition: int


class ActivitiesOffered(msgspec.Struct, frozen=True, tag="activities"):
    """Activities are on offer."""


class LeasesChanged(msgspec.Struct, frozen=True, tag="leases"):
    """Partitions were released, or an engine has come."""


class EndAwaited(msgspec.Struct, frozen=True, tag="awaited"):
    """Somebody wants to know when the instance ends."""

    instance_id: str


class InstanceEnded(msgspec.Struct, frozen=True, tag="ended"):
    """The instance has ended, durably."""

    instance_id: str


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """What became of a request, durably."""

    message_id: str
    code: str | None = None
    """Of the error; ``None`` for success."""
    text: str = ""


Hint = MessagesStored | ActivitiesOffered | LeasesChanged | EndAwaited | InstanceEnded | Answered

_LONGEST_TEXT = 1_000
"""Characters of an error's text."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Hint]).decode


def answered(message_id: str, code: str | None, text: str = "") -> Answered:
    """An answer that fits into a nudge."""
    return Answered(message_id, code, text[:_LONGEST_TEXT])


def decode_nudge(text: str) -> list[Hint]:
    """The hints in a nudge; none where a newer engine speaks of what isn't known here."""
    try:
        return _decode(text)
    except msgspec.MsgspecError:
        return []


def encode_nudges(hints: list[Hint]) -> list[str]:
    """As few texts as hold all hints, each short enough for ``Sharing.nudge``."""
    texts: list[str] = []
    pieces: list[bytes] = []
    size = 2
    for hint in hints:
        piece = _encode(hint)
        if pieces and size + len(piece) + 1 > MAX_NUDGE_BYTES:
            texts.append(f"[{b','.join(pieces).decode()}]")
            pieces, size = [], 2
        pieces.append(piece)
        size += len(piece) + 1
    if pieces:
        texts.append(f"[{b','.join(pieces).decode()}]")
    return texts


class Nudger:
    """Sends hints beside everything else: those that come up while one nudge is on its way go with the next."""

    def __init__(self, sharing: Sharing, lost: Callable[[], None]) -> None:
        self._sharing = sharing
        self._lost = lost
        self._hints: dict[Hint, None] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, hint: Hint) -> None:
        """Sends the hint soon."""
        self._hints[hint] = None
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._send())

    async def sent(self) -> None:
        """Returns when nothing is left to send."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _send(self) -> None:
        try:
            while self._hints:
                hints, self._hints = list(self._hints), {}
                for text in encode_nudges(hints):
                    await self._sharing.nudge(text)
        except StoreUnavailableError:
            self._hints.clear()
            self._lost()
        finally:
            self._task = None
