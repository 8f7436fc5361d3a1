"""User code in motion, behind one interface, whatever kind of function it is."""

import gc
from typing import Any

import pytest

from perdure.core.code import Code, NotDurableError, durable_tasks
from perdure.core.recorder import Dehydrated
from perdure.core.tasks import Task


def begun(function: Any) -> Code:
    code = Code()
    code.begin(function, "the context")
    return code


def test_a_plain_function_ends_at_once():
    code = begun(lambda context: [context])
    assert (code.ended, code.output, code.error, code.waiting_for) == (True, ["the context"], None, None)


def test_a_function_that_raises_ends_with_its_error():
    def broken(context):
        raise ValueError("no")

    code = begun(broken)
    assert (code.ended, code.output, repr(code.error)) == (True, None, "ValueError('no')")


TASK: Task[Any] = Task()


def generator(task: Task[Any], log: list[Any]) -> Any:
    def function(context):
        log.append(context)
        try:
            log.append((yield task))
        except ValueError as error:
            log.append(error)
        log.append((yield task) if not task.is_faulted else "faulted")
        return "done"

    return function


def coroutine(task: Task[Any], log: list[Any]) -> Any:
    async def function(context):
        log.append(context)
        try:
            log.append(await task)
        except ValueError as error:
            log.append(error)
        log.append(await task if not task.is_faulted else "faulted")
        return "done"

    return function


@pytest.mark.parametrize("style", [generator, coroutine])
def test_code_waits_for_an_open_task_and_takes_its_result(style: Any):
    task: Task[Any] = Task()
    log: list[Any] = []
    code = begun(style(task, log))
    assert (code.ended, code.waiting_for, log) == (False, task, ["the context"])
    code.resume()  # nothing has happened
    assert (code.waiting_for, len(log)) == (task, 1)
    task.settle(7)
    code.resume()
    assert (code.ended, code.output, log[1:]) == (True, "done", [7, 7])
    code.resume()  # after the end
    assert len(log) == 3


@pytest.mark.parametrize("style", [generator, coroutine])
def test_code_gets_the_error_of_a_task(style: Any):
    task: Task[Any] = Task()
    log: list[Any] = []
    code = begun(style(task, log))
    error = ValueError("no")
    task.settle(None, error)
    code.resume()
    assert (code.output, log[1:]) == ("done", [error, "faulted"])


@pytest.mark.parametrize("style", [generator, coroutine])
def test_code_runs_through_settled_tasks_without_waiting(style: Any):
    task: Task[Any] = Task()
    task.settle(7)
    log: list[Any] = []
    assert begun(style(task, log)).ended
    assert log[1:] == [7, 7]


def test_a_thousand_settled_tasks_in_a_row_need_no_stack():
    tasks: list[Task[Any]] = [Task() for _ in range(5000)]
    for number, task in enumerate(tasks):
        task.settle(number)

    def function(context):
        total = 0
        for task in tasks:
            total += yield task
        return total

    assert begun(function).output == sum(range(5000))


def test_delegation_to_inner_generators_and_coroutines():
    task: Task[Any] = Task()

    def inner():
        return (yield task) + 1

    def outer(context):
        return (yield from inner()) + 1

    async def inner_coroutine():
        return await task + 1

    async def outer_coroutine(context):
        return await inner_coroutine() + 1

    codes = [begun(outer), begun(outer_coroutine)]
    assert [code.position().rpartition(" in ")[2] for code in codes] == ["inner", "inner_coroutine"]
    assert {code.position().rpartition(":")[0] for code in codes} == {__file__}
    task.settle(1)
    for code in codes:
        code.resume()
        assert (code.output, code.position()) == (3, "its end")


def test_position_before_the_beginning():
    assert Code().position() == "its beginning"


def test_a_foreign_awaitable_is_refused_where_it_is_awaited():
    class Foreign:
        def __await__(self):
            return (yield "foreign")

    async def function(context):
        try:
            await Foreign()
        except NotDurableError as error:
            return error.message

    message = begun(function).output
    assert message.startswith("the orchestrator awaited a value of type str at ")


def test_joined_tasks_are_checked():
    tasks: list[Task[Any]] = [Task(), Task()]
    assert durable_tasks("task_all", iter(tasks)) == tasks
    mixed = [tasks[0], _closed_coroutine()]
    with pytest.raises(NotDurableError, match=r"context.task_any got coroutine at position 1; it joins durable tasks only"):
        durable_tasks("task_any", mixed)


def _closed_coroutine() -> Any:
    async def function():
        """Never runs."""

    made = function()
    made.close()
    return made


@pytest.mark.parametrize("raised", [None, ValueError("clean-up"), Dehydrated(), RuntimeError("x")], ids=repr)
def test_closing_runs_finally_blocks_and_ignores_what_they_raise(raised: BaseException | None):
    log: list[str] = []

    def function(context):
        try:
            yield Task()
        finally:
            log.append("finally")
            if raised is not None:
                raise raised

    code = begun(function)
    code.close()
    assert (log, code.ended, code.error) == (["finally"], True, None)
    code.close()
    code.resume()
    assert log == ["finally"]


def test_closing_code_whose_finally_block_waits_leaves_nothing_behind():
    """Nothing that the garbage collector would have to complain about: warnings are errors here."""

    async def function(context):
        try:
            await Task[Any]()
        finally:
            await Task[Any]()

    def also(context):
        try:
            yield Task()
        finally:
            yield Task()

    for one in (function, also):
        code = begun(one)
        code.close()
        assert code.ended
    gc.collect()


def test_a_coroutine_that_is_closed_before_it_began_warns_nobody():
    Code().close()
    gc.collect()
