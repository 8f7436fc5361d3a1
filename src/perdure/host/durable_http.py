"""``call_http``: one HTTP request as a durable activity. Waiting and asking again after a 202 is the orchestrator's part.

A request whose host died is sent again, so each carries an ``Idempotency-Key`` that stays the same for all runs of one call.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import msgspec

from perdure.core.durable_http import DEFAULT_POLL_INTERVAL, HTTP_ACTIVITY, POLL_AFTER
from perdure.core.errors import PerdureError
from perdure.core.functions import ActivityFunction
from perdure.engine.activities import activity_context

if TYPE_CHECKING:
    import httpx

_DEFAULT_TIMEOUT = timedelta(seconds=100)
_MAX_REDIRECTS = 10
_SECRETS = ("authorization", "cookie", "proxy-authorization", "x-functions-key")
_NOT_REPEATED = ("content-length", "content-type", "transfer-encoding")

TokenSource = Callable[[Mapping[str, Any]], str | Awaitable[str]]
"""Gets a request's ``tokenSource`` (``resource``, ``kind``, ``options``), returns the bearer token for it."""


class HttpCallError(PerdureError):
    """The request of a ``call_http`` can't be sent as it is, got no answer, or one that can't be kept."""

    code = "PD4220"


class HttpStatusError(PerdureError):
    """The answer has a status for which ``retryOptions`` ask for another try."""

    code = "PD4221"


class RetryOptions(msgspec.Struct, frozen=True, rename="camel"):
    """The part of ``retryOptions`` that decides whether an answer counts as a failure."""

    status_codes_to_retry: list[int] = []


class TokenRequest(msgspec.Struct, frozen=True, rename="camel"):
    """What the orchestrator said about the token."""

    resource: str
    kind: str = ""
    options: dict[str, Any] | None = None


class DurableHttpRequest(msgspec.Struct, frozen=True, rename="camel"):
    """A request as ``call_http`` writes it down."""

    method: str
    uri: str
    headers: dict[str, str | list[str]] | None = None
    content: str | None = None
    token_source: TokenRequest | None = None
    timeout: str | float | None = None
    """``hh:mm:ss``, or seconds."""
    retry_options: RetryOptions | None = None
    asynchronous_pattern_enabled: bool = True


class HttpActivity:
    """Sends the requests of ``call_http``."""

    def __init__(
        self,
        *,
        token_source: TokenSource | None = None,
        max_response_bytes: int,
        poll_interval: timedelta = DEFAULT_POLL_INTERVAL,
        transport: "httpx.AsyncBaseTransport | None" = None,
    ) -> None:
        """``poll_interval`` is the pause after a 202 that says none; ``transport`` sends instead of the network."""
        self._token_source = token_source
        self._max_response_bytes = max_response_bytes
        self._poll_interval = poll_interval
        self._transport = transport
        self._http: httpx.AsyncClient | None = None

    def activity(self) -> ActivityFunction:
        """What the engine has to know."""
        return ActivityFunction(HTTP_ACTIVITY, self.send, "loop", input_type=object)

    async def close(self) -> None:
        """Closes the connections."""
        if self._http is not None:
            await self._http.aclose()

    async def send(self, value: Any) -> dict[str, Any]:
        """The answer as ``{"statusCode", "headers", "content"}``, whatever its status.

        Raises:
            HttpCallError: no answer, or the request can't be sent.
            HttpStatusError: ``retryOptions`` name its status.
        """
        import httpx  # most apps never call it, and it is slow to import

        request = _request(value)
        headers = await self._headers(request)
        if self._http is None:
            self._http = httpx.AsyncClient(follow_redirects=False, transport=self._transport)
        method, url, content = request.method.upper(), _url(request.uri), request.content
        timeout = _timeout(request.timeout).total_seconds()
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                async with self._http.stream(method, url, headers=headers, content=content, timeout=timeout) as response:
                    location = response.headers.get("location")
                    if response.status_code not in (301, 302, 303, 307, 308) or location is None:
                        return await self._answer(request, response)
                target = _url(str(url.join(location)))
                if response.status_code == 303 or (response.status_code in (301, 302) and method == "POST"):
                    method, content = "HEAD" if method == "HEAD" else "GET", None
                    headers = {name: value for name, value in headers.items() if name not in _NOT_REPEATED}
                if (target.scheme, target.host, target.port) != (url.scheme, url.host, url.port):
                    headers = {name: value for name, value in headers.items() if name not in _SECRETS}
                url = target
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise HttpCallError(f"{method} {url}: no answer: {error or type(error).__name__}") from error
        raise HttpCallError(f"{request.method} {request.uri}: more than {_MAX_REDIRECTS} redirects")

    async def _headers(self, request: DurableHttpRequest) -> dict[str, str]:
        headers = {
            name.lower(): value if isinstance(value, str) else ", ".join(value) for name, value in (request.headers or {}).items()
        }
        if headers.get("content-type", "").lower().startswith("multipart/"):
            raise HttpCallError("multipart content is not supported by call_http: send it from an activity of your own")
        if request.content is not None:
            headers.setdefault("content-type", "text/plain; charset=utf-8")
        headers.setdefault("idempotency-key", activity_context().idempotency_key)
        if request.token_source is not None:
            headers["authorization"] = f"Bearer {await self._token(request.token_source)}"
        return headers

    async def _token(self, wanted: TokenRequest) -> str:
        if self._token_source is None:
            raise HttpCallError(
                f"call_http asks for a token for '{wanted.resource}', but this host has no token source. Give it one: "
                "perdure.asgi(app, token_source=...) or FunctionsHost(..., token_source=...)."
            )
        token = self._token_source({"resource": wanted.resource, "kind": wanted.kind, "options": wanted.options})
        return await token if inspect.isawaitable(token) else token

    async def _answer(self, request: DurableHttpRequest, response: "httpx.Response") -> dict[str, Any]:
        options = request.retry_options
        if options is not None:
            listed = options.status_codes_to_retry
            if response.status_code in listed or (not listed and not response.is_success):
                raise HttpStatusError(f"{request.method} {request.uri}: {response.status_code} {response.reason_phrase}")
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > self._max_response_bytes:
                raise HttpCallError(
                    f"{request.method} {request.uri}: the answer is longer than {self._max_response_bytes} bytes, the limit of "
                    "the hub for payloads. Fetch it in an activity of your own, and pass on where you put it."
                )
        headers: dict[str, Any] = {}
        for name in response.headers:
            values = response.headers.get_list(name)
            headers[name] = values[0] if len(values) == 1 else values
        text = bytes(body).decode(response.charset_encoding or "utf-8", errors="replace")
        answer = {"statusCode": response.status_code, "headers": headers, "content": text}
        followed = request.asynchronous_pattern_enabled and response.status_code == 202 and "location" in headers
        if followed and self._poll_interval != DEFAULT_POLL_INTERVAL:
            answer[POLL_AFTER] = self._poll_interval // timedelta(milliseconds=1)
        return answer


def _request(value: Any) -> DurableHttpRequest:
    """The request: alone, or first in a list, as Durable Functions passes it."""
    if isinstance(value, list):
        items = cast("list[object]", value)
        value = items[0] if items else None
    try:
        return msgspec.convert(value, DurableHttpRequest)
    except msgspec.ValidationError as error:
        raise HttpCallError(f"{HTTP_ACTIVITY} got no HTTP request: {error}") from None


def _url(text: str) -> "httpx.URL":
    import httpx

    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise HttpCallError(f"'{text}' is no URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise HttpCallError(f"'{text}' is no http:// or https:// URL")
    return url


def _timeout(value: str | float | None) -> timedelta:
    if value is None:
        return _DEFAULT_TIMEOUT
    if not isinstance(value, str):
        return timedelta(seconds=value)
    found = re.fullmatch(r"(?:(\d+)\.)?(\d+):(\d+):(\d+(?:\.\d+)?)", value)
    if found is None:
        raise HttpCallError(f"timeout '{value}' is no TimeSpan: write hh:mm:ss")
    return timedelta(days=int(found[1] or 0), hours=int(found[2]), minutes=int(found[3]), seconds=float(found[4]))
