"""Functions of an app of azure-functions-durable 1.x as the engine runs them: the user's own code, natively."""

import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from perdure.core.functions import ActivityFunction, OrchestratorFunction
from perdure.host.azure.converter import AzureConverter
from perdure.host.azure.flavour import FLAVOUR


def orchestrator_function(name: str, handle: Any) -> OrchestratorFunction:
    """The user's function behind what ``df.Orchestrator.create`` returned."""
    return OrchestratorFunction(
        name, handle.orchestrator_function, input_type=getattr(handle, "_df_input_type", None), flavour=FLAVOUR
    )


def activity_function(name: str, call: Callable[..., Any], parameter: str, context: str | None, folder: Path) -> ActivityFunction:
    """The user's activity: called by keyword, with the invocation context if it has a parameter for that."""

    def arguments(value: Any) -> dict[str, Any]:
        return {parameter: value} if context is None else {parameter: value, context: _invocation(name, folder)}

    def run(value: Any) -> Any:
        return call(**arguments(value))

    async def run_async(value: Any) -> Any:
        return await call(**arguments(value))

    is_async = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(inspect.unwrap(call))
    return ActivityFunction(name, run_async if is_async else run, "loop" if is_async else "thread", converter=AzureConverter)


def _invocation(name: str, folder: Path) -> Any:
    return SimpleNamespace(
        invocation_id=str(uuid4()),
        function_name=name,
        function_directory=str(folder / name),
        thread_local_storage=threading.local(),
        trace_context=SimpleNamespace(trace_parent="", Traceparent="", trace_state="", Tracestate="", attributes={}),
        retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
    )
