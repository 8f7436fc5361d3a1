"""Frames of HTTP/2 (RFC 9113) as bytes."""

import struct
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_LENGTH = 9
MAX_FRAME = 16_384
"""The largest payload that is taken. It is the least that everybody has to take, too."""
MAX_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535


class Kind(IntEnum):
    """What a frame is."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20

MAX_CONCURRENT_STREAMS = 3
INITIAL_WINDOW_SIZE = 4
MAX_FRAME_SIZE = 5
MAX_HEADER_LIST_SIZE = 6

_HEAD = struct.Struct("!HBBBI").pack
read_head = struct.Struct("!HBBBI").unpack_from
"""Length without its last byte, that byte, kind, flags and stream."""
_number = struct.Struct("!I").pack
_setting = struct.Struct("!HI").pack


def head(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    """What precedes the payload of a frame."""
    return _HEAD(length >> 8, length & 0xFF, kind, flags, stream_id)


def settings(values: dict[int, int]) -> bytes:
    """Says what this side takes."""
    payload = b"".join(_setting(key, value) for key, value in values.items())
    return head(len(payload), Kind.SETTINGS, 0, 0) + payload


SETTINGS_ACK = head(0, Kind.SETTINGS, ACK, 0)


def window_update(stream_id: int, increment: int) -> bytes:
    """Lets the other side send ``increment`` bytes more."""
    return head(4, Kind.WINDOW_UPDATE, 0, stream_id) + _number(increment)


def reset(stream_id: int, code: int) -> bytes:
    """Ends a stream at once."""
    return head(4, Kind.RST_STREAM, 0, stream_id) + _number(code)


def ping(data: bytes, *, ack: bool) -> bytes:
    """A sign of life, or the answer to one."""
    return head(8, Kind.PING, ACK if ack else 0, 0) + data


def goaway(last_stream_id: int, code: int, message: str = "") -> bytes:
    """Says that streams beyond ``last_stream_id`` won't be looked at."""
    payload = _number(last_stream_id) + _number(code) + message.encode()
    return head(len(payload), Kind.GOAWAY, 0, 0) + payload


def headers(stream_id: int, block: bytes, *, end: bool, max_frame: int) -> bytes:
    """A header block, in as many frames as it takes."""
    flags = END_STREAM if end else 0
    if len(block) <= max_frame:
        return head(len(block), Kind.HEADERS, flags | END_HEADERS, stream_id) + block
    parts = [block[start : start + max_frame] for start in range(0, len(block), max_frame)]
    frames = [head(max_frame, Kind.HEADERS, flags, stream_id) + parts[0]]
    for part in parts[1:]:
        last = END_HEADERS if part is parts[-1] else 0
        frames.append(head(len(part), Kind.CONTINUATION, last, stream_id) + part)
    return b"".join(frames)


def whole(stream_id: int, block: bytes, data: bytes, trailers: bytes) -> bytes:
    """All frames of a small answer."""
    return b"".join(
        (
            head(len(block), Kind.HEADERS, END_HEADERS, stream_id),
            block,
            head(len(data), Kind.DATA, 0, stream_id),
            data,
            head(len(trailers), Kind.HEADERS, END_HEADERS | END_STREAM, stream_id),
            trailers,
        )
    )
