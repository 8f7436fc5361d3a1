"""An app whose activities leave effects in the hub's database, for hubs in tests and in processes that are going to be killed."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import perdure as df
from tests.effects import Place

Moment = Callable[[str], Any]


def _never(_: str) -> None:
    return None


def transactional_app(place: Place, style: str, *, written: Moment = _never, timeout: timedelta | None = None) -> df.DFApp:
    """``write`` inserts its input as an effect; ``written`` is called (and awaited, in an ``async def``) right afterwards."""
    app = df.DFApp()
    if style == "async":

        @app.activity_trigger(input_name="name", activity="write", transactional=True, timeout=timeout)
        async def write_async(name: str, connection: Any) -> str:
            result = connection.execute(place.insert(name))
            if not place.is_sqlite:
                await result
            pause = written(name)
            if pause is not None:
                await pause
            return f"wrote {name}"

    else:

        @app.activity_trigger(input_name="name", activity="write", transactional=True, timeout=timeout)
        def write(name: str, connection: Any) -> str:
            connection.execute(place.insert(name))
            written(name)
            return f"wrote {name}"

    @app.orchestration_trigger(context_name="context", input_type=list[str])
    async def chain(context: df.DurableOrchestrationContext) -> list[str]:
        return [await context.call_activity("write", name) for name in context.get_input()]

    @app.orchestration_trigger(context_name="context", input_type=list[str])
    async def fan(context: df.DurableOrchestrationContext) -> list[str]:
        return await context.task_all([context.call_activity("write", name) for name in context.get_input()])

    @app.orchestration_trigger(context_name="context", input_type=str)
    async def stubborn(context: df.DurableOrchestrationContext) -> str:
        options = df.RetryOptions(first_retry_interval_in_milliseconds=1, max_number_of_attempts=3)
        return await context.call_activity_with_retry("write", options, context.get_input())

    return app
