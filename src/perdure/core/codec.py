"""Segments: the events of one turn as bytes. JSON, so that a history can be read with any tool; golden files pin the form."""

from collections.abc import Sequence

import msgspec

from perdure.core.errors import EngineInvariantError
from perdure.core.events import AnyEvent, HistoryEvent

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[AnyEvent]).decode


def encode_segment(events: Sequence[HistoryEvent]) -> bytes:
    """The stored form of a turn's events."""
    return _encode(events)


def decode_segment(data: bytes) -> list[AnyEvent]:
    """The events of a stored turn.

    Raises:
        EngineInvariantError: the bytes aren't a segment; the store is damaged or was written by another program.
    """
    try:
        return _decode(data)
    except msgspec.MsgspecError as error:
        raise EngineInvariantError(f"a stored history segment can't be read ({error}): {data[:120]!r}") from error
