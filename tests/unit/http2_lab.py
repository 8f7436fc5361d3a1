"""HTTP/2 spoken frame by frame, well or badly, to a server of this process."""

import asyncio
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, NamedTuple

from hpack import Decoder, Encoder, HeaderTuple

from perdure.protocol.http2 import frames
from perdure.protocol.http2.calls import Handlers
from perdure.protocol.http2.errors import RpcError
from perdure.protocol.http2.frames import Kind
from perdure.protocol.http2.server import Http2Server

END_STREAM, END_HEADERS, PADDED = 0x1, 0x4, 0x8


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


class Peer:
    """A client that says exactly what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._encoder = Encoder()
        self._decoder = Decoder()
        self.last = -1
        """The stream that was begun last."""

    async def say(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))
        await self.writer.drain()

    def begin(self, path: str = "/echo", *, end: bool = False, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
        """The HEADERS of a new call."""
        self.last += 2
        return frames.headers(self.last, self.block(path, *headers), end=end, max_frame=frames.MAX_FRAME)

    def block(self, path: str = "/echo", *headers: tuple[str, str]) -> bytes:
        plain = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers")]
        named = dict(headers)
        if "content-type" not in named:
            plain.append(("content-type", "application/grpc"))
        return self._encoder.encode([HeaderTuple(name.encode(), value.encode()) for name, value in (*plain, *headers)])

    async def next(self) -> Frame | None:
        """The next frame; ``None`` at the end of the connection."""
        try:
            head = await asyncio.wait_for(self._reader.readexactly(9), 20)
            high, low, kind, flags, stream = frames.read_head(head)
            return Frame(kind, flags, stream, await self._reader.readexactly(high << 8 | low))
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return None

    async def until(self, kind: Kind, stream: int | None = None) -> Frame:
        """The next frame of a kind, of a stream."""
        while True:
            frame = await self.next()
            assert frame is not None, f"the connection ends without a {kind.name}"
            if frame.kind == kind and (stream is None or frame.stream == stream):
                return frame

    async def settle(self) -> None:
        """Returns once the server has taken everything that was said, and has said what it had to say to that itself."""
        for number in range(3):
            await self.say(frames.ping(bytes([number] * 8), ack=False))
            while (await self.until(Kind.PING)).payload[0] != number:
                pass

    async def farewell(self) -> tuple[int, str] | None:
        """Code and text of the GOAWAY with which the server ends the connection; ``None`` where it ends without one."""
        said: tuple[int, str] | None = None
        while True:
            frame = await self.next()
            if frame is None:
                return said
            if frame.kind == Kind.GOAWAY:
                _, code = struct.unpack_from("!II", frame.payload)
                said = (code, frame.payload[8:].decode())

    async def status(self, stream: int | None = None) -> tuple[int, str, bytes]:
        """Status, message and data of the answer to a call; HTTP's own status as a negative number where it is no call."""
        stream = self.last if stream is None else stream
        data = bytearray()
        seen: dict[str, str] = {}
        while True:
            frame = await self.next()
            assert frame is not None
            if frame.kind == Kind.HEADERS:
                headers = self._decoder.decode(frame.payload)
                if frame.stream == stream:
                    seen.update((str(name), str(value)) for name, value in headers)
                    if frame.flags & END_STREAM:
                        return (
                            int(seen.get("grpc-status", f"-{seen.get(':status', 0)}")),
                            seen.get("grpc-message", ""),
                            bytes(data),
                        )
            elif frame.kind == Kind.DATA and frame.stream == stream:
                data += frame.payload
            assert not (frame.kind == Kind.RST_STREAM and frame.stream == stream), "it is reset"


@asynccontextmanager
async def peer_at(port: int, *, greeted: bool = True, settings: dict[int, int] | None = None) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    peer = Peer(reader, writer)
    try:
        if greeted:
            await peer.say(frames.PREFACE, frames.settings(settings or {}))
            await peer.until(Kind.SETTINGS)
        yield peer
    finally:
        writer.close()


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return frames.head(len(payload), kind, flags, stream) + payload


def data(stream: int, payload: bytes, *, end: bool = True) -> bytes:
    return frame(Kind.DATA, payload, flags=END_STREAM if end else 0, stream=stream)


def message(payload: bytes, *, compressed: int = 0) -> bytes:
    """As gRPC frames it."""
    return struct.pack("!BI", compressed, len(payload)) + payload


class Lab:
    """A server with a few rpcs, and what they have seen."""

    def __init__(self, **settings: Any) -> None:
        self.given_up = 0
        self.waiting = 0
        self.sent = 0
        self.size = 1024
        """Of the messages of ``/stream`` and ``/large``."""
        self.server = Http2Server(
            Handlers(
                {"/echo": self._echo, "/wait": self._wait, "/large": self._large},
                {"/stream": self._stream},
                lambda metadata: RpcError(16, "no") if ("let", "out") in metadata else None,
            ),
            **{"max_message": 1 << 20, "max_calls": 10_000, **settings},
        )
        self.port = 0

    @staticmethod
    async def _echo(request: bytes, _: Any) -> bytes:
        return request

    async def _large(self, _: bytes, __: Any) -> bytes:
        return bytes(self.size)

    async def _wait(self, _: bytes, __: Any) -> bytes:
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            self.waiting -= 1
            self.given_up += 1

    async def _stream(self, _: bytes, __: Any) -> AsyncGenerator[bytes, None]:
        while True:
            self.sent += 1
            yield bytes(self.size)

    def peer(self, *, greeted: bool = True, settings: dict[int, int] | None = None) -> AbstractAsyncContextManager[Peer]:
        return peer_at(self.port, greeted=greeted, settings=settings)

    async def serves(self) -> bool:
        """Whether a caller with manners is answered."""
        async with self.peer() as peer:
            await peer.say(peer.begin(), data(1, message(b"hello")))
            return await peer.status() == (0, "", message(b"hello"))


@asynccontextmanager
async def lab(**settings: Any) -> AsyncIterator[Lab]:
    made = Lab(**settings)
    made.port = await made.server.start("127.0.0.1", 0)
    try:
        yield made
    finally:
        await made.server.stop(timedelta())
