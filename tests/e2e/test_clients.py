"""What clients can ask and steer, and what they are told when it can't be."""

import asyncio
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import pytest

import perdure as df
from tests.e2e.lab import Lab, scenario, until

Status = df.OrchestrationRuntimeStatus
Reuse = df.ReusePolicy
Context = df.DurableOrchestrationContext


def waiter(context: Context) -> Generator[Any, Any, Any]:
    """Gives back its input and the event "go"."""
    return [context.get_input(), (yield context.wait_for_external_event("go"))]


async def output(hub: df.TaskHub, instance_id: str) -> Any:
    status = await hub.client.wait_for_completion(instance_id, timeout=timedelta(days=1))
    assert status.runtime_status is Status.Completed, status
    return status.output


@scenario
async def test_terminate_ends_an_instance_with_its_reason_and_again_changes_nothing(lab: Lab) -> None:
    lab.orchestrator(waiter)
    async with lab.hub() as hub:
        instance_id = await hub.client.start_new("waiter")
        await hub.client.terminate(instance_id, "enough")
        await hub.client.terminate(instance_id, "more than enough")
        status = await hub.client.wait_for_completion(instance_id, timeout=1)
        assert (status.runtime_status, status.output) == (Status.Terminated, "enough")


@scenario
async def test_terminate_recursive_reaches_grandchildren_and_without_it_they_go_on(lab: Lab) -> None:
    def parent(context: Context):
        return (yield context.call_sub_orchestrator("middle", instance_id=context.instance_id + "-m"))

    def middle(context: Context):
        return (yield context.call_sub_orchestrator("waiter", 1, instance_id=context.instance_id + "-w"))

    lab.orchestrator(parent)
    lab.orchestrator(middle)
    lab.orchestrator(waiter)
    async with lab.hub() as hub:
        for root in ("a", "b"):
            await hub.client.start_new("parent", root)
            await until(lambda: hub.client.get_status(f"{root}-m-w"))  # noqa: B023 - awaited here
        await hub.client.terminate("a", "all of you", recursive=True)
        for instance_id in ("a", "a-m", "a-m-w"):
            assert (await hub.client.wait_for_completion(instance_id, timeout=5)).runtime_status is Status.Terminated
        await hub.client.terminate("b", "only you")
        await hub.client.raise_event("b-m-w", "go", 2)
        assert await output(hub, "b-m-w") == [1, 2]
        assert await output(hub, "b-m") == [1, 2]
        assert (await hub.client.get_status("b")).runtime_status is Status.Terminated


@scenario
async def test_terminate_cancels_a_running_async_activity(lab: Lab) -> None:
    seen: list[str] = []

    async def endless(value: None) -> None:
        seen.append("started")
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    def calls(context: Context):
        yield context.call_activity("endless")

    lab.activity(endless)
    lab.orchestrator(calls)
    async with lab.hub() as hub:
        instance_id = await hub.client.start_new("calls")
        await until(lambda: seen)
        await hub.client.terminate(instance_id)
        await asyncio.sleep(0.1)
        assert seen == ["started", "cancelled"]
        assert hub.running_activities == 0


@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
@scenario
async def test_reuse_policies(lab: Lab, ended: bool) -> None:
    lab.orchestrator(waiter)
    async with lab.hub() as hub:
        client = hub.client

        async def start(policy: df.ReusePolicy) -> list[Any]:
            """Starts "x" again over a first one; gives the input that ``x`` has now, or the error."""
            await client.start_new("waiter", "x", 1, reuse_policy=Reuse.REPLACE)
            if ended:
                await client.terminate("x")
            try:
                await client.start_new("waiter", "x", 2, reuse_policy=policy)
            except df.InstanceAlreadyExistsError:
                return ["refused"]
            status = await client.get_status("x", show_input=True)
            return [status.input_, status.runtime_status]

        before = [1, Status.Terminated if ended else Status.Running]
        assert await start(Reuse.RAISE) == ["refused"]
        assert await start(Reuse.RETURN_EXISTING) == before
        assert await start(Reuse.ONLY_IF_TERMINAL) == ([2, Status.Running] if ended else ["refused"])
        assert await start(Reuse.REPLACE) == [2, Status.Running]
        await client.raise_event("x", "go", "!")
        assert await output(hub, "x") == [2, "!"]


@scenario
async def test_calls_for_one_instance_made_at_once_are_all_answered_in_order(lab: Lab) -> None:
    lab.orchestrator(waiter)
    async with lab.hub() as hub:
        client = hub.client
        for _ in range(5):
            answers = await asyncio.gather(
                client.start_new("waiter", "x", 1, reuse_policy=Reuse.REPLACE),
                client.terminate("x"),
                client.start_new("waiter", "x", 2, reuse_policy=Reuse.RAISE),
                client.raise_event("x", "go"),
                client.purge_instance_history("x"),
                client.raise_event("x", "go"),
                client.start_new("waiter", "x", 3, reuse_policy=Reuse.RAISE),
                client.raise_event("x", "go", 3),
                return_exceptions=True,
            )
            assert [type(answer) if isinstance(answer, Exception) else answer for answer in answers] == [
                "x",
                None,
                df.InstanceAlreadyExistsError,
                df.InstanceFinishedError,
                df.PurgeHistoryResult(1),
                df.InstanceNotFoundError,
                "x",
                None,
            ]
            assert await output(hub, "x") == [3, 3]


@scenario
async def test_a_delayed_start_waits_for_its_time(lab: Lab) -> None:
    def now(context: Context):
        return context.current_utc_datetime.timestamp()

    lab.orchestrator(now)
    async with lab.hub() as hub:
        assert lab.clock is not None
        started = lab.clock.now_us() / 1e6
        instance_id = await hub.client.start_new("now", start_at=timedelta(hours=1))
        await asyncio.sleep(3599)
        assert (await hub.client.get_status(instance_id)).runtime_status is Status.Pending
        assert 3600 <= await output(hub, instance_id) - started < 3600.1


@scenario
async def test_a_delayed_start_that_was_suspended_starts_at_resume(lab: Lab) -> None:
    lab.orchestrator(waiter)
    async with lab.hub() as hub:
        instance_id = await hub.client.start_new("waiter", client_input=1, start_at=timedelta(seconds=10))
        await hub.client.suspend(instance_id)
        await hub.client.raise_event(instance_id, "go", 2)
        await asyncio.sleep(60)
        assert (await hub.client.get_status(instance_id)).runtime_status is Status.Suspended
        await hub.client.resume(instance_id)
        assert await output(hub, instance_id) == [1, 2]


@scenario
async def test_status_with_input_output_and_history(lab: Lab) -> None:
    async def double(value: int) -> int:
        return 2 * value

    def short(context: Context):
        return (yield context.call_activity("double", context.get_input()))

    lab.activity(double)
    lab.orchestrator(short)
    async with lab.hub() as hub:
        instance_id = await hub.client.start_new("short", client_input=4)
        await output(hub, instance_id)
        plain = await hub.client.get_status(instance_id)
        assert (plain.name, plain.input_, plain.output, plain.history) == ("short", None, 8, None)
        assert plain.is_terminal
        full = await hub.client.get_status(instance_id, show_history=True, show_history_output=True, show_input=True)
        assert full.input_ == 4
        assert full.history is not None
        assert [entry["EventType"] for entry in full.history] == ["ExecutionStarted", "TaskCompleted", "ExecutionCompleted"]
        assert full.history[1]["FunctionName"] == "double"
        assert full.history[1]["Result"] == 8
        assert full.created_time is not None
        assert full.last_updated_time is not None
        assert full.created_time <= full.last_updated_time
        unknown = await hub.client.get_status("nobody")
        assert not unknown
        assert unknown.instance_id == "nobody"


@scenario
async def test_queries_and_purges_by_filter(lab: Lab) -> None:
    lab.orchestrator(waiter)
    lab.orchestrator(waiter, orchestration="other")
    async with lab.hub() as hub:
        client = hub.client
        for number in range(6):
            await client.start_new("other" if number % 2 else "waiter", f"{'ab'[number // 3]}{number}")
            await asyncio.sleep(10)
        await client.raise_event("a0", "go")
        await output(hub, "a0")
        await client.terminate("a1")

        async def ids(**filters: Any) -> list[str]:
            return [status.instance_id for status in await client.get_status_by(**filters)]

        created = (await client.get_status("a2")).created_time
        assert [status.instance_id for status in await client.get_status_all()] == ["a0", "a1", "a2", "b3", "b4", "b5"]
        assert await ids(runtime_status=[Status.Completed, Status.Terminated]) == ["a0", "a1"]
        assert await ids(instance_id_prefix="b") == ["b3", "b4", "b5"]
        assert await ids(names=["other"]) == ["a1", "b3", "b5"]
        assert await ids(created_time_from=created) == ["a2", "b3", "b4", "b5"]
        assert await ids(created_time_to=created, runtime_status=[Status.Running]) == ["a2"]
        assert await client.purge_instance_history("nobody") == df.PurgeHistoryResult(0)
        with pytest.raises(df.InstanceRunningError):
            await client.purge_instance_history("a2")
        assert await client.purge_instance_history("a0") == df.PurgeHistoryResult(1)
        assert await client.purge_instance_history_by(runtime_status=[Status.Running]) == df.PurgeHistoryResult(0)
        assert await client.purge_instance_history_by() == df.PurgeHistoryResult(1)
        assert await ids() == ["a2", "b3", "b4", "b5"]


@scenario
async def test_waiting_for_completion(lab: Lab) -> None:
    lab.orchestrator(waiter)
    async with lab.hub() as hub:
        client = hub.client
        with pytest.raises(df.InstanceNotFoundError, match="nobody"):
            await client.wait_for_completion("nobody", timeout=1)
        instance_id = await client.start_new("waiter")
        with pytest.raises(TimeoutError, match=instance_id):
            await client.wait_for_completion(instance_id, timeout=timedelta(seconds=30))
        waiting = [asyncio.create_task(client.wait_for_completion(instance_id, show_input=True)) for _ in range(3)]
        await asyncio.sleep(1)
        await client.raise_event(instance_id, "go", 1)
        assert {status.runtime_status for status in await asyncio.gather(*waiting)} == {Status.Completed}
        assert (await client.wait_for_completion(instance_id)).output == [None, 1]
    with pytest.raises((df.EngineStoppedError, df.StoreUnavailableError)):
        await client.wait_for_completion(instance_id)


@scenario
async def test_what_clients_are_refused(lab: Lab) -> None:
    lab.orchestrator(waiter)
    async with lab.hub() as hub:
        client = hub.client
        with pytest.raises(df.OrchestratorNotRegisteredError, match=r"nothing.*waiter"):
            await client.start_new("nothing")
        for bad in ("", "@entity", "a/b", "x" * 257, "tab\t"):
            with pytest.raises(df.InvalidInstanceIdError):
                await client.start_new("waiter", bad)
        with pytest.raises(df.SerializationError):
            await client.start_new("waiter", client_input={"key": object()})
        for call in (
            client.raise_event("nobody", "go"),
            client.suspend("nobody"),
            client.resume("nobody"),
            client.terminate("nobody"),
        ):
            with pytest.raises(df.InstanceNotFoundError, match="nobody"):
                await call
        instance_id = await client.start_new("waiter")
        await client.terminate(instance_id)
        for call in (client.raise_event(instance_id, "go"), client.suspend(instance_id), client.resume(instance_id)):
            with pytest.raises(df.InstanceFinishedError, match="Terminated"):
                await call
    with pytest.raises(df.EngineStoppedError):
        await client.start_new("waiter")


@scenario
async def test_payloads_over_the_limit_are_refused_with_their_size_and_place(lab: Lab) -> None:
    async def big(value: int) -> str:
        return "x" * value

    def calls(context: Context):
        size, own = context.get_input()
        try:
            yield context.call_activity("big", size)
        except df.TaskFailedError as error:
            return str(error.details.message)
        return "x" * own

    lab.activity(big)
    lab.orchestrator(calls)
    async with lab.hub(max_payload_bytes=1000) as hub:
        with pytest.raises(df.PayloadTooLargeError, match="calls"):
            await hub.client.start_new("calls", client_input="x" * 1000)
        instance_id = await hub.client.start_new("calls", client_input=[10, 10])
        with pytest.raises(df.PayloadTooLargeError, match="go"):
            await hub.client.raise_event(instance_id, "go", "x" * 1000)
        assert await output(hub, instance_id) == "x" * 10
        assert "2,002 bytes" in await output(hub, await hub.client.start_new("calls", client_input=[2000, 10]))
        failed = await hub.client.wait_for_completion(await hub.client.start_new("calls", client_input=[10, 2000]), timeout=1)
        assert failed.runtime_status is Status.Failed
        assert failed.failure is not None
        assert failed.failure.is_caused_by(df.PayloadTooLargeError)
