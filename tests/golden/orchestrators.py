"""The orchestrations behind the golden histories. Frozen: changing one breaks its histories, as it would a user's."""

from datetime import timedelta
from typing import Any

from perdure.core.effects import DispatchActivity
from perdure.core.failures import TaskFailedError
from perdure.core.retry import RetryOptions
from tests.unit.driver import World

SECOND = timedelta(seconds=1)


def fan_out(context: Any) -> Any:
    """A chain, then a nested fan-out, then a race whose loser is awaited later."""
    first = yield context.call_activity("double", 1)
    context.set_custom_status({"chain": first})
    pair = context.task_all([context.call_activity("double", number) for number in range(3)])
    everything = yield context.task_all([pair, context.call_activity("double", first), context.task_all([])])
    slow, fast = context.call_activity("double", 10), context.call_activity("double", 11)
    winner = yield context.task_any([slow, fast])
    return [everything, winner is fast, (yield slow), context.new_uuid(), str(context.new_guid())]


def approval(context: Any) -> Any:
    """Events before and after their waits, in two cases; time-outs that do and don't strike; cancelled timers and waits."""
    early = yield context.wait_for_external_event("EARLY", timeout=5 * SECOND)
    given_up = context.wait_for_external_event("answer", timeout=60 * SECOND)
    given_up.cancel()
    results = [early]
    for _ in range(2):
        timer = context.create_timer(10 * SECOND)
        answer = context.wait_for_external_event("Answer")
        winner = yield context.task_any([answer, timer])
        if winner is answer:
            timer.cancel()
            results.append(answer.result)
        else:
            answer.cancel()
            results.append("no answer")
    try:
        yield context.wait_for_external_event("never", timeout=SECOND)
    except TimeoutError as error:
        results.append(str(error))
    return results


def retries(context: Any) -> Any:
    """Back-off, jitter, a filter, and attempts that run out."""
    options = RetryOptions(1000, 4, backoff_coefficient=3, max_retry_interval_in_milliseconds=5000, jitter=0.5)
    tasks = [context.call_activity_with_retry("flaky", options, failures) for failures in (0, 1, 3)]
    results = yield context.task_all(tasks)
    for tried in (options, RetryOptions(1000, 9, non_retryable=("ValueError",))):
        try:
            yield context.call_activity_with_retry("flaky", tried, 99)
        except TaskFailedError as error:
            results.append(error.details.message)
    return results


def family(context: Any) -> Any:
    """Children with and without ids of their own; one fails, is called again, and fails for good."""
    results = [
        (yield context.call_sub_orchestrator("member", "good")),
        (yield context.call_sub_orchestrator("member", "x", "named")),
    ]
    try:
        yield context.call_sub_orchestrator_with_retry("member", RetryOptions(1000, 2), "bad")
    except TaskFailedError as error:
        results.append([link.type for link in error.details.chain()])
    return results


def member(context: Any) -> Any:
    """One of the family."""
    doubled = yield context.call_activity("double", context.get_input())
    if doubled == "badbad":
        raise LookupError(f"{context.parent_instance_id} has a bad child") from ValueError("root")
    return [doubled, context.instance_id, context.version]


def eternal(context: Any) -> Any:
    """Three generations that hand events on, with a status that stays and a version that changes."""
    seen = context.get_input()
    if not seen:
        context.set_custom_status("begun")
    seen = [*seen, (yield context.wait_for_external_event("n")), (yield context.wait_for_external_event("n"))]
    if len(seen) < 6:
        context.call_activity("double", len(seen))
        context.continue_as_new(seen, new_version="2" if len(seen) == 2 else None)
        return None
    return [seen, context.version]


def interrupted(context: Any) -> Any:
    """Suspended with work and a timer under way, resumed, and terminated with a child."""
    results = yield context.task_all([context.call_activity("double", 1), context.create_timer(SECOND)])
    results.append((yield context.wait_for_external_event("n")))
    yield context.call_sub_orchestrator("interrupted", instance_id="child")
    return results


def bank(context: Any) -> Any:
    """Signals now and later, a critical section, a call that fails."""
    context.signal_entity("@account@a", "deposit", 5)
    context.signal_entity("@account@b", "remind", signal_time=60 * SECOND)
    results = []
    with (yield context.lock_entities("@account@b", "@Account@a")):
        results.append((yield context.call_entity("@account@a", "balance")))
    try:
        yield context.call_entity("@account@b", "withdraw", {"amount": 1})
    except TaskFailedError as error:
        results.append(error.details.message)
    return results


def register(world: World) -> None:
    """Puts everything into the world's app."""
    for function in (fan_out, approval, retries, family, member, eternal, interrupted, bank):
        world.app.orchestrator(function)

    def flaky(failures: int, job: DispatchActivity) -> int:
        if job.attempt <= failures:
            raise ValueError(f"attempt {job.attempt}")
        return job.attempt

    world.app.activity("double", lambda value, job: value * 2)
    world.app.activity("flaky", flaky)
