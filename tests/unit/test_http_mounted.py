"""ASGI and WSGI apps inside of a function app."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from perdure.host.model import AsgiRoute, AuthLevel, TriggeredFunction, WsgiRoute
from tests.unit.host_lab import KEYS, served

Start = Callable[..., Any]


def mounted(app: Any, *, level: AuthLevel = "anonymous", wsgi: bool = False, route: str = "{*rest}") -> TriggeredFunction:
    trigger = (WsgiRoute if wsgi else AsgiRoute)(route, app, level)
    return TriggeredFunction("http_app_func", app, "function_app.py:1", trigger, (), (), None)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-root", scope["root_path"].encode())]})
    await send({"type": "http.response.body", "body": f"{scope['method']} {scope['path']} ".encode(), "more_body": True})
    await send({"type": "http.response.body", "body": body})


async def test_an_asgi_app_without_lifespan_gets_every_method_and_path() -> None:
    async with served(mounted(echo)) as client:
        assert (await client.patch("/api/a/b", content=b"body")).text == "PATCH /api/a/b body"
        assert (await client.options("/api/")).text == "OPTIONS /api/ "


async def test_an_asgi_app_is_guarded_by_keys_and_the_limit() -> None:
    async with served(mounted(echo, level="function"), keys=KEYS, max_request_bytes=10) as client:
        assert (await client.get("/api/x")).status_code == 401
        assert (await client.post("/api/x?code=function", content=b"x" * 11)).status_code == 413
        assert (await client.post("/api/x?code=function", content=pieces(b"x" * 6, b"x" * 6))).status_code == 413
        assert (await client.post("/api/x?code=function", content=b"x" * 10)).status_code == 200


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_an_asgi_app_that_says_it_cannot_start_keeps_the_host_from_starting() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(RuntimeError, match="no database"):
        async with served(mounted(broken)):
            pass


async def test_the_state_of_an_asgi_lifespan_reaches_its_requests() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["started"] = "yes"
            for answer in ("startup", "shutdown"):
                seen.append((await receive())["type"])
                await send({"type": f"lifespan.{answer}.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["state"]["started"].encode()})

    async with served(mounted(app)) as client:
        assert (await client.get("/api/x")).text == "yes"
        assert seen == ["lifespan.startup"]
    assert seen == ["lifespan.startup", "lifespan.shutdown"]


async def test_an_asgi_app_that_fails_is_answered_with_500(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raise ValueError("bad day")

    async with served(mounted(fails)) as client:
        assert (await client.get("/api/x")).status_code == 500
    assert "bad day" in caplog.text


async def wsgi_answer(app: Callable[[dict[str, Any], Start], Iterable[bytes]], **request: Any) -> httpx.Response:
    async with served(mounted(app, wsgi=True)) as client:
        return await client.request(**{"method": "GET", "url": "/api/x", **request})


async def test_a_wsgi_app_sees_the_request() -> None:
    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("200 OK", [])
        names = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_X_A", "wsgi.url_scheme")
        return [" ".join(environ[name] for name in names).encode("latin-1"), environ["wsgi.input"].read()]

    response = await wsgi_answer(
        app, method="PUT", url="/api/%C3%A4?q=1", content=b"body", headers={"x-a": "1", "content-type": "a/b"}
    )
    assert response.content == "PUT /api/ä q=1 4 a/b 1 httpbody".encode()


async def test_a_wsgi_app_may_start_its_answer_with_its_first_piece_and_is_closed_at_the_end() -> None:
    closed: list[bool] = []

    def app(environ: dict[str, Any], start: Start) -> Iterator[bytes]:
        try:
            start("202 Accepted", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
            yield b"a"
            yield b"b"
        finally:
            closed.append(True)

    response = await wsgi_answer(app)
    assert (response.status_code, response.content) == (202, b"ab")
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert closed == [True]


async def test_what_a_wsgi_app_writes_comes_first() -> None:
    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("200 OK", [])(b"written ")
        return [b"returned"]

    assert (await wsgi_answer(app)).text == "written returned"


async def test_a_wsgi_app_that_fails_or_says_nothing_is_500() -> None:
    def fails(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        raise ValueError("bad day")

    def silent(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        return []

    assert (await wsgi_answer(fails)).status_code == 500
    assert (await wsgi_answer(silent)).status_code == 500
