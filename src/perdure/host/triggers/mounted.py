"""ASGI and WSGI apps inside of a function app: their requests, and the start and end of their lives."""

import asyncio
import io
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perdure.host.triggers.http_messages import answer_text, read_body

_log = logging.getLogger("perdure.functions")


class Lifespan:
    """Tells an ASGI app that the host starts and ends. An app that knows no such thing is left alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._outbox: asyncio.Queue[Message | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {}

    async def start(self) -> None:
        """Returns once the app is ready.

        Raises:
            RuntimeError: it says that it could not start.
        """
        self._task = asyncio.get_running_loop().create_task(self._run())
        await self._inbox.put({"type": "lifespan.startup"})
        answer = await self._outbox.get()
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            raise RuntimeError(f"the mounted app could not start: {answer.get('message', '')}")

    async def stop(self) -> None:
        """Returns once the app has cleaned up."""
        if self._task is None:
            return
        if not self._task.done():
            await self._inbox.put({"type": "lifespan.shutdown"})
            await self._outbox.get()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.3"}, "state": self.state}
        try:
            await self._app(scope, self._inbox.get, self._outbox.put)
        except Exception as error:  # noqa: BLE001 - user code; an app that knows no lifespan raises here, as the ASGI specification says
            _log.debug("the lifespan of a mounted app ended: %s: %s", type(error).__name__, error)
        finally:
            self._outbox.put_nowait(None)


async def run_wsgi(
    app: Callable[..., Iterable[bytes]], scope: Scope, receive: Receive, send: Send, threads: ThreadPoolExecutor
) -> None:
    """Answers one request by a WSGI app, which runs in a thread; its body is sent piece by piece."""
    body = await read_body(receive)
    if body is None:
        return
    loop = asyncio.get_running_loop()
    started: list[tuple[str, list[tuple[str, str]]]] = []
    written: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        started[:] = [(status, headers)]
        return written.append

    def call() -> Iterable[bytes]:
        return app(_environ(scope, body), start_response)

    parts = await loop.run_in_executor(threads, call)
    try:
        pieces = _pieces(parts, loop, threads)
        first = await anext(pieces, b"")  # the app may call start_response as late as for its first piece
        if not started:
            await answer_text(send, 500, "The app gave no answer.")
            return
        status, headers = started[0]
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": int(status.split()[0]), "headers": raw})
        await send({"type": "http.response.body", "body": b"".join(written) + first, "more_body": True})
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            await loop.run_in_executor(threads, close)


async def _pieces(parts: Iterable[bytes], loop: asyncio.AbstractEventLoop, threads: ThreadPoolExecutor) -> AsyncIterator[bytes]:
    iterator = iter(parts)
    end = object()
    while True:
        piece = await loop.run_in_executor(threads, next, iterator, end)
        if piece is end:
            return
        yield cast(bytes, piece)


def _environ(scope: Scope, body: bytes) -> dict[str, Any]:
    server, port = scope.get("server") or ("localhost", 80)
    root: str = scope.get("root_path", "")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": root.encode().decode("latin-1"),
        "PATH_INFO": scope["path"].removeprefix(root).encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": server,
        "SERVER_PORT": str(port),
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if scope.get("client"):
        environ["REMOTE_ADDR"] = scope["client"][0]
    for name, value in scope["headers"]:
        key = name.decode("latin-1").upper().replace("-", "_")
        text = value.decode("latin-1")
        if key == "CONTENT_TYPE":
            environ[key] = text
        elif key != "CONTENT_LENGTH":
            key = f"HTTP_{key}"
            environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ
