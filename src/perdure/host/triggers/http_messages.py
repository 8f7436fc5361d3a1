"""HTTP as functions see it, and as ASGI sends it: requests, answers, and the bound on bodies."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, quote

import azure.functions as func
from starlette.types import Message, Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


def base_url_of(scope: Scope, *, forwarded: bool) -> str:
    """How the caller reached the host, up to where it is mounted, without a slash at the end."""
    origin = None
    if forwarded:
        host = header(scope, b"x-forwarded-host")
        if host:
            origin = f"{header(scope, b'x-forwarded-proto') or scope['scheme']}://{host}"
    if origin is None:
        host = header(scope, b"host")
        if host is None:
            name, port = scope.get("server") or ("localhost", None)
            host = name if port is None else f"{name}:{port}"
        origin = f"{scope['scheme']}://{host}"
    return origin + quote(scope.get("root_path", "").rstrip("/"))


def azure_request(scope: Scope, base_url: str, route_params: dict[str, str], body: bytes) -> func.HttpRequest:
    """The request object of azure-functions. What comes several times is joined with commas, as Azure Functions does."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    path = raw.decode("latin-1").partition("?")[0].removeprefix(quote(scope.get("root_path", "")))
    query = scope["query_string"].decode("latin-1")
    return func.HttpRequest(
        scope["method"],
        base_url + path + (f"?{query}" if query else ""),
        headers=_joined((key.decode("latin-1"), value.decode("latin-1")) for key, value in scope["headers"]),
        params=_joined(parse_qsl(query, keep_blank_values=True)),
        route_params=route_params,
        body=body,
    )


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for key, value in pairs:
        joined[key] = f"{joined[key]},{value}" if key in joined else value
    return joined


async def read_body(receive: Receive) -> bytes | None:
    """The whole body; ``None`` if the caller has gone, or was told that it is too large."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def answer(send: Send, status: int, body: bytes = b"", headers: Headers | None = None) -> None:
    """Sends a whole answer."""
    lines = [*(headers or ()), (b"content-length", str(len(body)).encode())] if status not in (204, 304) else headers or []
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


async def answer_text(send: Send, status: int, text: str, headers: Headers | None = None) -> None:
    """Sends a line for humans."""
    await answer(send, status, text.encode(), [(b"content-type", b"text/plain; charset=utf-8"), *(headers or ())])


async def answer_azure(send: Send, response: func.HttpResponse) -> None:
    """Sends the response object of azure-functions."""
    headers: Headers = []
    has_type = False
    for name, value in response.headers.items():
        lower = name.lower()
        if lower not in ("content-length", "transfer-encoding", "connection"):  # the server's own business
            headers.append((lower.encode("latin-1"), str(value).encode("latin-1")))
            has_type = has_type or lower == "content-type"
    if not has_type:
        text = response.mimetype.startswith("text/")
        content_type = f"{response.mimetype}; charset={response.charset}" if text else response.mimetype
        headers.append((b"content-type", content_type.encode("latin-1")))
    await answer(send, response.status_code, response.get_body(), headers)


class LimitedBody:
    """A request whose body can't be longer than ``limit``: the caller gets 413, the reader a disconnect."""

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive = receive
        self._send = send
        self._limit = limit
        self._seen = 0
        self._exceeded = False
        self.has_answered = False

    async def declared_too_large(self, scope: Scope) -> bool:
        """Whether ``Content-Length`` alone tells; the caller has been answered then."""
        declared = header(scope, b"content-length")
        if declared is None or not declared.isdigit() or int(declared) <= self._limit:
            return False
        await self._refuse()
        return True

    async def receive(self) -> Message:
        """The next part of the body."""
        if self._exceeded:
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self._seen > self._limit:
                await self._refuse()
                return {"type": "http.disconnect"}
        return message

    async def send(self, message: Any) -> None:
        """A part of the answer; dropped if the caller was told 413."""
        if not self._exceeded:
            self.has_answered = True
            await self._send(message)

    async def _refuse(self) -> None:
        self._exceeded = True
        if not self.has_answered:
            self.has_answered = True
            text = f"The request's body is longer than {self._limit} bytes, the limit of this host."
            await answer_text(self._send, 413, text, [(b"connection", b"close")])
