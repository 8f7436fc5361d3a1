"""Retry policies. The arithmetic is the Durable Task Framework's (RetryInterceptor), with jitter and filters added."""

from collections.abc import Callable
from dataclasses import dataclass

from perdure.core.failures import TaskFailedError
from perdure.core.ids import jitter_fraction


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """How often and when a failed activity or sub-orchestration is called again.

    The wait before attempt ``n + 1`` is ``first * backoff_coefficient ** (n - 1)``, at most ``max_retry_interval``.

    Raises:
        ValueError: a number is out of its range; the message names it.
    """

    first_retry_interval_in_milliseconds: int
    """Wait before the second attempt; greater than 0."""
    max_number_of_attempts: int
    """Attempts in all, the first one included; at least 1."""
    backoff_coefficient: float = 1.0
    """At least 1."""
    max_retry_interval_in_milliseconds: int | None = None
    retry_timeout_in_milliseconds: int | None = None
    """No attempt starts later than this after the first one."""
    jitter: float = 0.0
    """Shorten each wait by up to this part of it (0 to 1). Derived from the task's identity, so replay finds the same waits."""
    non_retryable: tuple[type[BaseException] | str, ...] = ()
    """Failures caused by one of these are final. Types match subclasses; names match bare or qualified class names."""
    handle: Callable[[TaskFailedError], bool] | None = None
    """Asked after each failure; false makes it final. Has to be deterministic: it runs in the orchestrator."""

    def __post_init__(self) -> None:
        if self.first_retry_interval_in_milliseconds <= 0:
            raise ValueError(f"first_retry_interval_in_milliseconds must be > 0, not {self.first_retry_interval_in_milliseconds}")
        if self.max_number_of_attempts < 1:
            raise ValueError(f"max_number_of_attempts must be >= 1, not {self.max_number_of_attempts}")
        if self.backoff_coefficient < 1:
            raise ValueError(f"backoff_coefficient must be >= 1, not {self.backoff_coefficient}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be between 0 and 1, not {self.jitter}")
        for field in ("max_retry_interval_in_milliseconds", "retry_timeout_in_milliseconds"):
            value = getattr(self, field)
            if value is not None and value <= 0:
                raise ValueError(f"{field} must be > 0, not {value}")


def next_delay_us(
    options: RetryOptions, *, attempt: int, first_attempt_us: int, now_us: int, error: TaskFailedError, jitter_seed: str
) -> int | None:
    """Microseconds to wait before the next attempt, or ``None`` where the failure of attempt number ``attempt`` is final.

    ``now_us`` and ``first_attempt_us`` are orchestration time. What ``options.handle`` raises goes through.
    """
    if attempt >= options.max_number_of_attempts or error.details.non_retriable:
        return None
    if any(error.is_caused_by(kind) for kind in options.non_retryable):
        return None
    if options.handle is not None and not options.handle(error):
        return None
    try:
        delay_ms = options.first_retry_interval_in_milliseconds * options.backoff_coefficient ** (attempt - 1)
    except OverflowError:
        delay_ms = float("inf")
    # Without a limit of its own the wait is bounded by Durable Functions' default of six days.
    delay_ms = min(delay_ms, options.max_retry_interval_in_milliseconds or 6 * 24 * 3600 * 1000)
    delay_us = int(delay_ms * 1000 * (1 - options.jitter * jitter_fraction(f"{jitter_seed}:{attempt}")))
    timeout_ms = options.retry_timeout_in_milliseconds
    if timeout_ms is not None and now_us + delay_us > first_attempt_us + timeout_ms * 1000:
        return None
    return delay_us
