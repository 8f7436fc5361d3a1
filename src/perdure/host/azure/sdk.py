"""The user's SDK, imported on use: apps written for Perdure don't need it. Untyped, because its own annotations don't hold."""

from functools import cache
from importlib import import_module
from typing import Any


@cache
def serialization() -> Any:
    """``df_dumps`` and ``df_loads``."""
    return import_module("azure.durable_functions.models.utils.df_serialization")


@cache
def type_discovery() -> Any:
    """What finds the type of an activity's result."""
    return import_module("azure.durable_functions.models.utils.type_discovery")


@cache
def task_states() -> Any:
    """The values of ``task.state``."""
    return import_module("azure.durable_functions.models.Task").TaskState


def history_event(fields: dict[str, Any]) -> Any:
    """One of ``context.histories``."""
    return import_module("azure.durable_functions.models.history.HistoryEvent").HistoryEvent(**fields)


def function_context(**fields: Any) -> Any:
    """``context.function_context``."""
    return import_module("azure.durable_functions.models.FunctionContext").FunctionContext(**fields)


async def close_session() -> None:
    """Closes the connections of the SDK's client, which it shares and never closes itself: asyncio would complain at the end."""
    close = getattr(import_module("azure.durable_functions.models.utils.http_utils"), "_close_session", None)
    if close is not None:
        await close()
