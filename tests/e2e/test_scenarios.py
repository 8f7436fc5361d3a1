"""What orchestrations can do, in every cell of the matrix. Hydrated and replayed must agree."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import perdure as df
from tests.e2e.lab import Lab, scenario

Status = df.OrchestrationRuntimeStatus
Context = df.DurableOrchestrationContext


async def completed(hub: df.TaskHub, instance_id: str) -> Any:
    """The output of an instance that has to complete."""
    status = await hub.client.wait_for_completion(instance_id, timeout=timedelta(days=30))
    assert status.runtime_status is Status.Completed, status
    return status.output


async def run(hub: df.TaskHub, orchestrator: Any, input_: Any = None) -> Any:
    return await completed(hub, await hub.client.start_new(orchestrator, client_input=input_))


def add_double(lab: Lab) -> None:
    async def double(value: int) -> int:
        return 2 * value

    lab.activity(double)


@scenario
async def test_chain(lab: Lab) -> None:
    def chain(context: Context):
        total = context.get_input()
        for _ in range(5):
            total = yield context.call_activity("double", total)
        return total

    add_double(lab)
    lab.orchestrator(chain)
    async with lab.hub() as hub:
        assert await run(hub, "chain", 3) == 96
        assert hub.running_activities == 0


@scenario
async def test_fan_out_fans_in_in_order(lab: Lab) -> None:
    def fan(context: Context):
        doubled = yield context.task_all([context.call_activity("double", number) for number in range(30)])
        return doubled

    add_double(lab)
    lab.orchestrator(fan)
    async with lab.hub(max_concurrent_activities=7) as hub:
        assert await run(hub, "fan") == [2 * number for number in range(30)]


@scenario
async def test_a_failing_activity_raises_with_its_cause_through_two_levels(lab: Lab) -> None:
    async def fail(value: str) -> None:
        try:
            raise KeyError(value)
        except KeyError as error:
            raise ValueError("no such thing") from error

    def inner(context: Context):
        yield context.call_activity("fail", "x")

    def outer(context: Context):
        try:
            yield context.call_sub_orchestrator("inner")
        except df.TaskFailedError as error:
            return [error.is_caused_by(ValueError), error.is_caused_by(KeyError), error.is_caused_by(OSError)]

    lab.activity(fail)
    lab.orchestrator(inner)
    lab.orchestrator(outer)
    async with lab.hub() as hub:
        assert await run(hub, "outer") == [True, True, False]
        status = await hub.client.wait_for_completion(await hub.client.start_new("inner"), timeout=1)
        assert status.runtime_status is Status.Failed
        assert status.failure is not None
        assert status.failure.is_caused_by(KeyError)
        assert "no such thing" in status.output


@scenario
async def test_sub_orchestrations(lab: Lab) -> None:
    def child(context: Context):
        doubled = yield context.call_activity("double", context.get_input())
        return [context.instance_id, context.parent_instance_id, doubled]

    def parent(context: Context):
        named = yield context.call_sub_orchestrator("child", 1, instance_id="the-child")
        others = yield context.task_all([context.call_sub_orchestrator("child", number) for number in (2, 3)])
        return [named, *others]

    add_double(lab)
    lab.orchestrator(child)
    lab.orchestrator(parent)
    async with lab.hub() as hub:
        parent_id = await hub.client.start_new("parent")
        named, *others = await completed(hub, parent_id)
        assert named == ["the-child", parent_id, 2]
        assert [doubled for _, _, doubled in others] == [4, 6]
        assert len({child_id for child_id, _, _ in others}) == 2
        assert {parent for _, parent, _ in others} == {parent_id}


@scenario
async def test_a_sub_orchestration_whose_id_is_taken_fails_in_its_caller(lab: Lab) -> None:
    def waits(context: Context):
        yield context.wait_for_external_event("never")

    def parent(context: Context):
        try:
            yield context.call_sub_orchestrator("waits", instance_id="taken")
        except df.TaskFailedError as error:
            return error.is_caused_by(df.InstanceAlreadyExistsError)

    lab.orchestrator(waits)
    lab.orchestrator(parent)
    async with lab.hub() as hub:
        await hub.client.start_new("waits", "taken")
        assert await run(hub, "parent") is True


@scenario
async def test_retries_wait_and_then_succeed_or_give_the_last_failure(lab: Lab) -> None:
    assert lab.clock is not None
    attempts: list[tuple[int, str]] = []

    async def flaky(value: int) -> str:
        context = df.activity_context()
        attempts.append((context.attempt, context.idempotency_key))
        if context.attempt < value:
            raise ValueError(f"attempt {context.attempt}")
        return "done"

    def retrying(context: Context):
        options = df.RetryOptions(1000, 3, backoff_coefficient=2.0)
        return (yield context.call_activity_with_retry("flaky", options, context.get_input()))

    def retrying_child(context: Context):
        return (yield context.call_sub_orchestrator_with_retry("retrying", df.RetryOptions(1000, 2), 9))

    lab.activity(flaky)
    lab.orchestrator(retrying)
    lab.orchestrator(retrying_child)
    async with lab.hub() as hub:
        started = lab.clock.elapsed()
        assert await run(hub, "retrying", 3) == "done"
        assert lab.clock.elapsed() - started >= 3  # 1 s, then 2 s
        assert [number for number, _ in attempts] == [1, 2, 3]
        assert len({key for _, key in attempts}) == 1
        attempts.clear()
        status = await hub.client.wait_for_completion(await hub.client.start_new("retrying_child"), timeout=100)
        assert status.runtime_status is Status.Failed
        assert "attempt 3" in status.output
        assert [number for number, _ in attempts] == [1, 2, 3, 1, 2, 3]


@scenario
async def test_timers_never_fire_early_nor_much_too_late(lab: Lab) -> None:
    def sleeper(context: Context):
        seen = [context.current_utc_datetime.timestamp()]
        yield context.create_timer(timedelta(hours=2))
        seen.append(context.current_utc_datetime.timestamp())
        yield context.create_timer(context.current_utc_datetime + timedelta(seconds=0.25))
        seen.append(context.current_utc_datetime.timestamp())
        yield context.create_timer(datetime(2020, 1, 1, tzinfo=UTC))  # fires at once
        seen.append(context.current_utc_datetime.timestamp())
        return seen

    lab.orchestrator(sleeper)
    async with lab.hub() as hub:
        first, second, third, fourth = await run(hub, "sleeper")
        assert 7200 <= second - first < 7200.1
        assert 0.25 <= third - second < 0.35
        assert 0 <= fourth - third < 0.1


@scenario
async def test_timers_of_the_same_moment_one_after_the_other(lab: Lab) -> None:
    def again(context: Context):
        moment = context.current_utc_datetime + timedelta(seconds=5)
        for _ in range(3):
            yield context.create_timer(moment)
        return "done"

    lab.orchestrator(again)
    async with lab.hub() as hub:
        assert await run(hub, "again") == "done"


@scenario
async def test_any_and_all_nested_with_a_cancelled_timer(lab: Lab) -> None:
    async def slow(value: float) -> float:
        await asyncio.sleep(value)
        return value

    def race(context: Context):
        deadline = context.create_timer(timedelta(seconds=60))
        quick, lazy = context.call_activity("slow", 1), context.call_activity("slow", 20)
        both = context.task_all([quick, context.call_activity("slow", 2)])
        winner = yield context.task_any([both, lazy, deadline])
        deadline.cancel()
        late = yield lazy
        again = yield quick  # awaited once more, long after it completed
        return [winner == both, both.result, late, again]

    lab.activity(slow)
    lab.orchestrator(race)
    async with lab.hub() as hub:
        assert lab.clock is not None
        started = lab.clock.elapsed()
        assert await run(hub, "race") == [True, [1, 2], 20, 1]
        assert lab.clock.elapsed() - started < 30


@scenario
async def test_events_in_order_in_any_case_and_before_anybody_waits(lab: Lab) -> None:
    def listener(context: Context):
        got = [(yield context.wait_for_external_event("Go"))]
        yield context.create_timer(timedelta(seconds=10))
        for _ in range(3):
            got.append((yield context.wait_for_external_event("data")))  # noqa: PERF401 - a yield in a loop
        try:
            yield context.wait_for_external_event("never", timeout=timedelta(seconds=5))
        except TimeoutError:
            got.append("timed out")
        return got

    lab.orchestrator(listener)
    async with lab.hub() as hub:
        instance_id = await hub.client.start_new("listener")
        await hub.client.raise_event(instance_id, "DATA", 1)
        await hub.client.raise_event(instance_id, "gO", {"who": "me"})
        await hub.client.raise_event(instance_id, "data", 2)
        await hub.client.raise_event(instance_id, "Data", 3)
        assert await completed(hub, instance_id) == [{"who": "me"}, 1, 2, 3, "timed out"]


@scenario
async def test_continue_as_new_keeps_unprocessed_events(lab: Lab) -> None:
    def counter(context: Context):
        state = context.get_input()
        event = yield context.wait_for_external_event("add")
        state["sum"] += event
        state["rounds"] += 1
        if state["rounds"] == 20:
            return state
        context.continue_as_new(state)

    lab.orchestrator(counter)
    async with lab.hub() as hub:
        instance_id = await hub.client.start_new("counter", client_input={"sum": 0, "rounds": 0})
        await asyncio.gather(*(hub.client.raise_event(instance_id, "add", number) for number in range(10)))
        for number in range(10, 20):
            await hub.client.raise_event(instance_id, "add", number)
        assert await completed(hub, instance_id) == {"sum": sum(range(20)), "rounds": 20}


@scenario
async def test_continue_as_new_without_waiting_lets_others_run(lab: Lab) -> None:
    def spinner(context: Context):
        rounds = context.get_input()
        context.set_custom_status(rounds)
        if rounds < 350:
            context.continue_as_new(rounds + 1)
            return None
        yield context.create_timer(timedelta(seconds=1))
        return rounds

    lab.orchestrator(spinner)
    async with lab.hub() as hub:
        assert await run(hub, "spinner", 0) == 350


@scenario
async def test_suspend_keeps_everything_until_resume(lab: Lab) -> None:
    def three(context: Context):
        first = yield context.wait_for_external_event("a")
        yield context.create_timer(timedelta(seconds=5))
        second = yield context.wait_for_external_event("a")
        return [first, second]

    lab.orchestrator(three)
    async with lab.hub() as hub:
        instance_id = await hub.client.start_new("three")
        await hub.client.suspend(instance_id, "lunch")
        await hub.client.suspend(instance_id)
        for number in (1, 2):
            await hub.client.raise_event(instance_id, "a", number)
        await asyncio.sleep(20)
        assert (await hub.client.get_status(instance_id)).runtime_status is Status.Suspended
        with pytest.raises(TimeoutError):
            await hub.client.wait_for_completion(instance_id, timeout=5)
        await asyncio.gather(hub.client.resume(instance_id), hub.client.resume(instance_id))
        assert await completed(hub, instance_id) == [1, 2]


@scenario
async def test_resume_together_with_the_event_that_continues_as_new(lab: Lab) -> None:
    def rounds(context: Context):
        left = yield context.wait_for_external_event("go")
        if left:
            context.continue_as_new(None)

    lab.orchestrator(rounds)
    async with lab.hub() as hub:
        instance_id = await hub.client.start_new("rounds")
        client = hub.client
        for _ in range(3):
            await asyncio.gather(
                client.suspend(instance_id),
                client.raise_event(instance_id, "go", 1),
                client.resume(instance_id),
                client.resume(instance_id),
                client.suspend(instance_id),
                client.suspend(instance_id),
            )
            await client.resume(instance_id)
        await client.raise_event(instance_id, "go", 0)
        assert await completed(hub, instance_id) is None


@scenario
async def test_version_tags_custom_status_and_unique_ids(lab: Lab) -> None:
    def shows(context: Context):
        context.set_custom_status({"stage": 1})
        ids = [context.new_uuid(), str(context.new_guid()), context.new_uuid()]
        yield context.wait_for_external_event("on")
        context.set_custom_status({"stage": 2})
        return [context.version, *ids]

    lab.orchestrator(shows)
    async with lab.hub() as hub:
        instance_id = await hub.client.start_new("shows", version="7", tags={"team": "blue"})
        status = await hub.client.get_status(instance_id)
        assert (status.version, status.tags, status.custom_status) == ("7", {"team": "blue"}, {"stage": 1})
        await hub.client.raise_event(instance_id, "on")
        version, *ids = await completed(hub, instance_id)
        assert version == "7"
        assert len(set(ids)) == 3
        assert (await hub.client.get_status(instance_id)).custom_status == {"stage": 2}


@scenario
async def test_a_log_record_appears_once_however_often_the_code_is_replayed(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("my.application")

    def talks(context: Context):
        for number in range(4):
            log.warning("step %d", number)
            yield context.call_activity("double", number)
        log.warning("end")

    add_double(lab)
    lab.orchestrator(talks)
    async with lab.hub() as hub:
        await run(hub, "talks")
    assert [record.getMessage() for record in caplog.records if record.name == "my.application"] == [
        "step 0",
        "step 1",
        "step 2",
        "step 3",
        "end",
    ]


@scenario
async def test_awaiting_something_else_says_what_to_do(lab: Lab) -> None:
    def sleeps(context: Context):
        yield asyncio.get_running_loop().create_future()

    lab.orchestrator(sleeps)
    async with lab.hub() as hub:
        status = await hub.client.wait_for_completion(await hub.client.start_new("sleeps"), timeout=1)
        assert status.runtime_status is Status.Failed
        assert status.failure is not None
        assert status.failure.is_caused_by("NotDurableError")


@scenario
async def test_a_timer_that_fires_while_its_instance_is_suspended_can_still_be_cancelled(lab: Lab) -> None:
    def waits(context: Context):
        got = [(yield context.wait_for_external_event("a", timeout=timedelta(seconds=10)))]
        timer = context.create_timer(timedelta(seconds=10))
        event = context.wait_for_external_event("b")
        winner = yield context.task_any([event, timer])
        timer.cancel()
        got.append(winner.result)
        yield context.wait_for_external_event("end")
        return got

    lab.orchestrator(waits)
    async with lab.hub() as hub:
        instance_id = await hub.client.start_new("waits")
        for name in ("a", "b"):
            await hub.client.suspend(instance_id)
            await hub.client.raise_event(instance_id, name, name)
            await asyncio.sleep(60)
            await hub.client.resume(instance_id)
        await hub.client.raise_event(instance_id, "end")
        assert await completed(hub, instance_id) == ["a", "b"]
