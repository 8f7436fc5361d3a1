"""Everything that can go wrong in an orchestrator, and what is told about it."""

import inspect
from datetime import timedelta
from typing import Any

import pytest

from perdure.core.converter import DeserializationError, SerializationError
from perdure.core.effects import DispatchActivity, InstanceEnded
from perdure.core.events import TaskScheduled, TimerCreated
from perdure.core.failures import TaskFailedError
from perdure.core.retry import RetryOptions
from perdure.core.tasks import TaskNotCompletedError
from tests.unit.driver import World


class PaymentError(Exception):
    """An error of the user's own."""


def line_of(function: Any, text: str) -> int:
    """The line of this file on which the function says that."""
    lines, first = inspect.getsourcelines(function)
    (offset,) = [offset for offset, line in enumerate(lines) if text in line]
    return first + offset


def fail_with(world: World, error: Exception, **options: Any) -> None:
    """Registers an activity ``fail`` that raises it."""

    def fail(value: Any, job: DispatchActivity) -> Any:
        raise error

    world.app.activity("fail", fail, **options)


# --- failures of the orchestrator itself ------------------------------------------------------------------------------


def test_an_orchestrator_that_raises_fails_with_the_users_own_traceback(world: World):
    def broken(context):
        yield context.wait_for_external_event("go")
        raise_it()

    def raise_it():
        raise PaymentError("declined") from KeyError("card")

    instance = world.start(world.app.orchestrator(broken))
    world.raise_event("go")
    failure = instance.failure
    assert (failure.type.rpartition(".")[2], failure.message) == ("PaymentError", "declined")
    assert failure.cause is not None
    assert failure.cause.type == "KeyError"
    assert failure.traceback is not None
    assert f'File "{__file__}", line {line_of(raise_it, "raise PaymentError")}, in raise_it' in failure.traceback
    assert f'File "{__file__}", line {line_of(broken, "raise_it()")}, in broken' in failure.traceback
    assert "/perdure/" not in failure.traceback
    assert world.effects[-1] == InstanceEnded("i", "broken", "Failed", f"{failure.type}: declined")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), RecursionError("deep")], ids=repr)
def test_whatever_an_orchestrator_raises_is_its_own_failure_and_nobody_elses(world: World, error: BaseException):
    def broken(context):
        yield context.wait_for_external_event("go")
        raise error

    instance = world.start(world.app.orchestrator(broken))
    world.raise_event("go")
    assert instance.failure.type == type(error).__name__


def test_an_orchestrator_that_cannot_be_called_fails(world: World):
    def no_parameters():
        yield

    failure = world.start(world.app.orchestrator(no_parameters)).failure
    assert failure.type == "TypeError"


def test_an_output_that_is_no_json_fails_the_instance_and_names_the_place(world: World):
    def odd(context):
        return {"items": [1, object()]}
        yield

    failure = world.start(world.app.orchestrator(odd)).failure
    assert failure.type == "perdure.SerializationError"
    assert "output of orchestrator 'odd'" in failure.message
    assert "items" in failure.message


def test_inputs_that_are_no_json_are_refused_where_they_are_given(world: World):
    def odd(context):
        refused = []
        for call in (
            lambda: context.call_activity("a", object()),
            lambda: context.call_activity_with_retry("a", RetryOptions(1, 1), object()),
            lambda: context.call_sub_orchestrator("o", object()),
            lambda: context.set_custom_status(object()),
            lambda: context.continue_as_new(object()),
        ):
            try:
                call()
            except SerializationError as error:
                refused.append(type(error).__name__)
        return [refused, context.will_continue_as_new, context.custom_status]
        yield

    instance = world.start(world.app.orchestrator(odd))
    assert instance.output == [["SerializationError"] * 5, False, None]
    assert world.pending == []


def test_what_is_no_registered_function_cannot_be_called(world: World):
    def odd(context):
        yield context.call_activity(len)

    failure = world.start(world.app.orchestrator(odd)).failure
    assert failure.type == "perdure.FunctionReferenceError"
    assert "<built-in function len> is not a registered function" in failure.message


def test_a_plain_function_is_an_orchestrator_that_never_waits(world: World):
    def plain(context):
        if context.get_input() == 0:
            context.continue_as_new(1)
            return None
        context.call_activity("fire", 1)
        return context.get_input()

    world.app.activity("fire", lambda value, job: None)
    assert world.start(world.app.orchestrator(plain), 0).output == 1
    assert len(world.pending) == 1


def test_reading_a_result_too_early_says_so(world: World):
    def early(context):
        try:
            _ = context.call_activity("a").result
        except TaskNotCompletedError as error:
            return str(error)
        yield

    assert world.start(world.app.orchestrator(early)).output == "[PD1103] this task has no result yet; await or yield it first"


# --- failures of activities -------------------------------------------------------------------------------------------


def test_an_activity_that_fails_raises_task_failed_error_with_everything(world: World):
    error = PaymentError("declined")
    error.__cause__ = ValueError("limit")
    fail_with(world, error)

    def work(context):
        try:
            yield context.call_activity("fail", 1)
        except TaskFailedError as failed:
            return [
                failed.what,
                failed.task_id,
                failed.details.type.rpartition(".")[2],
                failed.details.message,
                "in fail" in (failed.details.traceback or ""),
                [failed.is_caused_by(kind) for kind in (PaymentError, "PaymentError", ValueError, KeyError)],
            ]

    instance = world.start(world.app.orchestrator(work))
    world.settle()
    assert instance.output == ["activity 'fail'", 0, "PaymentError", "declined", True, [True, True, True, False]]


def test_a_failure_that_is_not_caught_fails_the_orchestration_and_keeps_its_cause(world: World):
    fail_with(world, PaymentError("declined"))

    def work(context):
        yield context.call_activity("fail", 1)

    instance = world.start(world.app.orchestrator(work))
    world.settle()
    assert [link.type.rpartition(".")[2] for link in instance.failure.chain()] == ["TaskFailedError", "PaymentError"]
    assert (
        instance.failure.message == f"[PD1101] activity 'fail' (task 0) failed: {PaymentError.__module__}.PaymentError: declined"
    )


def test_the_original_exception_comes_back_where_the_activity_declares_it(world: World):
    fail_with(world, PaymentError("declined"), raises=(PaymentError,))

    def work(context):
        try:
            yield context.call_activity("FAIL", 1)
        except PaymentError as error:
            return [str(error), type(error.__cause__).__name__]

    instance = world.start(world.app.orchestrator(work))
    world.settle()
    assert instance.output == ["declined", "TaskFailedError"]


def test_other_exceptions_than_the_declared_ones_stay_task_failed_errors(world: World):
    fail_with(world, KeyError("card"), raises=(PaymentError,))

    def work(context):
        try:
            yield context.call_activity("fail", 1)
        except TaskFailedError as error:
            return error.details.type

    instance = world.start(world.app.orchestrator(work))
    world.settle()
    assert instance.output == "KeyError"


def test_an_orchestrator_may_declare_its_exceptions_too(world: World):
    def child(context):
        raise PaymentError("declined")
        yield

    def parent(context):
        try:
            yield context.call_sub_orchestrator(child)
        except PaymentError as error:
            return str(error)

    world.app.orchestrator(child, raises=(PaymentError,))
    instance = world.start(world.app.orchestrator(parent))
    world.settle()
    assert instance.output == "declined"


# --- retries ----------------------------------------------------------------------------------------------------------


def attempts_of(instance: Any) -> list[tuple[int, int, int | None]]:
    return [(one.task_id, one.attempt, one.origin) for one in instance.history if isinstance(one, TaskScheduled)]


def test_a_retry_calls_again_until_it_succeeds_with_one_idempotency_key(world: World):
    keys: list[str] = []

    def flaky(value: Any, job: DispatchActivity) -> Any:
        keys.append(job.idempotency_key)
        if job.attempt < 3:
            raise ValueError(job.attempt)
        return value

    world.app.activity("flaky", flaky)

    def work(context):
        yield context.create_timer(timedelta(0))
        return (yield context.call_activity_with_retry("flaky", RetryOptions(1000, 5, backoff_coefficient=2), "in"))

    instance = world.start(world.app.orchestrator(work))
    world.run()
    assert instance.output == "in"
    assert attempts_of(instance) == [(1, 1, None), (3, 2, 1), (5, 3, 1)]
    assert keys == ["execution-of-i-0-1"] * 3
    waits = [one.fire_at for one in instance.history if isinstance(one, TimerCreated)][1:]
    assert [wait - waits[0] for wait in waits] == [0, 2_000_000]
    assert world.retrace() == 6


def test_the_last_failure_is_what_a_retry_gives(world: World):
    def fail(value: Any, job: DispatchActivity) -> Any:
        raise ValueError(f"attempt {job.attempt}")

    world.app.activity("fail", fail)

    def work(context):
        try:
            yield context.call_activity_with_retry("fail", RetryOptions(1000, 3))
        except TaskFailedError as error:
            return error.details.message

    instance = world.start(world.app.orchestrator(work))
    world.run()
    assert instance.output == "attempt 3"
    assert world.next_wake() is None


def test_a_retry_ends_early_for_what_it_is_told_not_to_retry(world: World):
    fail_with(world, PaymentError("declined"), raises=(PaymentError,))

    def work(context):
        caught = []
        for options in (
            RetryOptions(1000, 3, non_retryable=(PaymentError,)),
            RetryOptions(1000, 3, non_retryable=("PaymentError",)),
            RetryOptions(1000, 3, handle=lambda error: not error.is_caused_by(PaymentError)),
        ):
            try:
                yield context.call_activity_with_retry("fail", options)
            except PaymentError as error:
                caught.append(str(error))
        return caught

    instance = world.start(world.app.orchestrator(work))
    world.run()
    assert instance.output == ["declined"] * 3
    assert len(attempts_of(instance)) == 3


def test_a_predicate_that_raises_ends_the_retry_with_its_error(world: World):
    fail_with(world, PaymentError("declined"))

    def predicate(error: TaskFailedError) -> bool:
        raise LookupError("in the predicate")

    def work(context):
        try:
            yield context.call_activity_with_retry("fail", RetryOptions(1000, 3, handle=predicate))
        except LookupError as error:
            return str(error)

    instance = world.start(world.app.orchestrator(work))
    world.run()
    assert instance.output == "in the predicate"


def test_a_result_that_does_not_fit_is_not_retried(world: World):
    world.app.activity("word", lambda value, job: "seven")

    def work(context):
        try:
            yield context.call_activity_with_retry("word", RetryOptions(1000, 3), expected_type=int)
        except DeserializationError as error:
            return type(error).__name__

    instance = world.start(world.app.orchestrator(work))
    world.run()
    assert (instance.output, len(attempts_of(instance))) == ("DeserializationError", 1)


def test_the_retry_time_out_is_measured_in_orchestration_time(world: World):
    fail_with(world, PaymentError("declined"))

    def work(context):
        yield context.create_timer(timedelta(hours=1))
        yield context.call_activity_with_retry("fail", RetryOptions(1000, 100, retry_timeout_in_milliseconds=3500))

    instance = world.start(world.app.orchestrator(work))
    world.run()
    assert instance.status == "Failed"
    assert len(attempts_of(instance)) == 4  # at 0, 1, 2 and 3 s


def test_retries_join_like_any_task(world: World):
    def flaky(value: Any, job: DispatchActivity) -> Any:
        if job.attempt < value:
            raise ValueError(job.attempt)
        return value

    world.app.activity("flaky", flaky)

    def work(context):
        tasks = [context.call_activity_with_retry("flaky", RetryOptions(1000, 5), number) for number in (1, 2, 3)]
        first = yield context.task_any(tasks)
        return [first is tasks[0], (yield context.task_all(tasks))]

    instance = world.start(world.app.orchestrator(work))
    world.run()
    assert instance.output == [True, [1, 2, 3]]
    assert world.retrace() > 5
