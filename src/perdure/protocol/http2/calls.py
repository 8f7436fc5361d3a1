"""Calls of gRPC on streams of HTTP/2: messages, metadata, deadlines, status."""

import asyncio
import logging
import struct
import zlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from perdure.protocol.http2 import headers
from perdure.protocol.http2.budget import Budget
from perdure.protocol.http2.connection import Connection
from perdure.protocol.http2.errors import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNIMPLEMENTED,
    RpcError,
)
from perdure.protocol.http2.headers import Head, Metadata
from perdure.protocol.http2.streams import Stream

_CONTENT = ((b":status", b"200"), (b"content-type", b"application/grpc"))
_BEGIN = headers.encode(*_CONTENT)
_OK = headers.encode((b"grpc-status", b"0"))
_WRONG_CONTENT = headers.encode((b":status", b"415"))
_prefix = struct.Struct("!BI")
_SMALL = 64 * 1024
"""Bytes that always find room, since the number of calls is limited too."""

_log = logging.getLogger("perdure.protocol")


class Caller(NamedTuple):
    """Who calls, as far as a handler may want to know."""

    metadata: Metadata
    """Names are in small letters; those that end in ``-bin`` have bytes."""
    peer: str
    """Where from."""
    memory: dict[str, str]
    """What handlers remember of its connection."""


UnaryHandler = Callable[[bytes, Caller], bytes | Coroutine[Any, Any, bytes]]
"""Answers at once if it can, which saves a task."""
StreamingHandler = Callable[[bytes, Caller], AsyncGenerator[bytes, None]]


class Handlers(NamedTuple):
    """What answers, by path."""

    unary: Mapping[str, UnaryHandler]
    streaming: Mapping[str, StreamingHandler]
    admit: Callable[[Metadata], RpcError | None] = lambda metadata: None
    """Why somebody isn't let in, before anything of the request is kept."""
    urgent: frozenset[str] = frozenset()
    """Paths that are answered however many calls there are: whoever calls them doesn't ask again."""


class Call:
    """One call: collects its request, has it handled, sends what comes of it, and always a status."""

    __slots__ = (
        "_begun",
        "_body",
        "_budget",
        "_connection",
        "_deadline",
        "_ended",
        "_expired",
        "_handlers",
        "_head",
        "_max_message",
        "_stream",
        "_task",
        "_unbegun",
        "over",
    )

    def __init__(
        self,
        connection: Connection,
        stream: Stream,
        head: Head,
        handlers: Handlers,
        max_message: int,
        budget: Budget,
        ended: "Callable[[Call], None]",
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._head = head
        self._handlers = handlers
        self._max_message = max_message
        self._budget = budget
        self._ended = ended
        self._body: bytes | bytearray = b""
        self._begun = False
        """Whether the answer has."""
        self.over = False
        """Whether nothing will happen any more."""
        self._expired = False
        self._task: asyncio.Task[None] | None = None
        self._unbegun: Coroutine[Any, Any, bytes | None] | None = None
        """What the task is for, until it runs."""
        self._deadline: asyncio.TimerHandle | None = None
        stream.on_data = self._on_data
        stream.on_end = self._on_end
        stream.on_reset = self.cancel
        if head.timeout is not None:
            self._deadline = asyncio.get_running_loop().call_later(head.timeout, self._expire)
        if not head.is_grpc:
            self._begun = True
            connection.finish(stream, _WRONG_CONTENT)
            self._close()
            return
        refusal = handlers.admit(head.metadata)
        if refusal is not None:
            self.refuse(refusal.code, refusal.message)

    def cancel(self) -> None:
        """Nobody waits for the answer."""
        if self._task is not None:
            self._task.cancel()
        if self._unbegun is not None:  # nor will the task ever run
            self._unbegun.close()
            self._unbegun = None
            self._close()
        elif self._task is None:
            self._close()

    def asked_for(self, now: float) -> float:
        """How long the request has been coming in (seconds), unless it has come."""
        return 0.0 if self._stream.ended else now - self._stream.begun

    def refuse(self, code: int, message: str) -> None:
        """Answers with a status at once."""
        self._finish(_status(code, message))
        if self._task is None:
            self._close()

    # --- request --------------------------------------------------------------------------------------------------

    def _expire(self) -> None:
        self._expired = True
        if self._task is not None:
            self._task.cancel()
        else:
            self.refuse(DEADLINE_EXCEEDED, "the request has not come within the deadline")

    def _on_data(self, data: bytes) -> None:
        if self._body:
            self._body = bytearray(self._body) if isinstance(self._body, bytes) else self._body
            self._body += data
        else:
            self._body = data
        self._budget.left -= len(data)
        if self._budget.left < 0:
            self._drop_body()
            self.refuse(RESOURCE_EXHAUSTED, "the server has as many bytes of requests in memory as it may. Try again.")
        elif len(self._body) > self._max_message + _prefix.size:
            self._drop_body()
            self.refuse(RESOURCE_EXHAUSTED, f"the request is larger than the {self._max_message} bytes that this server takes")

    def _on_end(self) -> None:
        unary = self._handlers.unary.get(self._head.path)
        try:
            if unary is None:
                answer = self._stream_answers()
            else:
                answer = unary(self._message(), Caller(self._head.metadata, self._connection.peer, self._connection.memory))
            if isinstance(answer, bytes):
                self._answer(answer)
            else:
                self._unbegun = answer
                self._task = asyncio.get_running_loop().create_task(self._run(answer))
                return
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a status
            self._fail(error)
        self._close()

    def _drop_body(self) -> None:
        self._budget.left += len(self._body)
        self._body = b""

    def _message(self) -> bytes:
        body = self._body
        self._drop_body()
        if len(body) < _prefix.size:
            raise RpcError(INTERNAL, "the call has no request")
        compressed, length = _prefix.unpack_from(body)
        if length != len(body) - _prefix.size:
            raise RpcError(UNIMPLEMENTED, "the call has not exactly one request")
        data = bytes(memoryview(body)[_prefix.size :])
        return self._decompressed(data) if compressed else data

    def _decompressed(self, data: bytes) -> bytes:
        if self._head.encoding not in (b"gzip", b"deflate"):
            raise RpcError(UNIMPLEMENTED, "requests may be compressed with gzip or deflate only")
        reader = zlib.decompressobj(wbits=47)
        try:
            message = reader.decompress(data, self._max_message + 1)
        except zlib.error as error:
            raise RpcError(INTERNAL, f"the request can't be decompressed: {error}") from None
        if len(message) > self._max_message:
            raise RpcError(RESOURCE_EXHAUSTED, f"the request is larger than the {self._max_message} bytes that this server takes")
        return message

    # --- answer ---------------------------------------------------------------------------------------------------

    async def _run(self, answer: Coroutine[Any, Any, bytes | None]) -> None:
        self._unbegun = None
        try:
            message = await answer
            if message is None:
                self._finish(_OK)
            else:
                self._answer(message)
        except asyncio.CancelledError:
            if not self._expired:
                self._finish(_status(UNAVAILABLE, "the server is going"))
                raise
            self._finish(_status(DEADLINE_EXCEEDED, "the caller's deadline has passed"))
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a status
            self._fail(error)
        finally:
            self._close()

    async def _stream_answers(self) -> None:
        streaming = self._handlers.streaming.get(self._head.path)
        if streaming is None:
            raise RpcError(UNIMPLEMENTED, f"this server has no rpc {self._head.path}")
        answers = streaming(self._message(), Caller(self._head.metadata, self._connection.peer, self._connection.memory))
        connection, stream = self._connection, self._stream
        try:
            self._begun = True
            connection.send_headers(stream, _BEGIN)  # that somebody listens is news in itself
            async for answer in answers:
                connection.send(stream, self._framed(answer))
                if not connection.flows(stream):
                    await connection.writable(stream)
        finally:
            await answers.aclose()

    def _answer(self, message: bytes) -> None:
        self._connection.answer(self._stream, _BEGIN, self._framed(message), _OK)

    def _framed(self, message: bytes) -> bytes:
        if len(message) > self._max_message:
            raise RpcError(RESOURCE_EXHAUSTED, f"the answer is larger than the {self._max_message} bytes that this server sends")
        if len(message) > _SMALL and len(message) > self._connection.room:
            raise RpcError(
                RESOURCE_EXHAUSTED, "the server has as many bytes of answers waiting as it may. Read them, and try again."
            )
        return _prefix.pack(0, len(message)) + message

    def _fail(self, error: Exception) -> None:
        if isinstance(error, RpcError):
            self._finish(_status(error.code, error.message))
        else:
            _log.error("the call of %s has failed", self._head.path, exc_info=error)
            self._finish(_status(INTERNAL, f"{type(error).__name__} in the server; its log has the details"))

    def _finish(self, trailers: bytes) -> None:
        self._connection.finish(self._stream, trailers if self._begun else _BEGIN + trailers)
        self._begun = True

    def _close(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._drop_body()
        self.over = True
        self._ended(self)


def _status(code: int, message: str) -> bytes:
    text = quote(message, safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}~")
    return headers.encode((b"grpc-status", str(code).encode()), (b"grpc-message", text.encode()))
