"""A request as the management API sees it: segments and parameters by name in any case, bodies within bounds."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes

import msgspec
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from perdure.core.status import OrchestrationRuntimeStatus
from perdure.host.management.errors import BAD_ARGUMENTS, BAD_JSON, RequestRefusedError, bad_argument

_MAX_PARAMETERS = 200
_HOST = re.compile(r"[\w.:\[\]-]{1,255}", re.ASCII)
_BOM = b"\xef\xbb\xbf"
_STATUSES = {status.lower(): status for status in OrchestrationRuntimeStatus}
_URL_SAFE = "!#$%&'()*+,/:;=?@[]~"


class ManagementRequest:
    """One request. Everything that reads from it refuses what it can't understand with an answer to the caller.

    ``segments`` are the parts of the path below the API's base, decoded one by one, so that an encoded slash divides nothing.
    """

    def __init__(self, scope: Scope, receive: Receive, *, max_body_bytes: int, forwarded_headers: bool) -> None:
        self._scope = scope
        self._receive = receive
        self._max_body_bytes = max_body_bytes
        self._forwarded_headers = forwarded_headers
        self.method: str = scope["method"]
        self.headers = Headers(scope=scope)
        self.raw_path: str = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1").partition("?")[0]
        root: str = scope.get("root_path", "").rstrip("/")
        self.segments = [_decoded(part) for part in self.raw_path.rstrip("/").split("/")[root.count("/") + 1 :]]
        self._base = "/".join(self.raw_path.split("/")[: root.count("/") + 1])
        self._parameters = _parsed(scope["query_string"])

    @property
    def words(self) -> list[str]:
        """The segments in lower case, to find the route by."""
        return [segment.lower() for segment in self.segments]

    @property
    def origin(self) -> str:
        """Scheme and host, as the caller sees them."""
        scheme: str = self._scope.get("scheme", "http")
        host = self.headers.get("host")
        if host is None:
            name, port = self._scope.get("server") or ("localhost", None)
            host = name if port is None else f"{name}:{port}"
        if self._forwarded_headers:
            scheme, host = _forwarded(self.headers, scheme, host)
        if scheme not in ("http", "https") or not _HOST.fullmatch(host):
            raise RequestRefusedError(400, BAD_ARGUMENTS, "the Host header (or what a proxy forwards of it) isn't a host name")
        return f"{scheme}://{host}"

    @property
    def base_url(self) -> str:
        """Where the caller found the API."""
        return self.origin + quote(self._base, safe=_URL_SAFE)

    @property
    def url(self) -> str:
        """What the caller asked for, fit for a Location header."""
        query = self._scope["query_string"].decode("latin-1")
        return self.origin + quote(self.raw_path + (f"?{query}" if query else ""), safe=_URL_SAFE)

    # --- query parameters -----------------------------------------------------------------------------------------

    def text(self, name: str) -> str | None:
        """The first value; ``None`` where there is none but white space."""
        for value in self._parameters.get(name.lower(), ()):
            if value.strip():
                return value
        return None

    def flag(self, name: str, default: bool) -> bool:
        """``true`` or ``false``, in any case."""
        value = self.text(name)
        if value is None:
            return default
        if value.strip().lower() not in ("true", "false"):
            raise bad_argument(name, value, "'true' or 'false'")
        return value.strip().lower() == "true"

    def seconds(self, name: str) -> float | None:
        """A number of seconds, not negative."""
        value = self.text(name)
        if value is None:
            return None
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            raise bad_argument(name, value, "a number of seconds, such as 2.5")
        return seconds

    def positive(self, name: str, default: int, most: int) -> int:
        """A whole number of at least 1; more than ``most`` counts as ``most``."""
        value = self.text(name)
        if value is None:
            return default
        # The length is checked because int() takes very long, or refuses, for thousands of digits.
        if not re.fullmatch(r"\d{1,18}", value.strip(), re.ASCII) or int(value) < 1:
            raise bad_argument(name, value, "a whole number of at least 1")
        return min(int(value), most)

    def moment(self, name: str) -> datetime | None:
        """A date and time as ISO 8601; without a zone it is UTC."""
        value = self.text(name)
        if value is None:
            return None
        for candidate in (value.strip(), value.strip().replace(" ", "+")):  # a plus that wasn't encoded arrives as a space
            try:
                moment = datetime.fromisoformat(candidate)
            except ValueError:
                continue
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        raise bad_argument(name, value, "a date and time as ISO 8601, such as 2026-01-31T12:00:00Z")

    def values(self, name: str) -> list[str]:
        """Comma-separated or repeated values."""
        parts = (part.strip() for value in self._parameters.get(name.lower(), ()) for part in value.split(","))
        return [part for part in parts if part]

    def statuses(self, name: str) -> Sequence[OrchestrationRuntimeStatus] | None:
        """Statuses in any case; ``None`` where there are none."""
        found: list[OrchestrationRuntimeStatus] = []
        for value in self.values(name):
            status = _STATUSES.get(value.lower())
            if status is None:
                raise bad_argument(name, value, f"one or more of {', '.join(OrchestrationRuntimeStatus)}")
            found.append(status)
        return found or None

    # --- body -----------------------------------------------------------------------------------------------------

    @property
    def media_type(self) -> str:
        """Of the body, without its parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def body(self) -> bytes:
        """All of it, unless it is too large."""
        refused = RequestRefusedError(413, "The request is too large", f"a request body may have {self._max_body_bytes} bytes")
        length = self.headers.get("content-length", "")
        if length.isdecimal() and (len(length) > 18 or int(length) > self._max_body_bytes):
            raise refused
        body = bytearray()
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body += message.get("body", b"")
            if len(body) > self._max_body_bytes:
                raise refused
            if not message.get("more_body", False):
                return bytes(body).removeprefix(_BOM)

    async def json(self) -> Any:
        """The JSON value of the body."""
        return parse_json(await self.body())


def parse_json(body: bytes) -> Any:
    """The JSON value, or a refusal that says where it isn't one."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RequestRefusedError(400, BAD_JSON, f"the body isn't JSON that can be stored: {error}") from error


def _decoded(segment: str) -> str:
    try:
        return unquote_to_bytes(segment.encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise RequestRefusedError(400, BAD_ARGUMENTS, f"the part {segment[:80]!r} of the path isn't UTF-8") from None


def _parsed(query: bytes) -> dict[str, list[str]]:
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict")
    except UnicodeDecodeError:
        raise RequestRefusedError(400, BAD_ARGUMENTS, "the query string isn't UTF-8") from None
    except ValueError:
        raise RequestRefusedError(400, BAD_ARGUMENTS, f"there are more than {_MAX_PARAMETERS} query parameters") from None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name.lower(), []).append(value)
    return found


def _forwarded(headers: Headers, scheme: str, host: str) -> tuple[str, str]:
    """Scheme and host that the nearest client of a chain of proxies used."""
    scheme = headers.get("x-forwarded-proto", scheme).partition(",")[0].strip().lower()
    host = headers.get("x-forwarded-host", host).partition(",")[0].strip()
    for part in headers.get("forwarded", "").partition(",")[0].split(";"):
        name, _, value = part.partition("=")
        if name.strip().lower() == "proto":
            scheme = value.strip().strip('"').lower()
        elif name.strip().lower() == "host":
            host = value.strip().strip('"')
    return scheme, host
