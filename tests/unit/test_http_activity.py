"""The activity of call_http: what goes out, what comes back, and what is refused."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import httpx
import pytest

from perdure.engine.activities.context import ActivityContext, CancellationToken, current
from perdure.host.durable_http import HttpActivity, HttpCallError, HttpStatusError

Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def running_activity() -> Iterator[None]:
    before = current.set(ActivityContext("BuiltIn::HttpActivity", "i", 1, 1, "key-of-this-call", CancellationToken()))
    yield
    current.reset(before)


class Web:
    """Everything that can be reached: answers by URL."""

    def __init__(self, **options: Any) -> None:
        self.asked: list[httpx.Request] = []
        self.answers: dict[str, Answer] = {}
        self.activity = HttpActivity(transport=httpx.MockTransport(self._answer), **{"max_response_bytes": 1000, **options})

    def on(self, url: str, status: int = 200, text: str = "", headers: Mapping[str, str] | None = None) -> None:
        self.answers[url] = lambda request: httpx.Response(status, text=text, headers=headers)

    async def send(self, uri: str = "http://a/x", method: str = "GET", **more: Any) -> dict[str, Any]:
        try:
            return await self.activity.send({"method": method, "uri": uri, **more})
        finally:
            await self.activity.close()

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.answers[str(request.url)](request)


async def test_an_answer_comes_back_whole_whatever_its_status() -> None:
    web = Web()
    web.on("http://a/x", 404, "nichts gefündet", {"x-one": "1"})
    answer = await web.send()
    assert (answer["statusCode"], answer["content"], answer["headers"]["x-one"]) == (404, "nichts gefündet", "1")


async def test_a_header_that_comes_twice_comes_back_as_a_list() -> None:
    web = Web()
    web.answers["http://a/x"] = lambda request: httpx.Response(200, headers=[("set-cookie", "a=1"), ("set-cookie", "b=2")])
    assert (await web.send())["headers"]["set-cookie"] == ["a=1", "b=2"]


async def test_the_request_goes_out_as_it_was_written() -> None:
    web = Web()
    web.on("http://a/x?q=1")
    await web.send(
        "http://a/x?q=1", "post", content='{"a": 1}', headers={"Content-Type": "application/json", "X-Two": ["a", "b"]}
    )
    [request] = web.asked
    assert (request.method, request.content, request.headers["content-type"]) == ("POST", b'{"a": 1}', "application/json")
    assert request.headers["x-two"] == "a, b"


async def test_text_is_the_default_and_each_call_has_its_idempotency_key() -> None:
    web = Web()
    web.on("http://a/x")
    await web.send(method="PUT", content="ä")
    [request] = web.asked
    assert request.headers["content-type"] == "text/plain; charset=utf-8"
    assert request.headers["idempotency-key"] == "key-of-this-call"
    assert request.content == "ä".encode()


async def test_a_key_of_the_users_own_goes_before() -> None:
    web = Web()
    web.on("http://a/x")
    await web.send(headers={"idempotency-key": "mine"})
    assert web.asked[0].headers["idempotency-key"] == "mine"


async def test_durable_functions_form_of_the_input_is_understood() -> None:
    web = Web()
    web.on("http://a/x", text="ok")
    answer = await web.activity.send(
        [{"method": "GET", "uri": "http://a/x", "asynchronousPatternEnabled": True, "headers": None}]
    )
    await web.activity.close()
    assert answer["content"] == "ok"


async def test_redirects_are_followed_and_secrets_stay_with_their_origin() -> None:
    web = Web()
    web.on("http://a/x", 307, headers={"location": "/y"})
    web.on("http://a/y", 302, headers={"location": "https://b/z"})
    web.on("https://b/z", text="there")
    secrets = {"authorization": "s", "x-functions-key": "s", "cookie": "s", "x-plain": "p"}
    answer = await web.send(method="POST", content="body", headers=secrets)
    assert answer["content"] == "there"
    first, second, third = web.asked
    assert (first.method, second.method, third.method) == ("POST", "POST", "GET")
    assert (second.content, third.content) == (b"body", b"")
    assert [request.headers.get("authorization") for request in web.asked] == ["s", "s", None]
    assert not {"cookie", "x-functions-key", "content-type"} & set(third.headers)
    assert third.headers["x-plain"] == "p"


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://a/x"])
async def test_a_redirect_leads_to_http_only(target: str) -> None:
    web = Web()
    web.on("http://a/x", 302, headers={"location": target})
    with pytest.raises(HttpCallError, match="is no http:// or https:// URL"):
        await web.send()


async def test_redirects_in_a_circle_end() -> None:
    web = Web()
    web.on("http://a/x", 302, headers={"location": "/x"})
    with pytest.raises(HttpCallError, match="more than 10 redirects"):
        await web.send()


async def test_a_202_is_handed_to_the_orchestrator_with_its_location() -> None:
    web = Web()
    web.on("http://a/x", 202, headers={"location": "/status", "retry-after": "3"})
    answer = await web.send()
    assert (answer["statusCode"], answer["headers"]["location"], answer["headers"]["retry-after"]) == (202, "/status", "3")


@pytest.mark.parametrize(
    ("codes", "status", "fails"),
    [([], 500, True), ([], 404, True), ([], 200, False), ([503], 503, True), ([503], 500, False), (None, 503, False)],
)
async def test_a_status_is_a_failure_only_if_it_is_to_be_retried(codes: list[int] | None, status: int, fails: bool) -> None:
    web = Web()
    web.on("http://a/x", status)
    options = None if codes is None else {"statusCodesToRetry": codes, "maxNumberOfAttempts": 3}
    if fails:
        with pytest.raises(HttpStatusError, match=f"GET http://a/x: {status}"):
            await web.send(retryOptions=options)
    else:
        assert (await web.send(retryOptions=options))["statusCode"] == status


async def test_no_answer_is_a_failure_that_names_the_url() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    web = Web()
    web.answers["http://a/x"] = refuse
    with pytest.raises(HttpCallError, match="GET http://a/x: no answer: connection refused"):
        await web.send()


@pytest.mark.parametrize(("timeout", "seconds"), [(None, 100), ("00:00:05", 5), ("1.00:00:00.5", 86400.5), (2.5, 2.5)])
async def test_the_timeout_is_the_requests_or_100_seconds(timeout: Any, seconds: float) -> None:
    web = Web()
    web.on("http://a/x")
    await web.send(timeout=timeout)
    assert web.asked[0].extensions["timeout"]["read"] == seconds


async def test_an_answer_over_the_limit_is_refused() -> None:
    web = Web(max_response_bytes=10)
    web.on("http://a/x", text="x" * 11)
    with pytest.raises(HttpCallError, match="longer than 10 bytes"):
        await web.send()
    web = Web(max_response_bytes=10)
    web.on("http://a/x", text="x" * 10)
    assert (await web.send())["content"] == "x" * 10


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        ({"uri": "http://a/x", "headers": {"content-type": "multipart/form-data; boundary=x"}}, "multipart"),
        ({"uri": "nowhere"}, "is no http:// or https:// URL"),
        ({"uri": "http://a:b/"}, "is no URL"),
        ({"uri": "http://a/x", "timeout": "soon"}, "no TimeSpan"),
        ({"uri": "http://a/x", "tokenSource": {"resource": "r"}}, "has no token source"),
        ({"uri": 5}, "got no HTTP request"),
    ],
)
async def test_what_cannot_be_sent_is_refused(request_: dict[str, Any], problem: str) -> None:
    with pytest.raises(HttpCallError, match=problem):
        await Web().send(**request_)


@pytest.mark.parametrize("is_async", [True, False])
async def test_the_hooks_token_goes_with_the_request(is_async: bool) -> None:
    seen: list[Mapping[str, Any]] = []

    def token(source: Mapping[str, Any]) -> str:
        seen.append(source)
        return "t"

    async def async_token(source: Mapping[str, Any]) -> str:
        return token(source)

    web = Web(token_source=async_token if is_async else token)
    web.on("http://a/x")
    await web.send(tokenSource={"resource": "https://r", "kind": "AzureManagedIdentity"})
    assert web.asked[0].headers["authorization"] == "Bearer t"
    assert seen == [{"resource": "https://r", "kind": "AzureManagedIdentity", "options": None}]


@pytest.mark.parametrize(
    ("status", "headers", "follow", "expected"),
    [
        (202, {"location": "/status"}, True, 1500),
        (202, {"location": "/status"}, False, None),
        (202, {}, True, None),
        (200, {"location": "/status"}, True, None),
    ],
)
async def test_the_hosts_poll_interval_goes_with_an_answer_that_is_followed_and_no_other(
    status: int, headers: dict[str, str], follow: bool, expected: int | None
) -> None:
    web = Web(poll_interval=timedelta(seconds=1.5))
    web.on("http://a/x", status, headers=headers)
    assert (await web.send(asynchronousPatternEnabled=follow)).get("pollAfterMilliseconds") == expected
