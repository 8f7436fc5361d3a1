"""The functions under measurement: no-op activities that return a small value, and orchestrators that do nothing else."""

import time
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import perdure as df

marks: list[tuple[float, float]] = []
"""Wall and CPU time at every 1,000th step of a marked chain."""

Steps = Generator[df.Task[Any], Any, Any]


def make_app(activities: str = "async") -> df.DFApp:
    """``activities``: ``async`` for ``async def``, ``def`` for threads."""
    app = df.DFApp()
    if activities == "async":

        @app.activity_trigger("number", activity="step")
        async def step_async(number: int) -> int:  # pyright: ignore[reportUnusedFunction]
            return number + 1
    else:

        @app.activity_trigger("number", activity="step")
        def step_def(number: int) -> int:  # pyright: ignore[reportUnusedFunction]
            return number + 1

    app.register_functions(_common)
    return app


_common = df.Blueprint()


@_common.activity_trigger("number")
async def marked_step(number: int) -> int:
    if number % 1000 == 0:
        marks.append((time.perf_counter(), time.process_time()))
    return number + 1


@_common.activity_trigger("city")
async def say_hello(city: str) -> str:
    return f"Hello {city}!"


@_common.orchestration_trigger("context")
def chain(context: df.DurableOrchestrationContext) -> Steps:
    number = 0
    for _ in range(context.get_input()):
        number = yield context.call_activity("step", number)
    return number


@_common.orchestration_trigger("context")
def marked_chain(context: df.DurableOrchestrationContext) -> Steps:
    number = 0
    for _ in range(context.get_input()):
        number = yield context.call_activity("marked_step", number)
    return number


@_common.orchestration_trigger("context")
def hello_cities(context: df.DurableOrchestrationContext) -> Steps:
    greetings = []
    for city in ("Tokyo", "Seattle", "London", "Amsterdam", "Mumbai"):
        greeting = yield context.call_activity("say_hello", city)
        greetings.append(greeting)
    return greetings


@_common.orchestration_trigger("context")
def fan_out(context: df.DurableOrchestrationContext) -> Steps:
    results = yield context.task_all([context.call_activity("step", number) for number in range(context.get_input())])
    return sum(results)


@_common.orchestration_trigger("context")
def wait_for_go(context: df.DurableOrchestrationContext) -> Steps:
    return (yield context.wait_for_external_event("go"))


@_common.orchestration_trigger("context")
def wait_a_month(context: df.DurableOrchestrationContext) -> Steps:
    go = context.wait_for_external_event("go")
    yield context.task_any([context.create_timer(timedelta(days=30)), go])
    return "go" if go.is_completed else "late"


@_common.orchestration_trigger("context")
def chain_then_wait(context: df.DurableOrchestrationContext) -> Steps:
    number = 0
    for _ in range(context.get_input()):
        number = yield context.call_activity("step", number)
    context.set_custom_status("waiting")
    yield context.wait_for_external_event("go")
    return number


@_common.orchestration_trigger("context")
def fan_out_then_wait(context: df.DurableOrchestrationContext) -> Steps:
    results = yield context.task_all([context.call_activity("step", number) for number in range(context.get_input())])
    context.set_custom_status("waiting")
    yield context.wait_for_external_event("go")
    return sum(results)
