"""Runs a user's function for a trigger: its arguments by name, in a thread or on the loop, within ``functionTimeout``."""

import asyncio
import contextvars
import functools
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Protocol, cast
from uuid import uuid4

import azure.functions as func

from perdure.host.model import ClientParameter, Output, TriggeredFunction
from perdure.host.tracebacks import users_trace
from perdure.host.triggers.errors import FunctionTimeoutError

_log = logging.getLogger("perdure.functions")
_OWN_CODE = str(Path(__file__).parents[2])


class Clients(Protocol):
    """Makes what a client parameter gets."""

    def client(self, parameter: ClientParameter, *, blocking: bool, base_url: str | None) -> object:
        """The client. ``blocking``: for a ``def``; ``base_url``: how the caller of this invocation reaches the host."""
        ...


class QueueSender(Protocol):
    """Sends what functions put on queues."""

    async def send(self, output: Output, value: object, function: TriggeredFunction) -> None:
        """Returns once the queue has it."""
        ...


class Invoker:
    """Runs the functions of one app."""

    def __init__(
        self, clients: Clients, queues: QueueSender | None, *, folder: Path, threads: int, timeout: timedelta | None
    ) -> None:
        """``queues`` may be missing where no function has a queue output."""
        self._clients = clients
        self._queues = queues
        self._folder = folder
        self._timeout = None if timeout is None else timeout.total_seconds()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="perdure-function")

    @property
    def threads(self) -> ThreadPoolExecutor:
        """Where ``def`` functions run."""
        return self._threads

    async def call(
        self,
        function: TriggeredFunction,
        arguments: Mapping[str, Any],
        *,
        base_url: str | None = None,
        traceparent: str = "",
    ) -> tuple[Any, Any]:
        """What the function returned, and what it set on an ``http`` output parameter. Its queue outputs have been sent.

        Raises:
            FunctionTimeoutError: it took too long.
            Exception: whatever the function raised.
        """
        awaited = is_async(function.call)
        passed = dict(arguments)
        for parameter in function.clients:
            passed[parameter.name] = self._clients.client(parameter, blocking=not awaited, base_url=base_url)
        outs = {output.parameter: _Out() for output in function.outputs if output.parameter != "$return"}
        passed.update(outs)
        if function.context_parameter is not None:
            passed[function.context_parameter] = InvocationContext(function.name, str(self._folder), traceparent)
        result = await self._within_limit(function, self._run(function.call, passed, awaited=awaited))
        shown: Any = None
        for output in function.outputs:
            value = result if output.parameter == "$return" else outs[output.parameter].get()
            if output.kind == "queue" and value is not None:
                assert self._queues is not None
                await self._queues.send(output, value, function)
            elif output.kind == "http" and output.parameter != "$return":
                shown = value
        returns_to_queue = any(output.kind == "queue" and output.parameter == "$return" for output in function.outputs)
        return None if returns_to_queue else result, shown

    def close(self) -> None:
        """Takes no more functions; those that run in threads aren't waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, call: Callable[..., Any], arguments: dict[str, Any], *, awaited: bool) -> Any:
        if awaited:
            result = call(**arguments)
        else:
            bound = functools.partial(contextvars.copy_context().run, call, **arguments)
            result = await asyncio.get_running_loop().run_in_executor(self._threads, bound)
        # Decorators may hide which of the two a function is.
        return await cast("Awaitable[Any]", result) if inspect.isawaitable(result) else result

    async def _within_limit(self, function: TriggeredFunction, work: Awaitable[Any]) -> Any:
        if self._timeout is None:
            return await work
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                return await work
        except TimeoutError:
            if not limit.expired():
                raise
            raise FunctionTimeoutError(
                f"function '{function.name}' ({function.place}) took longer than functionTimeout ({self._timeout:g} s). Make it "
                "shorter (start an orchestration and answer at once), or raise functionTimeout in host.json."
            ) from None


@functools.lru_cache(maxsize=1024)
def is_async(call: Callable[..., Any]) -> bool:
    """Whether a call has to be awaited. Looked up once per function, since it costs as much as the rest of a call."""
    return inspect.iscoroutinefunction(inspect.unwrap(call)) or inspect.iscoroutinefunction(call)


def log_failure(function: TriggeredFunction, error: BaseException) -> None:
    """Writes the failure with the traceback of the user's own code, without the frames above it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and not _is_users(trace):
        trace = trace.tb_next
    if isinstance(error, FunctionTimeoutError):
        _log.error("%s", error)
    else:
        _log.error(
            "function '%s' (%s) failed: %s: %s", function.name, function.place, type(error).__name__, error,
            exc_info=(type(error), error, users_trace(trace)),
        )  # fmt: skip


def _is_users(trace: TracebackType) -> bool:
    file = trace.tb_frame.f_code.co_filename
    return not file.startswith(_OWN_CODE) and "/concurrent/futures/" not in file and "/asyncio/" not in file


class _Out(func.Out[Any]):
    """An output parameter."""

    def __init__(self) -> None:
        self._value: Any = None

    def set(self, val: Any) -> None:
        self._value = val

    def get(self) -> Any:
        return self._value


class InvocationContext(func.Context):
    """What a function may ask about its invocation."""

    def __init__(self, name: str, folder: str, traceparent: str) -> None:
        self._name = name
        self._folder = folder
        self._invocation_id = str(uuid4())
        self._trace = SimpleNamespace(
            trace_parent=traceparent, Traceparent=traceparent, trace_state="", Tracestate="", attributes={}
        )
        self._retry = SimpleNamespace(retry_count=0, max_retry_count=0, exception=None)
        self._local = threading.local()

    @property
    def invocation_id(self) -> str:
        """See ``azure.functions.Context``."""
        return self._invocation_id

    @property
    def function_name(self) -> str:
        """See ``azure.functions.Context``."""
        return self._name

    @property
    def function_directory(self) -> str:
        """See ``azure.functions.Context``."""
        return str(Path(self._folder) / self._name)

    @property
    def trace_context(self) -> Any:
        """See ``azure.functions.Context``."""
        return self._trace

    @property
    def retry_context(self) -> Any:
        """See ``azure.functions.Context``."""
        return self._retry

    @property
    def thread_local_storage(self) -> Any:
        """See ``azure.functions.Context``."""
        return self._local
