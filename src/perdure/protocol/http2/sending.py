"""What goes out on a connection: no more than the peer takes, in as few pieces as possible."""

import asyncio

from perdure.protocol.http2 import frames
from perdure.protocol.http2.budget import Budget
from perdure.protocol.http2.errors import NO_ERROR
from perdure.protocol.http2.frames import MAX_FRAME, MAX_WINDOW, Kind
from perdure.protocol.http2.streams import Stream

_BURST = 256 * 1024
"""Bytes that are given to the network at a time."""
GOODBYE = b"farewell"
"""What a ping says whose answer comes behind the last call of a peer."""


class Sending(asyncio.BufferedProtocol):
    """The half of a connection that sends. What was written goes out once per round of the event loop."""

    def __init__(self, unsent: Budget) -> None:
        """``unsent`` is for what waits for slow peers, of all connections."""
        self._unsent = unsent
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._streams: dict[int, Stream] = {}
        self._last_id = 0
        self._canceled = 0
        """How many more streams were given up than have ended, twice."""
        self._window = frames.DEFAULT_WINDOW
        self._max_frame = MAX_FRAME
        self._blocked: dict[int, Stream] = {}
        self._out: list[bytes | memoryview] = []
        self._flushing = False
        self._burst = 0
        """Bytes of answers since the last flush."""
        self._paused = False
        self._goodbye: asyncio.Future[None] | None = None
        """What waits for the peer to know that this end is going."""
        self._closing = False

    def pause_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._paused = True

    def resume_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._paused = False
        self._send_blocked()

    # --- for calls ------------------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many bytes of answers may wait for slow peers besides those that do, of all connections."""
        return self._unsent.left

    def send_headers(self, stream: Stream, block: bytes) -> None:
        """Begins the answer."""
        if stream.id in self._streams:
            self._write(frames.headers(stream.id, block, end=False, max_frame=self._max_frame))

    def answer(self, stream: Stream, block: bytes, data: bytes, trailers: bytes) -> None:
        """``send_headers``, ``send`` and ``finish`` in one; small blocks only."""
        length = len(data)
        if stream.id in self._streams and length <= stream.window and length <= self._window and length <= self._max_frame:
            self._window -= length
            self._write(frames.whole(stream.id, block, data, trailers))
            self._forget(stream)
        else:
            self.send_headers(stream, block)
            self.send(stream, data)
            self.finish(stream, trailers)

    def send(self, stream: Stream, data: bytes) -> None:
        """Sends data as soon as the peer takes it."""
        if stream.id not in self._streams:
            return
        length = len(data)
        if not stream.unsent and length <= stream.window and length <= self._window and length <= self._max_frame:
            stream.window -= length
            self._window -= length
            self._write(frames.head(length, Kind.DATA, 0, stream.id))
            self._write(data)
            return
        stream.unsent.append(memoryview(data))
        stream.unsent_bytes += length
        self._unsent.left -= length
        self._blocked[stream.id] = stream
        self._send_blocked()

    def finish(self, stream: Stream, block: bytes) -> None:
        """Ends the answer with ``block`` as trailers, behind everything else."""
        if stream.id not in self._streams:
            return
        if stream.unsent:
            stream.trailers = block
            return
        self._write(frames.headers(stream.id, block, end=True, max_frame=self._max_frame))
        self._forget(stream)

    def flows(self, stream: Stream) -> bool:
        """Whether what was sent is on its way, or nobody wants it any more."""
        return not (stream.unsent or self._paused) or stream.id not in self._streams

    async def writable(self, stream: Stream) -> None:
        """Returns once what was sent is on its way. A peer that doesn't read keeps the caller waiting."""
        while not self.flows(stream):
            stream.writable = self._loop.create_future()
            if not stream.unsent:
                self._blocked[stream.id] = stream
            await stream.writable

    def ping(self) -> None:
        """Asks for a sign of life."""
        self._write(frames.ping(bytes(8), ack=False))

    async def say_goodbye(self) -> None:
        """Says that no new calls will be taken. Returns once the peer knows: all calls that it will ever begin have come then.

        Naming a last call right away would leave those that are on their way without an answer (RFC 9113, section 6.8).
        """
        self._goodbye = self._loop.create_future()
        self._write(frames.goaway(MAX_WINDOW, NO_ERROR) + frames.ping(GOODBYE, ack=False))
        await self._goodbye

    def go_away(self) -> None:
        """Takes no new calls; ends when those that are under way have."""
        if not self._closing:
            self._closing = True
            self._write(frames.goaway(self._last_id, NO_ERROR))
            self._close_if_idle()

    def close(self, code: int = NO_ERROR, message: str = "") -> None:
        """Ends the connection, and all calls with it."""
        self._closing = True
        self._write(frames.goaway(self._last_id, code, message))
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Ends it without a word."""
        self._transport.abort()

    def _parted(self) -> None:
        if self._goodbye is not None and not self._goodbye.done():
            self._goodbye.set_result(None)

    # --- out ------------------------------------------------------------------------------------------------------

    def _write(self, data: bytes | memoryview) -> None:
        self._out.append(data)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self._burst = 0
        out, self._out = self._out, []
        if out and not self._transport.is_closing():
            self._transport.write(b"".join(out))

    def _send_blocked(self) -> None:
        for stream in list(self._blocked.values()):
            if self._paused or self._window <= 0:
                return
            self._send_unsent(stream)
            if not stream.unsent:
                self._blocked.pop(stream.id, None)
                self._release(stream)
                if stream.trailers is not None and stream.id in self._streams:
                    self.finish(stream, stream.trailers)

    def _send_unsent(self, stream: Stream) -> None:
        while stream.unsent and not self._paused:
            data = stream.unsent[0]
            length = min(len(data), stream.window, self._window, self._max_frame)
            if length <= 0 and len(data):
                return
            stream.window -= length
            self._window -= length
            stream.unsent_bytes -= length
            self._unsent.left += length
            self._burst += length
            self._write(frames.head(length, Kind.DATA, 0, stream.id))
            self._write(data[:length])
            if length == len(data):
                stream.unsent.pop(0)
            else:
                stream.unsent[0] = data[length:]
            if self._burst >= _BURST:
                self._flush()  # it says when it has enough

    def _release(self, stream: Stream) -> None:
        self._unsent.left += stream.unsent_bytes
        stream.unsent_bytes = 0
        if stream.writable is not None and not stream.writable.done():
            stream.writable.set_result(None)

    def _forget(self, stream: Stream) -> None:
        if self._streams.pop(stream.id, None) is None:
            return
        self._blocked.pop(stream.id, None)
        self._release(stream)
        self._canceled = max(self._canceled - 1, 0)
        if not stream.ended:
            self._write(frames.reset(stream.id, NO_ERROR))  # answered before it has asked to the end
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._closing and not self._streams:
            self._flush()
            self._transport.close()
