"""One connection: frames in, frames out, flow control both ways. What streams mean is up to ``calls``."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

from perdure.protocol.http2 import frames
from perdure.protocol.http2.budget import Budget
from perdure.protocol.http2.errors import (
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    ProtocolError,
)
from perdure.protocol.http2.frames import ACK, END_HEADERS, END_STREAM, HEADER_LENGTH, MAX_FRAME, MAX_WINDOW, PADDED, Kind
from perdure.protocol.http2.headers import MAX_HEADERS, Head, HeaderReader
from perdure.protocol.http2.sending import GOODBYE, Sending
from perdure.protocol.http2.streams import Stream

_READ = 64 * 1024
_MAX_UNSENT = 4 * 1024 * 1024
"""Bytes that may wait for a peer which doesn't read, beside those of calls, which wait themselves."""
_MAX_CANCELED = 1000
"""Streams more that a peer may cancel than it lets end, within ``_PERIOD`` and right after their beginning."""
_PERIOD = 10.0
_YOUNG = 1.0
"""Seconds. Who cancels later has waited for an answer, which is nothing bad."""


class Connection(Sending):
    """Speaks HTTP/2 with one client. ``begun`` gets each new stream with its headers, and sets what it wants to be called.

    ``made`` and ``lost`` tell when the connection is there, which takes a handshake first where it is TLS, and when it isn't any
    more.
    """

    def __init__(
        self,
        made: "Callable[[Connection], None]",
        begun: "Callable[[Connection, Stream, Head], None]",
        lost: "Callable[[Connection], None]",
        *,
        max_streams: int,
        stream_window: int,
        unsent: Budget,
    ) -> None:
        super().__init__(unsent)
        self._made = made
        self._begun = begun
        self._lost = lost
        self._max_streams = max_streams
        self._stream_window = stream_window
        self._arriving: memoryview
        self._rest = b""
        """The beginning of a frame whose end hasn't come yet."""
        self._greeted = False
        self._header_reader = HeaderReader()
        self._block: tuple[int, int, bytearray] | None = None
        """Stream, flags and header block that is to be continued."""
        self._counted_since = 0.0
        self._received = 0
        """Bytes since the window of the connection was opened again."""
        self._peer_stream_window = frames.DEFAULT_WINDOW
        self.heard = self._loop.time()
        """When the peer has sent something last."""
        self.peer = ""
        self.memory: dict[str, str] = {}
        """For whoever answers its calls."""

    # --- asyncio --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._transport = cast("asyncio.Transport", transport)
        self.peer = str(transport.get_extra_info("peername"))
        self._transport.set_write_buffer_limits(high=1024 * 1024)
        self._write(
            frames.settings(
                {
                    frames.MAX_CONCURRENT_STREAMS: self._max_streams,
                    frames.INITIAL_WINDOW_SIZE: self._stream_window,
                    frames.MAX_HEADER_LIST_SIZE: MAX_HEADERS,
                }
            )
            + frames.window_update(0, MAX_WINDOW - frames.DEFAULT_WINDOW)
        )
        self._made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._closing = True
        self._parted()
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            self._release(stream)
            stream.on_reset()
        self._lost(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """See ``asyncio.BufferedProtocol``. A plain protocol gets buffers so large that each is mapped into memory anew."""
        del sizehint  # the loops of asyncio have no idea
        self._arriving = memoryview(bytearray(_READ))  # TLS fills it piece by piece
        return self._arriving

    def buffer_updated(self, nbytes: int) -> None:
        """See ``asyncio.BufferedProtocol``."""
        data = bytes(self._arriving[:nbytes])
        self.heard = self._loop.time()
        try:
            self._rest = self._read(self._rest + data if self._rest else data)
        except ProtocolError as error:
            self.close(error.code, str(error))
        if self._transport.get_write_buffer_size() > _MAX_UNSENT:
            self._transport.abort()  # it asks, and doesn't listen

    # --- in -------------------------------------------------------------------------------------------------------

    def _read(self, data: bytes) -> bytes:
        """Takes what there is of whole frames; returns the rest."""
        position = 0
        if not self._greeted:
            if not frames.PREFACE.startswith(data[: len(frames.PREFACE)]):
                raise ProtocolError(PROTOCOL_ERROR, "this is a gRPC server; it speaks HTTP/2 only")
            if len(data) < len(frames.PREFACE):
                return data
            self._greeted = True
            position = len(frames.PREFACE)
        end = len(data)
        while end - position >= HEADER_LENGTH:
            high, low, kind, flags, stream_id = frames.read_head(data, position)
            length = high << 8 | low
            if length > MAX_FRAME:
                raise ProtocolError(FRAME_SIZE_ERROR, f"a frame of {length} bytes is larger than the {MAX_FRAME} that are taken")
            start = position + HEADER_LENGTH
            if end - start < length:
                break
            position = start + length
            stream_id &= MAX_WINDOW
            if self._block is not None and (kind != Kind.CONTINUATION or stream_id != self._block[0]):
                raise ProtocolError(PROTOCOL_ERROR, "something comes in the middle of a header block")
            if kind < len(self._READERS):  # of others nobody needs to know
                self._READERS[kind](self, flags, stream_id, data[start:position])
        return data[position:]

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Nothing: all streams are equal."""

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ProtocolError(PROTOCOL_ERROR, "clients can't push")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise ProtocolError(FRAME_SIZE_ERROR, "a ping has 8 bytes")
        if not flags & ACK:
            self._write(frames.ping(payload, ack=True))
        elif payload == GOODBYE:
            self._parted()

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Nothing: the peer ends the connection when its calls are answered."""

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id % 2:
            raise ProtocolError(PROTOCOL_ERROR, f"a client can't begin stream {stream_id}")
        block = _unpadded(flags, payload)
        if flags & frames.PRIORITY:
            block = block[5:]
        if flags & END_HEADERS:
            self._headers(stream_id, flags, block)
        else:
            self._block = (stream_id, flags, bytearray(block))

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None:
            raise ProtocolError(PROTOCOL_ERROR, "a continuation of nothing")
        _, first_flags, block = self._block
        block += payload
        if len(block) > MAX_HEADERS:
            raise ProtocolError(ENHANCE_YOUR_CALM, f"a header block has more than {MAX_HEADERS} bytes")
        if flags & END_HEADERS:
            self._block = None
            self._headers(stream_id, first_flags, bytes(block))

    def _headers(self, stream_id: int, flags: int, block: bytes) -> None:
        head = self._header_reader.read(block)
        stream = self._streams.get(stream_id)
        if stream is None:
            if stream_id <= self._last_id:
                return  # trailers of one that has been answered already
            self._last_id = stream_id
            if self._closing or len(self._streams) >= self._max_streams:
                self._write(frames.reset(stream_id, REFUSED_STREAM))
                return
            stream = self._streams[stream_id] = Stream(stream_id, self._peer_stream_window, self.heard)
            self._begun(self, stream, head)
        elif not flags & END_STREAM:
            raise ProtocolError(PROTOCOL_ERROR, "trailers that don't end their stream")
        if flags & END_STREAM:
            self._end(stream)

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._received += len(payload)
        if self._received > MAX_WINDOW // 2:
            self._write(frames.window_update(0, self._received))
            self._received = 0
        stream = self._streams.get(stream_id)
        if stream is None:
            if stream_id > self._last_id or not stream_id:
                raise ProtocolError(PROTOCOL_ERROR, "data of a stream that hasn't begun")
            return  # answered, or given up, while this was on its way
        if stream.ended:
            raise ProtocolError(STREAM_CLOSED, "data behind the end of its stream")
        data = _unpadded(flags, payload)
        if data:
            stream.on_data(data)
        if flags & END_STREAM:
            self._end(stream)

    def _end(self, stream: Stream) -> None:
        if not stream.ended:
            stream.ended = True
            if stream.id in self._streams:
                stream.on_end()

    def _on_reset(self, flags: int, stream_id: int, payload: bytes) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            if stream_id > self._last_id:
                raise ProtocolError(PROTOCOL_ERROR, "an end of a stream that hasn't begun")
            return
        self._given_up(stream)

    def _given_up(self, stream: Stream) -> None:
        """The peer has ended a stream before its answer. It pays for that: beginning a call is work."""
        self._blocked.pop(stream.id, None)
        self._release(stream)
        stream.on_reset()
        self._close_if_idle()
        if self.heard - stream.begun > _YOUNG:
            return
        if self.heard - self._counted_since > _PERIOD:
            self._counted_since, self._canceled = self.heard, 0
        self._canceled += 2  # one that ends takes one off
        if self._canceled > 2 * _MAX_CANCELED:
            raise ProtocolError(ENHANCE_YOUR_CALM, "too many calls are begun and given up")

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ProtocolError(FRAME_SIZE_ERROR, "a window update has 4 bytes")
        increment = int.from_bytes(payload) & MAX_WINDOW
        if not increment:
            raise ProtocolError(PROTOCOL_ERROR, "a window grows by nothing")
        if not stream_id:
            self._window += increment
            if self._window > MAX_WINDOW:
                raise ProtocolError(FLOW_CONTROL_ERROR, "the window of the connection is too large")
        else:
            stream = self._streams.get(stream_id)
            if stream is None:
                return
            stream.window += increment
            if stream.window > MAX_WINDOW:
                self._write(frames.reset(stream_id, FLOW_CONTROL_ERROR))
                del self._streams[stream_id]
                self._given_up(stream)
                return
        if self._blocked:
            self._send_blocked()

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & ACK:
            return
        if len(payload) % 6:
            raise ProtocolError(FRAME_SIZE_ERROR, "settings come in pieces of 6 bytes")
        # Of what is said twice, the last word counts: to follow each of them would be work that a peer can ask for at no cost.
        asked = {
            int.from_bytes(payload[start : start + 2]): int.from_bytes(payload[start + 2 : start + 6])
            for start in range(0, len(payload), 6)
        }
        window = asked.get(frames.INITIAL_WINDOW_SIZE, self._peer_stream_window)
        if window > MAX_WINDOW:
            raise ProtocolError(FLOW_CONTROL_ERROR, "the window of streams is too large")
        if window != self._peer_stream_window:
            for stream in self._streams.values():
                stream.window += window - self._peer_stream_window
            self._peer_stream_window = window
        largest = asked.get(frames.MAX_FRAME_SIZE, self._max_frame)
        if not MAX_FRAME <= largest < 1 << 24:
            raise ProtocolError(PROTOCOL_ERROR, f"frames can't have {largest} bytes")
        self._max_frame = min(largest, 1 << 20)
        self._write(frames.SETTINGS_ACK)
        if self._blocked:
            self._send_blocked()

    _READERS: ClassVar[Sequence[Callable[[Any, int, int, bytes], None]]] = (
        _on_data,
        _on_headers,
        _on_priority,
        _on_reset,
        _on_settings,
        _on_push_promise,
        _on_ping,
        _on_goaway,
        _on_window_update,
        _on_continuation,
    )
    """By kind of frame."""


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & PADDED:
        return payload
    padding = payload[0] if payload else 0
    if padding >= len(payload):
        raise ProtocolError(PROTOCOL_ERROR, "more padding than there is")
    return payload[1 : len(payload) - padding]
