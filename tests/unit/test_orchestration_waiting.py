"""What an orchestrator may not await, and what becomes of one that waits when it is dropped from memory."""

import asyncio
import inspect
from datetime import timedelta
from typing import Any

import pytest

from perdure.core.code import NotDurableError
from perdure.core.functions import OrchestratorFunction
from tests.unit.driver import World


def line_of(function: Any, text: str) -> int:
    """The line of this file on which the function says that."""
    lines, first = inspect.getsourcelines(function)
    (offset,) = [offset for offset, line in enumerate(lines) if text in line]
    return first + offset


NOT_TASKS = [(1, "a value of type int"), ([], "a value of type list"), ("say", "a value of type str")]


@pytest.mark.parametrize(("value", "named"), NOT_TASKS, ids=lambda value: repr(value))
def test_yielding_what_is_no_task_says_what_to_do_instead_and_where(value: Any, named: str):
    world = World("generator")

    def odd(context):
        yield context.wait_for_external_event("go")
        yield value

    instance = world.start(world.app.orchestrator(odd))
    world.raise_event("go")
    assert instance.failure.type == "perdure.NotDurableError"
    assert instance.failure.message == (
        f"[PD1202] the orchestrator awaited {named} at {__file__}:{line_of(odd, 'yield value')} in odd; "
        "only durable tasks can be awaited here. Instead: await what the context's methods return, and call activities through "
        "context.call_activity."
    )


def test_awaiting_asyncio_says_what_to_do_instead_and_where():
    world = World()

    async def sleeps(context):
        await helper()

    async def helper():
        await asyncio.sleep(1)

    async def sleeps_0(context):
        await asyncio.sleep(0)

    async def gathers(context):
        await asyncio.gather(context.create_timer(timedelta(seconds=1)), context.create_timer(timedelta(seconds=2)))

    async def run() -> dict[str, str]:
        asyncio.get_running_loop().set_exception_handler(lambda loop, told: None)  # gather's own tasks fail, unobserved
        told = {}
        for function in (sleeps, sleeps_0, gathers):
            world.app.orchestrators[function.__name__] = OrchestratorFunction(function.__name__, function)
            failure = world.start(function.__name__, instance_id=function.__name__).failure
            assert failure.type == "perdure.NotDurableError"
            told[function.__name__] = failure.message
        await asyncio.sleep(0)
        return told

    told = asyncio.run(run())
    places = {
        "sleeps": f"{line_of(helper, 'asyncio.sleep')} in helper",
        "sleeps_0": f"{line_of(sleeps_0, 'asyncio.sleep')} in sleeps_0",
        "gathers": f"{line_of(gathers, 'asyncio.gather')} in gathers",
    }
    for name, place in places.items():
        assert told[name] == (
            f"[PD1202] the orchestrator awaited something of asyncio at {__file__}:{place}; only durable tasks can be "
            "awaited here. Instead: do I/O in an activity; wait with context.create_timer; join tasks with context.task_all or "
            "context.task_any."
        )


def test_the_error_is_raised_where_the_code_awaits_so_that_it_can_go_on():
    world = World("generator")

    def odd(context):
        try:
            yield 1
        except NotDurableError as error:
            name = type(error).__name__
        return [name, (yield context.wait_for_external_event("go"))]

    instance = world.start(world.app.orchestrator(odd))
    world.raise_event("go", 1)
    assert instance.output == ["NotDurableError", 1]


@pytest.mark.parametrize("method", ["task_all", "task_any"])
def test_joining_what_is_no_task_is_refused(world: World, method: str):
    def odd(context):
        timer = context.create_timer(timedelta(seconds=1))
        yield getattr(context, method)([timer, "result"])

    failure = world.start(world.app.orchestrator(odd)).failure
    assert failure.type == "perdure.NotDurableError"
    assert f"context.{method} got str at position 1" in failure.message


# --- clean-up code of instances that are only dropped from memory -----------------------------------------------------


@pytest.mark.parametrize("style", ["generator", "coroutine"])
def test_finally_blocks_do_nothing_when_an_instance_is_dropped_from_memory(style: Any):
    world = World(style)
    reached: list[str] = []

    def careful(context):
        task = context.call_activity("work")
        try:
            yield context.wait_for_external_event("go")
        except Exception:  # noqa: BLE001 - must not catch it
            reached.append("except Exception")
        finally:
            reached.append("finally")
            for action in (
                lambda: context.call_activity("clean_up"),
                lambda: context.call_sub_orchestrator("clean_up"),
                lambda: context.create_timer(timedelta(0)),
                lambda: context.wait_for_external_event("x"),
                lambda: context.set_custom_status("cleaned up"),
                lambda: context.continue_as_new(1),
            ):
                try:
                    action()
                except BaseException as error:  # noqa: BLE001 - to see what it is
                    reached.append(type(error).__name__)
            assert context.is_replaying
            context.call_activity("clean_up")
            reached.append("after")
            yield task

    instance = world.start(world.app.orchestrator(careful))
    stored, projection = list(instance.stored), instance.orchestration.projection()
    instance.orchestration.close()
    assert reached == ["finally", *["Dehydrated"] * 6]
    assert [data for _, data in stored] == instance.orchestration.segments
    assert instance.orchestration.projection() == projection


@pytest.mark.parametrize("style", ["generator", "coroutine"])
def test_finally_blocks_that_wait_are_simply_dropped(style: Any):
    world = World(style)

    def careful(context):
        task = context.call_activity("work")
        try:
            yield context.wait_for_external_event("go")
        finally:
            yield task

    instance = world.start(world.app.orchestrator(careful))
    instance.orchestration.close()
    instance.orchestration.close()  # twice is once
    assert instance.status == "Running"


@pytest.mark.parametrize("wait", ["timer", "event"])
def test_awaiting_what_the_code_has_cancelled_is_an_error_and_not_an_endless_wait(wait: str):
    world = World("generator")

    def forgetful(context):
        task = context.create_timer(timedelta(1)) if wait == "timer" else context.wait_for_external_event("go")
        task.cancel()
        yield task

    instance = world.start(world.app.orchestrator(forgetful))
    assert instance.failure.type == "perdure.TaskCanceledError"
    assert f"{__file__}:{line_of(forgetful, 'yield task')}" in instance.failure.message


def test_a_task_as_output_is_told_to_be_a_forgotten_wait(world: World):
    def forgetful(context):
        yield context.wait_for_external_event("go")
        return context.call_activity("Double", 1)

    instance = world.start(world.app.orchestrator(forgetful))
    world.raise_event("go")
    assert instance.failure.type == "perdure.NotDurableError"
    assert "orchestrator 'forgetful' returned a task instead of its result; write 'yield'" in instance.failure.message
