"""An answer in one packet: uvicorn writes its head and its body one by one, and each write is a system call of its own."""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

_AT_MOST = 64 * 1024


class CorkedTransport:
    """Sends what is written within one step of the event loop together.

    Saves one of the two system calls per answer, which are a fifth of what a busy host's thread does. More than 64 KiB goes out
    at once, so that whoever streams is still slowed down by a slow reader.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self._bytes = 0
        self._call_soon = asyncio.get_running_loop().call_soon
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Sends ``data`` with everything else that is written now."""
        if not self._parts:
            self._call_soon(self._send)
        self._parts.append(data)
        self._bytes += len(data)
        if self._bytes > _AT_MOST:
            self._send()

    def close(self) -> None:
        """Closes the connection when everything has been sent."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            self._bytes = 0
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class CorkedProtocol(AutoHTTPProtocol):
    """Uvicorn's protocol (httptools where that is installed) on a corked transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn's own
        """See ``asyncio.Protocol``."""
        super().connection_made(CorkedTransport(transport))  # pyright: ignore[reportArgumentType] - all that uvicorn uses of one
