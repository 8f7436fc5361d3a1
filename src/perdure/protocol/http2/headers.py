"""Header blocks: what clients send, by the library ``hpack``, and what a call's headers mean.

Most calls of a connection begin with the same bytes, so that what they mean is worked out once.
"""

import base64
import binascii
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple, OversizedHeaderListError
from hpack.table import HeaderTable

from perdure.protocol.http2.errors import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ProtocolError

MAX_HEADERS = 64 * 1024
"""Bytes of headers that a call may have, in HPACK's way of counting."""
_MAX_KNOWN, _MAX_KNOWN_BYTES = 256, 1024
_RESIZE, _RESIZE_MASK = 0x20, 0xE0
"""How a block begins that changes the size of the table."""
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_LONGEST = 10 * 365 * 24 * 3600.0

Metadata = tuple[tuple[str, str | bytes], ...]


class Head(NamedTuple):
    """What the headers of a call say."""

    path: str
    is_grpc: bool
    encoding: bytes
    """Of compressed messages."""
    timeout: float | None
    """Seconds until the caller gives up."""
    metadata: Metadata
    """Names are in small letters; those that end in ``-bin`` have bytes."""


class HeaderReader:
    """Reads the header blocks of one connection, in order."""

    def __init__(self) -> None:
        self._decoder = Decoder(MAX_HEADERS)
        self._table = self._decoder.header_table = _Table()
        self._known: dict[bytes, Head] = {}
        """Blocks that mean the same as long as the table doesn't change."""

    def read(self, block: bytes) -> Head:
        """What the block says.

        Raises:
            ProtocolError: it isn't a header block, or a huge one.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        added = self._table.added
        try:
            headers = self._decoder.decode(block, raw=True)
        except OversizedHeaderListError:
            raise ProtocolError(ENHANCE_YOUR_CALM, f"a call has more than {MAX_HEADERS} bytes of headers") from None
        except HPACKError as error:
            raise ProtocolError(COMPRESSION_ERROR, f"a header block can't be read: {error}") from None
        head = _head(headers)
        if self._table.added != added or (block and block[0] & _RESIZE_MASK == _RESIZE):
            self._known.clear()
        elif len(self._known) < _MAX_KNOWN and len(block) + sum(len(value) for _, value in headers) <= _MAX_KNOWN_BYTES:
            self._known[block] = head
        return head


class _Table(HeaderTable):
    """Knows when it gets new entries."""

    added = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.added += 1
        super().add(name, value)


@lru_cache(maxsize=256)
def encode(*headers: tuple[bytes, bytes]) -> bytes:
    """A block that any decoder understands, whatever it has seen before, and that leaves nothing in its memory."""
    return Encoder().encode([NeverIndexedHeaderTuple(*header) for header in headers], huffman=False)


def _head(headers: Iterable[tuple[Any, Any]]) -> Head:
    path, encoding = "", b"identity"
    is_grpc = False
    timeout: float | None = None
    metadata: list[tuple[str, str | bytes]] = []
    for name, value in headers:
        if name == b":path":
            path = value.decode("latin-1")
        elif name == b"content-type":
            is_grpc = value.startswith(b"application/grpc")
        elif name == b"grpc-timeout":
            timeout = _seconds(value)
        elif name == b"grpc-encoding":
            encoding = value
        elif name[:1] != b":":
            metadata.append(_metadatum(name, value))
    return Head(path, is_grpc, encoding, timeout, tuple(metadata))


def _seconds(timeout: bytes) -> float | None:
    unit = _UNITS.get(timeout[-1:])
    if unit is None or not timeout[:-1].isdigit() or len(timeout) > 9:
        return None
    return min(int(timeout[:-1]) * unit, _LONGEST)


def _metadatum(name: bytes, value: bytes) -> tuple[str, str | bytes]:
    text = name.decode("latin-1").lower()
    if not text.endswith("-bin"):
        return text, value.decode("latin-1")
    try:
        return text, base64.b64decode(value + b"=" * (-len(value) % 4))
    except binascii.Error:
        return text, b""
