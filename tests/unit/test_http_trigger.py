"""HTTP functions: what they get, what their callers get, and who is let in."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import azure.functions as func
import httpx
import pytest
from starlette.requests import Request
from starlette.responses import StreamingResponse

import perdure as df
from perdure.host.model import AuthLevel, Output
from perdure.host.triggers.errors import RouteConflictError, RouteTemplateError
from perdure.store.errors import StoreUnavailableError
from tests.unit.host_lab import KEYS, http, served


async def test_a_function_sees_the_whole_request() -> None:
    def echo(req: func.HttpRequest) -> func.HttpResponse:
        seen = {
            "method": req.method,
            "url": req.url,
            "params": dict(req.params),
            "route": dict(req.route_params),
            "header": req.headers["X-Thing"],
            "json": req.get_json(),
        }
        return func.HttpResponse(json.dumps(seen), mimetype="application/json")

    async with served(http(echo, "echo/{id:int}/{rest?}", "PUT")) as client:
        response = await client.put("/api/echo/7/a%2Fb?x=1&x=2&y=%C3%A4", json={"a": 1}, headers={"x-thing": "t"})
    assert response.json() == {
        "method": "PUT",
        "url": "http://host/api/echo/7/a%2Fb?x=1&x=2&y=%C3%A4",
        "params": {"x": "1,2", "y": "ä"},
        "route": {"id": "7", "rest": "a%2Fb"},
        "header": "t",
        "json": {"a": 1},
    }
    assert response.headers["content-type"] == "application/json"


async def test_a_form_is_parsed() -> None:
    def form(req: func.HttpRequest) -> str:
        file = req.files["f"]
        try:
            return f"{req.form['a']} {file.read().decode()}"
        finally:
            file.close()

    async with served(http(form)) as client:
        response = await client.post("/api/form", data={"a": "1"}, files={"f": ("f.txt", b"content")})
    assert response.text == "1 content"


async def answers(result: Any) -> httpx.Response:
    async def give(req: func.HttpRequest) -> Any:
        return result

    async with served(http(give)) as client:
        return await client.get("/api/give")


async def test_text_is_answered_as_text() -> None:
    response = await answers("grüß")
    assert (response.status_code, response.text) == (200, "grüß")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


async def test_nothing_is_answered_with_204() -> None:
    response = await answers(None)
    assert (response.status_code, response.content) == (204, b"")
    assert "content-length" not in response.headers


async def test_a_response_keeps_status_headers_and_cookies() -> None:
    given = func.HttpResponse(b"x", status_code=418, headers={"X-A": "1"}, mimetype="text/html")
    given.headers.add_header("Set-Cookie", "a=1")
    given.headers.add_header("Set-Cookie", "b=2")
    response = await answers(given)
    assert (response.status_code, response.content, response.headers["x-a"]) == (418, b"x", "1")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]


async def test_a_stream_is_answered_piece_by_piece() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"a", b"b", b"c"):
            yield piece

    response = await answers(StreamingResponse(pieces(), media_type="text/event-stream"))
    assert (response.content, response.headers["content-type"]) == (b"abc", "text/event-stream; charset=utf-8")


async def test_what_cannot_be_sent_is_500_and_the_log_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    response = await answers({"a": 1})
    assert response.status_code == 500
    assert "returned a dict" in caplog.text
    assert "json.dumps" in caplog.text


async def test_a_function_may_read_its_body_as_a_stream() -> None:
    async def count(req: Request) -> str:
        return ",".join([str(len(part)) async for part in req.stream() if part])

    async def body() -> AsyncIterator[bytes]:
        yield b"a" * 10
        yield b"b" * 20

    async with served(http(count, None, "POST")) as client:
        response = await client.post("/api/count", content=body())
    assert response.text == "10,20"


async def test_def_functions_run_at_the_same_time_and_off_the_loop() -> None:
    import threading

    meeting = threading.Barrier(2, timeout=10)

    def meet(req: func.HttpRequest) -> str:
        meeting.wait()
        return threading.current_thread().name

    async with served(http(meet)) as client:
        responses = await asyncio.gather(client.get("/api/meet"), client.get("/api/meet"))
    assert {response.status_code for response in responses} == {200}
    assert all(response.text.startswith("perdure-function") for response in responses)


async def test_the_context_names_the_function() -> None:
    def who(req: func.HttpRequest, context: func.Context) -> str:
        return f"{context.function_name} {len(context.invocation_id)} {context.trace_context.trace_parent}"

    async with served(http(who)) as client:
        response = await client.get("/api/who", headers={"traceparent": "00-1-2-01"})
    assert response.text == "who 36 00-1-2-01"


async def test_a_named_http_output_is_answered() -> None:
    def named(req: func.HttpRequest, res: func.Out[func.HttpResponse]) -> None:
        res.set(func.HttpResponse("by name", status_code=201))

    async with served(http(named, outputs=(Output("http", "res", "", ""),))) as client:
        response = await client.get("/api/named")
    assert (response.status_code, response.text) == (201, "by name")


# --- failures -------------------------------------------------------------------------------------------------------------


def fail(req: func.HttpRequest) -> str:
    raise ValueError("secret detail")


async def test_the_caller_of_a_failing_function_learns_no_detail_and_the_log_has_the_users_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(http(fail)) as client:
        response = await client.get("/api/fail")
    assert response.status_code == 500
    assert "secret" not in response.text
    [record] = [record for record in caplog.records if record.name == "perdure.functions"]
    assert "function 'fail' (function_app.py:" in record.getMessage()
    assert record.exc_info is not None
    text = logging.Formatter().formatException(record.exc_info)
    assert "in fail" in text
    assert "perdure/host" not in text


async def test_a_store_that_is_away_is_no_fault_of_the_function() -> None:
    def start(req: func.HttpRequest) -> str:
        raise StoreUnavailableError("PostgreSQL is away")

    async with served(http(start)) as client:
        response = await client.get("/api/start")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


async def test_the_caller_gets_the_traceback_if_the_operator_wants_that() -> None:
    async with served(http(fail), show_stack_traces=True) as client:
        response = await client.get("/api/fail")
    assert "secret detail" in response.text


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_function_that_takes_too_long_is_answered_with_500(is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
    import threading

    ended = threading.Event()

    async def slow_async(req: func.HttpRequest) -> str:
        await asyncio.Event().wait()
        return ""

    def slow(req: func.HttpRequest) -> str:
        ended.wait(10)
        return ""

    function = http(slow_async if is_async else slow, "slow")
    async with served(function, function_timeout=timedelta(milliseconds=20)) as client:
        response = await client.get("/api/slow")
        ended.set()
    assert response.status_code == 500
    assert "functionTimeout (0.02 s)" in caplog.text


async def test_a_timeout_of_the_users_own_is_not_taken_for_the_hosts(caplog: pytest.LogCaptureFixture) -> None:
    async def own(req: func.HttpRequest) -> str:
        raise TimeoutError("mine")

    async with served(http(own), function_timeout=timedelta(hours=1)) as client:
        await client.get("/api/own")
    assert "TimeoutError: mine" in caplog.text


# --- bodies ---------------------------------------------------------------------------------------------------------------


def size(req: func.HttpRequest) -> str:
    return str(len(req.get_body()))


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_413(declared: bool) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * 5

    async with served(http(size), max_request_bytes=16) as client:
        fits = await client.post("/api/size", content=b"x" * 16)
        response = await client.post("/api/size", content=b"x" * 20 if declared else body())
    assert fits.text == "16"
    assert response.status_code == 413
    assert "16 bytes" in response.text


async def test_a_stream_over_the_limit_is_413_too() -> None:
    async def count(req: Request) -> str:
        return str(len(await req.body()))

    async def body() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * 5

    async with served(http(count, None, "POST"), max_request_bytes=16) as client:
        response = await client.post("/api/count", content=body())
    assert response.status_code == 413


# --- routes ---------------------------------------------------------------------------------------------------------------


def named(name: str) -> Any:
    def function(req: func.HttpRequest) -> str:
        return f"{name} {dict(req.route_params)}"

    function.__name__ = name
    return function


async def test_the_most_specific_function_answers() -> None:
    functions = [
        http(named("rest"), "{*path}"),
        http(named("any"), "items/{name}"),
        http(named("number"), "items/{id:int}"),
        http(named("literal"), "items/all"),
    ]
    async with served(*functions) as client:
        got = [(await client.get(f"/api/{path}")).text for path in ("items/all", "items/7", "items/x", "other/x")]
    assert got == ["literal {}", "number {'id': '7'}", "any {'name': 'x'}", "rest {'path': 'other/x'}"]


async def test_functions_may_share_a_route_by_method() -> None:
    async with served(http(named("read"), "item", "GET"), http(named("write"), "item", "POST")) as client:
        assert (await client.get("/api/item")).text == "read {}"
        assert (await client.post("/api/item")).text == "write {}"


async def test_a_wrong_method_is_404_and_the_answer_names_the_right_ones() -> None:
    async with served(http(named("read"), "item", "GET")) as client:
        response = await client.delete("/api/item")
        options = await client.options("/api/item")
        head = await client.head("/api/item")
        unknown = await client.get("/api/nothing")
    assert (response.status_code, response.headers["allow"]) == (404, "GET, HEAD, OPTIONS")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert head.status_code == 200
    assert unknown.status_code == 404


async def test_options_reaches_a_function_that_asks_for_it() -> None:
    async with served(http(named("own"), "item", "OPTIONS")) as client:
        assert (await client.options("/api/item")).text == "own {}"


@pytest.mark.parametrize(("prefix", "path"), [("api", "/api/x"), ("", "/x"), ("v1/fn", "/v1/fn/x")])
async def test_the_route_prefix_comes_first(prefix: str, path: str) -> None:
    async with served(http(named("x")), route_prefix=prefix) as client:
        assert (await client.get(path)).text == "x {}"


async def test_no_function_can_take_the_hosts_own_paths() -> None:
    async with served(http(named("all"), "{*rest}"), route_prefix="") as client:
        assert (await client.get("/runtime/webhooks/durabletask/instances")).json() == []
        assert (await client.get("/admin/host/status")).json()["state"] == "Running"
        assert (await client.get("/")).text == "all {}"


async def test_the_root_says_that_the_host_is_up() -> None:
    async with served() as client:
        assert "up and running" in (await client.get("/")).text


async def start_of(*functions: Any) -> None:
    async with served(*functions):
        pass


async def test_two_functions_with_one_route_are_refused_by_name_and_place() -> None:
    with pytest.raises(RouteConflictError, match=r"'a' \(function_app.py:\d+\) and 'b' .*both answer GET /api/x/\{id\}"):
        await start_of(http(named("a"), "x/{name}"), http(named("b"), "x/{id}"))


async def test_a_bad_route_is_refused_with_its_function() -> None:
    with pytest.raises(RouteTemplateError, match=r"function 'a' \(function_app.py:\d+\): route 'api/x/\{'"):
        await start_of(http(named("a"), "x/{"))


# --- keys -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "opened_by"),
    [("anonymous", [None, "wrong", "function", "master"]), ("function", ["function", "master"]), ("admin", ["master"])],
)
@pytest.mark.parametrize("in_header", [True, False])
async def test_a_level_is_opened_by_its_keys_only(level: AuthLevel, opened_by: list[str | None], in_header: bool) -> None:
    async with served(http(named("x"), level=level), keys=KEYS) as client:
        for key in (None, "", "wrong", "function", "master", "system", "mastér"):
            sent: Any = (
                {}
                if key is None
                else ({"headers": {"x-functions-key": key.encode()}} if in_header else {"params": {"code": key}})
            )
            response = await client.get("/api/x", **sent)
            admitted = response.status_code == 200
            assert admitted == (key in opened_by or level == "anonymous"), key
            assert response.status_code in (200, 401)


async def test_the_hosts_status_needs_the_master_key() -> None:
    async with served(keys=KEYS) as client:
        assert (await client.get("/admin/host/status")).status_code == 401
        assert (await client.get("/admin/host/status?code=function")).status_code == 401
        assert (await client.get("/admin/host/status?code=master")).status_code == 200


async def test_pages_of_allowed_origins_may_call() -> None:
    async with served(http(named("x")), cors_origins=("https://page",)) as client:
        response = await client.get("/api/x", headers={"origin": "https://page"})
        other = await client.get("/api/x", headers={"origin": "https://other"})
    assert response.headers["access-control-allow-origin"] == "https://page"
    assert "access-control-allow-origin" not in other.headers


# --- durable clients ------------------------------------------------------------------------------------------------------


def greeter() -> df.DFApp:
    app = df.DFApp()

    @app.orchestration_trigger(context_name="context")
    def greet(context: df.DurableOrchestrationContext) -> Any:
        name = context.get_input()
        if name == "fail":
            raise ValueError("no name")
        if name == "wait":
            yield context.wait_for_external_event("go")
        return {"hello": name}

    return app


async def begin(req: func.HttpRequest, client: Any) -> func.HttpResponse:
    instance_id = await client.start_new("greet", req.params.get("id"), req.params["name"])
    return client.create_check_status_response(req, instance_id)


def begin_blocking(req: func.HttpRequest, client: Any) -> func.HttpResponse:
    instance_id = client.start_new("greet", req.params.get("id"), req.params["name"])
    return client.create_check_status_response(req, instance_id)


@pytest.mark.parametrize("function", [begin, begin_blocking])
async def test_the_urls_of_a_started_instance_lead_to_its_result(function: Any) -> None:
    async with served(http(function, "begin", client="perdure"), app=greeter(), keys=KEYS) as client:
        response = await client.post("/api/begin?name=Ada&id=ä b")
        assert response.status_code == 202
        assert response.headers["retry-after"] == "10"
        payload = response.json()
        assert payload["id"] == "ä b"
        assert response.headers["location"] == payload["statusQueryGetUri"]
        assert payload["statusQueryGetUri"].startswith("http://host/runtime/webhooks/durabletask/instances/%C3%A4%20b?")
        status = await client.get(payload["statusQueryGetUri"])
        while status.status_code == 202:
            status = await client.get(payload["statusQueryGetUri"])
        assert status.json()["output"] == {"hello": "Ada"}
        assert (await client.get("/runtime/webhooks/durabletask/instances/x?code=wrong")).status_code == 401


async def wait(req: func.HttpRequest, client: Any) -> func.HttpResponse:
    instance_id = await client.start_new("greet", None, req.params["name"])
    return await client.wait_for_completion_or_create_check_status_response(req, instance_id, int(req.params["ms"]), 1)


def wait_blocking(req: func.HttpRequest, client: Any) -> func.HttpResponse:
    instance_id = client.start_new("greet", None, req.params["name"])
    return client.wait_for_completion_or_create_check_status_response(req, instance_id, int(req.params["ms"]), 1)


@pytest.mark.parametrize("function", [wait, wait_blocking])
async def test_waiting_answers_with_the_output_the_failure_or_the_urls(function: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with served(http(function, "wait", client="perdure"), app=greeter()) as client:
        done = await client.get("/api/wait?name=Ada&ms=60000")
        failed = await client.get("/api/wait?name=fail&ms=60000")
        late = await client.get("/api/wait?name=wait&ms=1")
        wrong = await client.get("/api/wait?name=wait&ms=0")
    assert (done.status_code, done.json()) == (200, {"hello": "Ada"})
    assert (failed.status_code, failed.json()["runtimeStatus"]) == (500, "Failed")
    assert "no name" in failed.json()["output"]
    assert (late.status_code, "statusQueryGetUri" in late.json()) == (202, True)
    assert wrong.status_code == 500
    assert "must not be less than" in caplog.text


async def test_the_urls_follow_a_trusted_proxy_only_if_told() -> None:
    forwarded = {"x-forwarded-host": "public.example", "x-forwarded-proto": "https"}
    for trusted, origin in ((True, "https://public.example/"), (False, "http://host/")):
        async with served(http(begin, client="perdure"), app=greeter(), use_forwarded_host=trusted) as client:
            response = await client.post("/api/begin?name=Ada", headers=forwarded)
        assert response.json()["statusQueryGetUri"].startswith(origin)


async def test_a_client_for_another_hub_is_refused() -> None:
    import dataclasses

    from perdure.host.application import OtherTaskHubError
    from perdure.host.model import ClientParameter

    function = dataclasses.replace(http(begin), clients=(ClientParameter("client", "perdure", "%HUB%", None),))
    with pytest.raises(OtherTaskHubError, match="task hub 'Other', but this host serves 'TestHubName'"):
        async with served(function, app=greeter(), app_settings={"HUB": "Other"}):
            pass
    async with served(function, app=greeter(), app_settings={"HUB": "testhubname"}):
        pass
