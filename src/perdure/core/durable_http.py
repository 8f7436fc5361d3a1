"""Durable HTTP: a request made by an activity, and the polling that follows a 202, as one task. Pure: the activity does the I/O.

Names and shapes are those of Durable Functions' ``CallHttpAsync``, so that any worker's HTTP activity can serve it.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

from perdure.core.errors import PerdureError
from perdure.core.recorder import Recorder
from perdure.core.tasks import Composite, Task, TimerTask
from perdure.core.times import duration_us, to_us

HTTP_ACTIVITY = "BuiltIn::HttpActivity"
"""Name of the activity that makes one request: JSON object in, ``{"statusCode", "headers", "content"}`` out."""
POLL_AFTER = "pollAfterMilliseconds"
"""What the HTTP activity may add to a 202 answer: how long to wait where its sender says nothing. So it is in the history."""
DEFAULT_POLL_INTERVAL = timedelta(seconds=30)
"""Between polls where neither says it, as in Durable Functions."""
_ACCEPTED = 202
_HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"
_HOST_KEY = "x-functions-key"
_SECRETS = frozenset({"authorization", "cookie", "proxy-authorization"})


class DurableHttpError(PerdureError):
    """An HTTP call of an orchestrator can't be made, or its answer can't be followed."""

    code = "PD1107"


def http_request(
    method: str,
    uri: str,
    content: str | None,
    headers: Mapping[str, str] | None,
    token_source: Any,
    *,
    timeout: timedelta | None,
    status_codes_to_retry: tuple[int, ...] | None,
    follow: bool,
) -> dict[str, Any]:
    """The input of the HTTP activity. What isn't given is left out.

    Raises:
        DurableHttpError: ``uri`` isn't an absolute http(s) address, or ``token_source`` can't be written as JSON.
    """
    _check_address(uri, "call_http")
    request: dict[str, Any] = {"method": method.upper(), "uri": uri, "asynchronousPatternEnabled": follow}
    if content is not None:
        request["content"] = content
    if headers:
        request["headers"] = dict(headers)
    if token_source is not None:
        request["tokenSource"] = _token_source(token_source)
    if timeout is not None:
        request["timeout"] = timespan(timeout)
    if status_codes_to_retry is not None:
        request["retryOptions"] = {"statusCodesToRetry": list(status_codes_to_retry)}
    return request


def timespan(duration: timedelta) -> str:
    """A duration as .NET writes it: ``[d.]hh:mm:ss[.fffffff]``."""
    minutes, seconds = divmod(duration.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days = f"{duration.days}." if duration.days else ""
    fraction = f".{duration.microseconds * 10:07d}" if duration.microseconds else ""
    return f"{days}{hours:02d}:{minutes:02d}:{seconds:02d}{fraction}"


class HttpTask(Composite[Any]):
    """A request and its polls. Completes with the first answer that isn't 202, or that says not where to poll."""

    __slots__ = ("_recorder", "_request", "_send")

    def __init__(self, request: dict[str, Any], send: Callable[[dict[str, Any]], Task[Any]], recorder: Recorder) -> None:
        super().__init__()
        self._request = request
        self._send = send
        self._recorder = recorder
        send(request).watch(self)

    def child_settled(self, child: Task[Any]) -> None:
        """The answer to a request is there, or it is time for the next poll."""
        try:
            if isinstance(child, TimerTask):
                self._send(self._request).watch(self)
            elif child.error is not None:
                self.settle(None, child.error)
            else:
                self._answered(child.result)
        except Exception as error:  # noqa: BLE001 - an answer that makes no sense fails this call, in the user's code
            self.settle(None, error)

    def _answered(self, response: Any) -> None:
        given: dict[str, Any] = response.get("headers") or {}
        headers = {name.lower(): _single(value) for name, value in given.items()}
        location = headers.get("location")
        if response["statusCode"] != _ACCEPTED or not self._request["asynchronousPatternEnabled"] or location is None:
            self.settle(response)
            return
        self._request = _poll(self._request, location)
        now_us = self._recorder.now_us
        default_ms: int = response.get(POLL_AFTER, duration_us(DEFAULT_POLL_INTERVAL) // 1000)
        self._recorder.create_timer(now_us + _wait_us(headers.get("retry-after"), now_us, default_ms * 1000)).watch(self)


def _poll(request: dict[str, Any], location: str) -> dict[str, Any]:
    """A GET of ``location`` on the same terms; credentials go to the address they were meant for only."""
    uri = urljoin(request["uri"], location)
    _check_address(uri, "the Location header of a 202 answer")
    foreign = _origin(uri) != _origin(request["uri"])
    dropped = {_HOST_KEY, *_SECRETS} if foreign else {_HOST_KEY}
    poll = {key: value for key, value in request.items() if key not in ("content", "headers")}
    poll.update(method="GET", uri=uri)
    if foreign:
        poll.pop("tokenSource", None)
    headers = {name: value for name, value in request.get("headers", {}).items() if name.lower() not in dropped}
    if headers:
        poll["headers"] = headers
    return poll


def _origin(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    return parts.scheme.lower(), parts.netloc.lower()


def _wait_us(retry_after: str | None, now_us: int, default_us: int) -> int:
    if retry_after is None:
        return default_us
    if retry_after.strip().isdecimal():
        return int(retry_after) * 1_000_000
    try:
        moment = datetime.strptime(retry_after, _HTTP_DATE).replace(tzinfo=UTC)
    except ValueError:
        return default_us
    return max(0, to_us(moment) - now_us)


def _single(value: Any) -> str:
    """Header values come as text or as a list of texts."""
    return str(cast("list[object]", value)[0]) if isinstance(value, list) and value else str(cast("object", value))


def _check_address(uri: str, source: str) -> None:
    scheme, host, *_ = urlsplit(uri)
    if scheme.lower() not in ("http", "https") or not host:
        raise DurableHttpError(f"{source} names {uri!r}, which isn't an absolute http:// or https:// address. Correct it.")


def _token_source(source: Any) -> Any:
    if isinstance(source, Mapping):
        return dict(cast("Mapping[str, Any]", source))
    to_json = getattr(source, "to_json", None)
    if to_json is None:
        raise DurableHttpError(
            f"token_source of call_http is a {type(source).__name__}. Pass a mapping such as {{'resource': 'https://...'}}, or "
            "an object with to_json()."
        )
    return to_json()
