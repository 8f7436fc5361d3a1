"""HTTP triggers: finds the function a request is for, lets nobody in without the key, and sends what the function answers."""

import inspect
import traceback
import typing
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qs, unquote

import azure.functions as func
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from perdure.engine.errors import CommitFailedError, EngineStoppedError
from perdure.host.keys import HostKeys
from perdure.host.model import AsgiRoute, AuthLevel, HttpTrigger, TriggeredFunction, WsgiRoute
from perdure.host.triggers.errors import FunctionResultError, RouteConflictError, RouteTemplateError
from perdure.host.triggers.http_messages import (
    LimitedBody,
    answer,
    answer_azure,
    answer_text,
    azure_request,
    base_url_of,
    header,
    read_body,
)
from perdure.host.triggers.invoke import Invoker, log_failure
from perdure.host.triggers.mounted import Lifespan, run_wsgi
from perdure.host.triggers.routes import Route, compile_route
from perdure.store.errors import StoreUnavailableError

_NOT_NOW = (CommitFailedError, EngineStoppedError, StoreUnavailableError)
"""Not the function's fault: the caller should try again."""
_ALL_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """What the host's configuration says about HTTP functions."""

    route_prefix: str = "api"
    max_body_bytes: int = 100 * 1024 * 1024
    show_errors: bool = False
    """Answers a failing function's caller with the traceback. For development only."""
    use_forwarded_host: bool = False
    """Believes ``X-Forwarded-Host`` and ``X-Forwarded-Proto``: only behind a proxy that sets them."""


Handler = Callable[[Scope, LimitedBody, dict[str, str]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Entry:
    route: Route
    methods: frozenset[str]
    function: TriggeredFunction
    level: AuthLevel
    handler: Handler


class HttpFunctions:
    """The ASGI app of all HTTP functions. A path that is no function's goes to ``fallback``."""

    def __init__(
        self,
        functions: Iterable[TriggeredFunction],
        invoker: Invoker,
        keys: HostKeys | None,
        options: HttpOptions,
        *,
        fallback: ASGIApp,
    ) -> None:
        """Compiles all routes. Without keys everybody may call everything.

        Raises:
            RouteTemplateError, RouteConflictError: with the function and its place.
        """
        self._invoker = invoker
        self._keys = keys
        self._options = options
        self._fallback = fallback
        self._lifespans: dict[str, Lifespan] = {}
        entries = sorted(self._entries(functions), key=lambda entry: entry.route.rank)
        _check_conflicts(entries)
        self._literal: dict[str, list[_Entry]] = {}
        self._patterns: list[_Entry] = []
        for entry in entries:
            if entry.route.is_literal:
                self._literal.setdefault(entry.route.shape, []).append(entry)
            else:
                self._patterns.append(entry)

    async def start(self) -> None:
        """Starts the mounted ASGI apps."""
        for lifespan in self._lifespans.values():
            await lifespan.start()

    async def stop(self) -> None:
        """Ends the mounted ASGI apps."""
        for lifespan in self._lifespans.values():
            await lifespan.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        path = _path_of(scope).strip("/")
        method: str = scope["method"]
        allowed: set[str] = set()
        for entry, parameters in self._candidates(path):
            if method not in entry.methods and not (method == "HEAD" and "GET" in entry.methods):
                allowed |= entry.methods
                continue
            await self._serve(entry, scope, receive, send, parameters)
            return
        if not allowed:
            await self._fallback(scope, receive, send)
            return
        if "GET" in allowed:
            allowed.add("HEAD")
        allow = ", ".join(sorted(allowed | {"OPTIONS"}))
        if method == "OPTIONS":
            await answer(send, 204, headers=[(b"allow", allow.encode())])
        else:
            # 404 and not 405: that is what Azure Functions answers, for which the method is part of the route.
            await answer_text(send, 404, f"No function answers {method} here. Allowed: {allow}.", [(b"allow", allow.encode())])

    def _entries(self, functions: Iterable[TriggeredFunction]) -> Iterable[_Entry]:
        for function in functions:
            trigger = function.trigger
            match trigger:
                case HttpTrigger():
                    methods = frozenset(trigger.methods or ("GET", "POST"))
                    handler = self._function_handler(function, trigger)
                case AsgiRoute():
                    methods = frozenset(_ALL_METHODS)
                    handler = self._asgi_handler(function.name, cast(ASGIApp, trigger.app))
                case WsgiRoute():
                    methods = frozenset(_ALL_METHODS)
                    handler = self._wsgi_handler(cast("Callable[..., Iterable[bytes]]", trigger.app))
                case _:
                    continue
            template = f"{self._options.route_prefix.strip('/')}/{trigger.route.strip('/')}"
            try:
                route = compile_route(template)
            except RouteTemplateError as error:
                raise RouteTemplateError(f"function '{function.name}' ({function.place}): {error.message}") from None
            yield _Entry(route, methods, function, trigger.auth_level, handler)

    def _candidates(self, path: str) -> Iterable[tuple[_Entry, dict[str, str]]]:
        for entry in self._literal.get(path.casefold(), ()):
            yield entry, {}
        for entry in self._patterns:
            parameters = entry.route.match(path)
            if parameters is not None:
                yield entry, parameters

    async def _serve(self, entry: _Entry, scope: Scope, receive: Receive, send: Send, parameters: dict[str, str]) -> None:
        keys = None if entry.level == "anonymous" else self._keys
        if keys is not None and not keys.opens_route(entry.level, _presented_key(scope)):
            await answer(send, 401)
            return
        limited = LimitedBody(receive, send, self._options.max_body_bytes)
        if await limited.declared_too_large(scope):
            return
        try:
            await entry.handler(scope, limited, parameters)
        except Exception as error:  # noqa: BLE001 - user code
            log_failure(entry.function, error)
            if not limited.has_answered:
                status, headers = (503, [(b"retry-after", b"1")]) if isinstance(error, _NOT_NOW) else (500, None)
                await answer_text(limited.send, status, self._explanation(entry.function, error), headers)

    def _explanation(self, function: TriggeredFunction, error: Exception) -> str:
        if self._options.show_errors:
            return "".join(traceback.format_exception(error))
        return f"Function '{function.name}' failed. What went wrong is in the host's log."

    def _function_handler(self, function: TriggeredFunction, trigger: HttpTrigger) -> Handler:
        streams = _wants_stream(function.call, trigger.parameter)

        async def handle(scope: Scope, limited: LimitedBody, parameters: dict[str, str]) -> None:
            base_url = base_url_of(scope, forwarded=self._options.use_forwarded_host)
            if streams:
                request: Any = Request({**scope, "path_params": parameters}, limited.receive)
            else:
                body = await read_body(limited.receive)
                if body is None:
                    return
                request = azure_request(scope, base_url, parameters, body)
            result, shown = await self._invoker.call(
                function,
                {trigger.parameter: request},
                base_url=base_url,
                traceparent=header(scope, b"traceparent") or "",
            )
            await _answer_result(scope, limited, result if result is not None else shown, function)

        return handle

    def _asgi_handler(self, name: str, app: ASGIApp) -> Handler:
        lifespan = self._lifespans[name] = Lifespan(app)

        async def handle(scope: Scope, limited: LimitedBody, parameters: dict[str, str]) -> None:
            await app({**scope, "state": {**scope.get("state", {}), **lifespan.state}}, limited.receive, limited.send)

        return handle

    def _wsgi_handler(self, app: Callable[..., Iterable[bytes]]) -> Handler:
        async def handle(scope: Scope, limited: LimitedBody, parameters: dict[str, str]) -> None:
            await run_wsgi(app, scope, limited.receive, limited.send, self._invoker.threads)

        return handle


async def _answer_result(scope: Scope, limited: LimitedBody, result: object, function: TriggeredFunction) -> None:
    match result:
        case None:
            await answer(limited.send, 204)
        case func.HttpResponse():
            await answer_azure(limited.send, result)
        case Response():
            await result(scope, limited.receive, limited.send)
        case str():
            await answer_text(limited.send, 200, result)
        case bytes():
            await answer(limited.send, 200, result, [(b"content-type", b"application/octet-stream")])
        case _:
            raise FunctionResultError(
                f"function '{function.name}' ({function.place}) returned a {type(result).__name__}, which can't be sent. Return "
                "func.HttpResponse(json.dumps(value), mimetype='application/json'), a str, bytes, a Starlette response, or None."
            )


def _check_conflicts(entries: list[_Entry]) -> None:
    taken: dict[tuple[str, str], TriggeredFunction] = {}
    for entry in entries:
        for method in sorted(entry.methods):
            other = taken.setdefault((entry.route.shape, method), entry.function)
            if other is not entry.function:
                raise RouteConflictError(
                    f"functions '{other.name}' ({other.place}) and '{entry.function.name}' ({entry.function.place}) both answer "
                    f"{method} /{entry.route.template}. Give one of them another route or other methods."
                )


def _presented_key(scope: Scope) -> str | None:
    key = header(scope, b"x-functions-key")
    if key is None and b"code=" in scope["query_string"]:
        key = next(iter(parse_qs(scope["query_string"].decode("latin-1")).get("code", ())), None)
    return key


def _path_of(scope: Scope) -> str:
    """The decoded path below the mount; an encoded slash stays encoded, since it separates nothing."""
    raw: bytes = scope.get("raw_path") or b""
    path: str = scope["path"]
    if b"%2f" in raw.lower():
        path = unquote(raw.split(b"?")[0].decode("latin-1").replace("%2f", "%252F").replace("%2F", "%252F"))
    return path.removeprefix(scope.get("root_path", ""))


def _wants_stream(call: Callable[..., Any], parameter: str) -> bool:
    """Whether the function's annotation asks for Starlette's (or FastAPI's) request, whose body it reads itself."""
    try:
        annotation = typing.get_type_hints(inspect.unwrap(call)).get(parameter)
    except (NameError, TypeError, AttributeError):
        return False
    return isinstance(annotation, type) and issubclass(annotation, Request)
