"""Listens, and has every connection's calls answered."""

import asyncio
import ssl
from contextlib import suppress
from datetime import timedelta

from perdure.protocol.http2.budget import Budget
from perdure.protocol.http2.calls import Call, Handlers
from perdure.protocol.http2.connection import Connection
from perdure.protocol.http2.errors import DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE
from perdure.protocol.http2.frames import MAX_WINDOW
from perdure.protocol.http2.headers import Head
from perdure.protocol.http2.streams import Stream

_MAX_STREAMS = 1000
"""Calls at the same time on one connection."""
_MAX_LARGEST = 8
"""Messages of the largest size that may lie in memory: requests that come in pieces, and answers that peers don't read."""
_SILENCE = 60.0
"""Seconds after which a silent peer is asked for a sign of life."""
_PATIENCE = 20.0
"""Seconds that it may take for that."""
_REQUEST_PATIENCE = 120.0
"""Seconds that a request may take to come in."""
_GOODBYE = 1.0
"""Seconds that a peer has to notice that the server is going."""


class Http2Server:
    """Answers calls with ``handlers`` between ``start`` and ``stop``."""

    def __init__(self, handlers: Handlers, *, max_message: int, max_calls: int, tls: ssl.SSLContext | None = None) -> None:
        self._handlers = handlers
        self._max_message = max_message
        self._max_calls = max_calls
        self._tls = tls
        self._budget = Budget(_MAX_LARGEST * max_message)
        self._unsent = Budget(_MAX_LARGEST * max_message)
        self._connections: set[Connection] = set()
        self._calls: set[Call] = set()
        self._server: asyncio.Server | None = None
        self._look: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None
        self._going = False

    async def start(self, host: str, port: int) -> int:
        """Returns the port where it listens.

        Raises:
            OSError: it can't.
        """
        loop = asyncio.get_running_loop()
        server = self._server = await loop.create_server(
            self._connection, host, port, ssl=self._tls, reuse_port=False, backlog=1024
        )
        self._look = loop.call_later(_PATIENCE, self._look_around)
        return int(server.sockets[0].getsockname()[1])

    async def say_goodbye(self) -> None:
        """Takes no more calls, and returns once all peers know; those that say nothing have ``_GOODBYE`` seconds."""
        if self._server is None:
            return
        self._going = True
        self._server.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE):
                await asyncio.gather(*(connection.say_goodbye() for connection in self._connections))

    async def stop(self, grace: timedelta) -> None:
        """Takes no more calls, lets those that are under way end within ``grace``, then ends them."""
        if self._server is None:
            return
        if not self._going:
            await self.say_goodbye()
        if self._look is not None:
            self._look.cancel()
        for connection in list(self._connections):
            connection.go_away()
        if self._calls:
            loop = asyncio.get_running_loop()
            self._idle = loop.create_future()
            timer = loop.call_later(grace.total_seconds(), _resolve, self._idle)
            await self._idle
            timer.cancel()
        for call in list(self._calls):
            call.cancel()
        await asyncio.sleep(0)  # they say why
        await asyncio.sleep(0)
        for connection in list(self._connections):
            connection.close()

    def _connection(self) -> Connection:
        return Connection(
            self._connections.add,
            self._begun,
            self._connections.discard,
            max_streams=_MAX_STREAMS,
            stream_window=min(self._max_message + 64 * 1024, MAX_WINDOW),
            unsent=self._unsent,
        )

    def _begun(self, connection: Connection, stream: Stream, head: Head) -> None:
        call = Call(connection, stream, head, self._handlers, self._max_message, self._budget, self._ended)
        if call.over:
            return
        self._calls.add(call)
        if self._going:
            call.refuse(UNAVAILABLE, "the server is going")
        elif len(self._calls) > self._max_calls and head.path not in self._handlers.urgent:
            call.refuse(RESOURCE_EXHAUSTED, f"the server has {self._max_calls} calls under way, and takes no more now")

    def _ended(self, call: Call) -> None:
        self._calls.discard(call)
        if not self._calls and self._idle is not None:
            _resolve(self._idle)

    def _look_around(self) -> None:
        """Finds peers that are gone without a word, and requests that never end."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._connections):
            silent = now - connection.heard
            if silent > _SILENCE + _PATIENCE:
                connection.abort()
            elif silent > _SILENCE:
                connection.ping()
        for call in list(self._calls):
            if call.asked_for(now) > _REQUEST_PATIENCE:
                call.refuse(DEADLINE_EXCEEDED, f"the request has not come to its end within {_REQUEST_PATIENCE:.0f} s")
        self._look = loop.call_later(_PATIENCE, self._look_around)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
