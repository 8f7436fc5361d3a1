"""Retry policies: arithmetic and filters."""

from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.failures import FailureDetails, TaskFailedError
from perdure.core.retry import RetryOptions, next_delay_us

DAY_MS = 24 * 3600 * 1000


def failed(type_: str = "ValueError", *, cause: FailureDetails | None = None, final: bool = False) -> TaskFailedError:
    return TaskFailedError("activity 'a'", 0, FailureDetails(type_, "no", None, cause, final))


def delay(
    options: RetryOptions, attempt: int = 1, elapsed_ms: int = 0, error: TaskFailedError | None = None, seed: str = "s"
) -> Any:
    """In milliseconds."""
    start = 10**15
    result = next_delay_us(
        options,
        attempt=attempt,
        first_attempt_us=start,
        now_us=start + elapsed_ms * 1000,
        error=error or failed(),
        jitter_seed=seed,
    )
    return None if result is None else result / 1000


def delays(options: RetryOptions) -> list[float]:
    """All waits of a call that always fails at once."""
    waits: list[float] = []
    for attempt in count(1):
        wait = delay(options, attempt, int(sum(waits)))
        if wait is None:
            return waits
        waits.append(wait)
    raise AssertionError


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (RetryOptions(100, 1), []),
        (RetryOptions(100, 4), [100, 100, 100]),
        (RetryOptions(100, 5, 2), [100, 200, 400, 800]),
        (RetryOptions(100, 5, 1.5), [100, 150, 225, 337.5]),
        (RetryOptions(100, 5, 10, max_retry_interval_in_milliseconds=2000), [100, 1000, 2000, 2000]),
        (RetryOptions(100, 9, 2, retry_timeout_in_milliseconds=700), [100, 200, 400]),
        (RetryOptions(100, 9, 2, retry_timeout_in_milliseconds=699), [100, 200]),
        (RetryOptions(100, 9, 2, retry_timeout_in_milliseconds=99), []),
        (RetryOptions(5 * DAY_MS, 4, 2), [5 * DAY_MS, 6 * DAY_MS, 6 * DAY_MS]),
    ],
    ids=repr,
)
def test_the_waits_of_a_call_that_always_fails(options: RetryOptions, expected: list[float]):
    assert delays(options) == expected


def test_no_number_of_attempts_is_too_large():
    assert delay(RetryOptions(1, 10**9, 1e10), attempt=10**6) == 6 * DAY_MS


def test_time_that_attempts_take_counts_for_the_time_out():
    options = RetryOptions(100, 9, retry_timeout_in_milliseconds=1000)
    assert delay(options, elapsed_ms=900) == 100
    assert delay(options, elapsed_ms=901) is None


@given(st.floats(0, 1), st.text(), st.integers(1, 20))
def test_jitter_shortens_a_wait_by_up_to_its_part_and_is_the_same_every_time(jitter: float, seed: str, attempt: int):
    options = RetryOptions(1000, 100, jitter=jitter)
    wait = delay(options, attempt, seed=seed)
    assert 1000 * (1 - jitter) - 0.001 <= wait <= 1000
    assert delay(options, attempt, seed=seed) == wait


def test_jitter_differs_between_attempts_and_calls():
    options = RetryOptions(1000, 100, jitter=0.5)
    assert (
        len({delay(options, attempt, seed=seed) for attempt in range(1, 6) for seed in ("execution:0:1", "execution:0:2")}) == 10
    )


def test_filters():
    cause = FailureDetails("builtins.ConnectionError", "refused")
    deep = failed("app.OrderError", cause=FailureDetails("ConnectionRefusedError", "refused"))
    final: list[tuple[Any, ...]] = [
        (ConnectionError,),
        ("ConnectionRefusedError",),
        ("OrderError",),
        ("app.OrderError",),
        (KeyError, OSError),
    ]
    for kinds in final:
        assert delay(RetryOptions(100, 3, non_retryable=kinds), error=deep) is None
    for kinds in [(), (KeyError,), ("ConnectionError",), ("rderError",)]:
        assert delay(RetryOptions(100, 3, non_retryable=kinds), error=deep) == 100
    assert delay(RetryOptions(100, 3), error=failed(final=True, cause=cause)) is None


def test_the_predicate_gets_the_failure_and_is_asked_only_where_it_matters():
    asked: list[TaskFailedError] = []

    def handle(error: TaskFailedError) -> bool:
        asked.append(error)
        return error.details.message == "no"

    options = RetryOptions(100, 3, non_retryable=(KeyError,), handle=handle)
    error = failed()
    assert delay(options, error=error) == 100
    assert asked == [error]
    assert delay(options, attempt=3) is None
    assert delay(options, error=failed("KeyError")) is None
    assert delay(options, error=failed(final=True)) is None
    assert len(asked) == 1
    assert delay(RetryOptions(100, 3, handle=lambda error: False)) is None


def test_what_the_predicate_raises_goes_through():
    def handle(error: TaskFailedError) -> bool:
        raise LookupError("in the predicate")

    with pytest.raises(LookupError, match="in the predicate"):
        delay(RetryOptions(100, 3, handle=handle))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"first_retry_interval_in_milliseconds": 0}, "first_retry_interval_in_milliseconds must be > 0, not 0"),
        ({"max_number_of_attempts": 0}, "max_number_of_attempts must be >= 1, not 0"),
        ({"backoff_coefficient": 0.9}, "backoff_coefficient must be >= 1, not 0.9"),
        ({"jitter": -0.1}, "jitter must be between 0 and 1, not -0.1"),
        ({"jitter": 1.1}, "jitter must be between 0 and 1, not 1.1"),
        ({"max_retry_interval_in_milliseconds": 0}, "max_retry_interval_in_milliseconds must be > 0, not 0"),
        ({"retry_timeout_in_milliseconds": -1}, "retry_timeout_in_milliseconds must be > 0, not -1"),
    ],
    ids=str,
)
def test_numbers_out_of_range_are_refused_by_name(arguments: dict[str, Any], message: str):
    sound: dict[str, Any] = {"first_retry_interval_in_milliseconds": 1, "max_number_of_attempts": 1}
    with pytest.raises(ValueError, match=f"^{message}$"):
        RetryOptions(**(sound | arguments))
