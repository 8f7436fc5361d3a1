"""Activities of an app of azure-functions-durable 2.x, as the engine runs them. The SDK isn't imported here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from perdure.core.functions import ActivityFunction
from perdure.host.azure_preview.converter import PreviewConverter
from perdure.host.model import ClientParameter, WorkFunctions
from perdure.host.tracebacks import users_trace
from perdure.host.triggers.invoke import InvocationContext, is_async


def activity_function(
    name: str,
    call: Callable[..., Any],
    parameter: str,
    *,
    context: str | None,
    clients: tuple[ClientParameter, ...],
    app: WorkFunctions,
    folder: Path,
) -> ActivityFunction:
    """The user's activity: called by keyword, with the clients and the invocation context that it has parameters for."""

    def arguments(value: Any) -> dict[str, Any]:
        passed = {parameter: value}
        for client in clients:
            assert app.client is not None  # activities run in a host only
            passed[client.name] = app.client(client)
        if context is not None:
            passed[context] = InvocationContext(name, str(folder), "")
        return passed

    def run(value: Any) -> Any:
        try:
            return call(**arguments(value))
        except Exception as error:
            _show_users_code(error)
            raise

    async def run_async(value: Any) -> Any:
        try:
            return await call(**arguments(value))
        except Exception as error:
            _show_users_code(error)
            raise

    if is_async(call):
        return ActivityFunction(name, run_async, "loop", converter=PreviewConverter)
    return ActivityFunction(name, run, "thread", converter=PreviewConverter)


def _show_users_code(error: Exception) -> None:
    own = error.__traceback__
    if own is not None and own.tb_next is not None:
        error.__traceback__ = users_trace(own.tb_next)
