"""Hubs that close, restart, are overloaded, blocked, or opened twice."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import perdure as df
from perdure.engine.hooks import EngineHooks
from tests.e2e import samples
from tests.e2e.lab import Lab, real_scenario, scenario, until

Status = df.OrchestrationRuntimeStatus
Context = df.DurableOrchestrationContext


def waiter(context: Context) -> Generator[Any, Any, Any]:
    """Gives back its input and the event "go"."""
    return [context.get_input(), (yield context.wait_for_external_event("go"))]


async def output(hub: df.TaskHub, instance_id: str) -> Any:
    status = await hub.client.wait_for_completion(instance_id, timeout=timedelta(days=1))
    assert status.runtime_status is Status.Completed, status
    return status.output


@scenario
async def test_a_restart_continues_everything_that_was_open(lab: Lab) -> None:
    calls: list[int] = []
    gate = asyncio.Event()

    async def gated(value: int) -> int:
        calls.append(value)
        if value:
            await gate.wait()
        return value

    def busy(context: Context):
        done = yield context.call_activity("gated", 0)
        timer = context.create_timer(timedelta(hours=1))
        child = context.call_sub_orchestrator("waiter", 5, instance_id="child")
        activity = context.call_activity("gated", 1)
        results = yield context.task_all([child, activity])
        yield timer
        return [done, *results]

    lab.activity(gated)
    lab.orchestrator(busy)
    lab.orchestrator(waiter)
    async with lab.hub(drain_grace=timedelta(0)) as hub:
        instance_id = await hub.client.start_new("busy")
        await until(lambda: calls == [0, 1])
        await until(lambda: hub.client.get_status("child"))
    async with lab.hub(drain_grace=timedelta(0)) as hub:
        await hub.client.raise_event("child", "go", 6)
        await until(lambda: calls == [0, 1, 1])  # repeated, because it had not finished
    gate.set()
    async with lab.hub() as hub:
        assert await output(hub, instance_id) == [0, [5, 6], 1]
        assert calls == [0, 1, 1, 1]
    async with lab.hub() as hub:
        await hub.client.start_new("waiter")
        await asyncio.sleep(1)
        assert calls == [0, 1, 1, 1]
        await hub.client.terminate(instance_id)  # too late
        assert await output(hub, instance_id) == [0, [5, 6], 1]


@scenario
async def test_close_lets_running_activities_finish_and_keeps_their_results(lab: Lab) -> None:
    calls: list[int] = []

    async def slow(value: int) -> int:
        calls.append(value)
        await asyncio.sleep(5)
        return value

    def two(context: Context):
        first = yield context.call_activity("slow", 1)
        return [first, (yield context.call_activity("slow", 2))]

    lab.activity(slow)
    lab.orchestrator(two)
    async with lab.hub() as hub:
        instance_id = await hub.client.start_new("two")
        await until(lambda: calls)
    assert calls == [1]
    async with lab.hub() as hub:
        assert await output(hub, instance_id) == [1, 2]
    assert calls == [1, 2]


@scenario
async def test_an_orchestrator_that_is_gone_after_a_restart_idles_and_loses_nothing(lab: Lab) -> None:
    missing: list[tuple[str, str]] = []

    class Hooks(EngineHooks):
        def orchestrator_missing(self, instance_id: str, name: str) -> None:
            missing.append((instance_id, name))

    def steps(context: Context):
        yield context.create_timer(timedelta(seconds=10))
        return [(yield context.wait_for_external_event("go")), (yield context.wait_for_external_event("go"))]

    first_app = lab.app
    lab.orchestrator(steps)
    async with lab.hub() as hub:
        await hub.client.start_new("steps", "a")
        await hub.client.start_new("steps", "late", start_at=timedelta(seconds=10))
    lab.new_app()
    async with lab.hub(hooks=Hooks()) as hub:
        for instance_id in ("a", "late"):
            await hub.client.raise_event(instance_id, "go", 1)
        await asyncio.sleep(60)  # the timer fires, the delayed start is due
        for instance_id in ("a", "late"):
            await hub.client.raise_event(instance_id, "go", 2)
        assert (await hub.client.get_status("a")).runtime_status is Status.Running
        assert (await hub.client.get_status("late")).runtime_status is Status.Pending
        assert ("a", "steps") in missing
    lab.app = first_app
    async with lab.hub() as hub:
        assert await output(hub, "a") == [1, 2]
        assert await output(hub, "late") == [1, 2]


@scenario
async def test_changed_code_fails_its_instance_and_calls_nothing_that_history_does_not_know(lab: Lab) -> None:
    calls: list[str] = []

    async def old(value: None) -> None:
        calls.append("old")
        await asyncio.sleep(100)

    async def new(value: None) -> None:
        calls.append("new")

    def changing(context: Context):
        yield context.task_any([context.call_activity("old"), context.wait_for_external_event("go")])

    lab.activity(old)
    lab.orchestrator(changing)
    async with lab.hub(drain_grace=timedelta(0)) as hub:
        instance_id = await hub.client.start_new("changing")
        await until(lambda: calls)

    def changed(context: Context):
        yield context.task_any([context.call_activity("new"), context.wait_for_external_event("go")])

    lab.new_app()
    lab.activity(old)
    lab.activity(new)
    lab.orchestrator(changed, orchestration="changing")
    lab.orchestrator(waiter)
    async with lab.hub() as hub:
        await hub.client.start_new("waiter")
        with suppress(df.InstanceFinishedError):  # the first turn fails it, before the event is looked at
            await hub.client.raise_event(instance_id, "go")
        status = await hub.client.wait_for_completion(instance_id, timeout=10)
        assert status.runtime_status is Status.Failed
        assert status.failure is not None
        assert status.failure.is_caused_by(df.NonDeterminismError)
        for part in ("'old'", "'new'", Path(__file__).name):
            assert part in status.failure.message
        assert "new" not in calls


@scenario
async def test_a_version_that_no_store_can_keep_is_refused_and_the_hub_goes_on(lab: Lab) -> None:
    lab.orchestrator(waiter)
    async with lab.hub() as hub:
        with pytest.raises(df.InvalidNameError, match=r"the version '1.x00' of an orchestration has a NUL character"):
            await hub.client.start_new("waiter", version="1\0")
        instance_id = await hub.client.start_new("waiter", client_input=1)
        await hub.client.raise_event(instance_id, "go", 2)
        assert await output(hub, instance_id) == [1, 2]


@scenario
async def test_clients_wait_while_the_engine_is_overloaded(lab: Lab) -> None:
    gate = asyncio.Event()
    started: list[str] = []

    async def gated(value: None) -> None:
        await gate.wait()

    def calls(context: Context):
        yield context.call_activity("gated")

    lab.activity(gated)
    lab.orchestrator(calls)
    async with lab.hub(max_concurrent_activities=1, max_queued_messages=10) as hub:

        async def start(number: int) -> str:
            instance_id = await hub.client.start_new("calls")
            started.append(instance_id)
            return instance_id

        starting = [asyncio.create_task(start(number)) for number in range(100)]
        await asyncio.sleep(60)
        assert 10 < len(started) < 30
        gate.set()
        for instance_id in await asyncio.gather(*starting):
            await output(hub, instance_id)


@scenario
async def test_sessions_stay_within_their_bound(lab: Lab) -> None:
    lab.orchestrator(waiter)
    async with lab.hub(max_sessions=0 if lab.kind.cold else 5) as hub:
        ids = [await hub.client.start_new("waiter", client_input=number) for number in range(30)]
        assert hub.hydrated_instances <= 6
        await asyncio.sleep(100)
        await hub.client.raise_event(ids[0], "go", 0)  # a turn, after which the idle ones go
        await output(hub, ids[0])
        assert hub.hydrated_instances <= 1
        for number, instance_id in enumerate(ids[1:], 1):
            await hub.client.raise_event(instance_id, "go", number)
            assert await output(hub, instance_id) == [number, number]


@real_scenario
async def test_terminate_reaches_activities_in_threads_and_processes(lab: Lab) -> None:
    in_thread = threading.Event()
    stopped = threading.Event()

    def polls(value: None) -> None:
        in_thread.set()
        if df.activity_context().cancellation.wait(20):
            stopped.set()

    def calls(context: Context):
        yield context.call_activity(*context.get_input())

    pid_file = lab.folder / "pid"
    lab.activity(polls)
    lab.activity(samples.write_pid_and_sleep, pool="process")
    lab.orchestrator(calls)
    async with lab.hub(kill_grace=timedelta(seconds=0.2)) as hub:
        thread = await hub.client.start_new("calls", client_input=["polls"])
        process = await hub.client.start_new("calls", client_input=["write_pid_and_sleep", str(pid_file)])
        await until(in_thread.is_set)
        await until(lambda: pid_file.exists() and pid_file.read_text())
        pid = int(pid_file.read_text())
        for instance_id in (thread, process):
            await hub.client.terminate(instance_id)
            assert (await hub.client.wait_for_completion(instance_id, timeout=5)).runtime_status is Status.Terminated
        await until(stopped.is_set)
        await until(lambda: not Path(f"/proc/{pid}").exists())
        await until(lambda: hub.running_activities == 0)


@real_scenario
async def test_activities_of_all_pools_together(lab: Lab) -> None:
    def in_thread(value: int) -> list[Any]:
        return [value, threading.current_thread() is threading.main_thread()]

    async def on_loop(value: int) -> list[Any]:
        return [value, threading.current_thread() is threading.main_thread()]

    def mixed(context: Context):
        names = ["in_thread", "on_loop", "square"]
        results = yield context.task_all([context.call_activity(name, number) for number, name in enumerate(names * 3)])
        return results

    lab.activity(in_thread)
    lab.activity(on_loop)
    lab.activity(samples.square, pool="process")
    lab.orchestrator(mixed)
    async with lab.hub(max_activity_processes=1) as hub:
        expected: list[Any] = []
        for number in range(0, 9, 3):
            expected += [[number, False], [number + 1, True], (number + 2) ** 2]
        assert await output(hub, await hub.client.start_new("mixed")) == expected


@real_scenario
async def test_an_orchestrator_that_blocks_is_reported_with_its_stack(lab: Lab) -> None:
    reports: list[tuple[str, str, float, str]] = []

    class Hooks(EngineHooks):
        def blocked(self, instance_id: str, name: str, seconds: float, stack: str) -> None:
            reports.append((instance_id, name, seconds, stack))

    def blocks(context: Context):
        end = time.monotonic() + 10
        while not reports and time.monotonic() < end:
            time.sleep(0.01)

    lab.orchestrator(blocks)
    async with lab.hub(hooks=Hooks(), blocked_after=timedelta(seconds=0.1)) as hub:
        instance_id = await hub.client.start_new("blocks")
        await output(hub, instance_id)
    (reported,) = reports
    assert reported[:2] == (instance_id, "blocks")
    assert reported[2] >= 0.1
    assert "time.sleep(0.01)" in reported[3]


def test_a_hub_in_use_names_the_process_that_has_it(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.samples", str(tmp_path / "hub.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"

        async def open_too() -> None:
            async with df.TaskHub(df.DFApp(), f"sqlite:///{tmp_path / 'hub.db'}"):
                pass

        with pytest.raises(df.HubInUseError, match=str(holder.pid)):
            asyncio.run(open_too())
    finally:
        holder.communicate("close\n", timeout=20)
    asyncio.run(open_too())


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_the_blocking_hub_does_the_same_without_async(store: str, tmp_path: Path) -> None:
    app = df.DFApp()
    app.orchestration_trigger(context_name="context")(waiter)
    url = "memory://" if store == "memory" else f"sqlite:///{tmp_path / 'hub.db'}"
    with df.BlockingTaskHub(app, url) as hub:
        client = hub.client
        instance_id = client.start_new("waiter", client_input=1)
        with pytest.raises(TimeoutError):
            client.wait_for_completion(instance_id, timeout=0.01)
        client.suspend(instance_id)
        client.raise_event(instance_id, "go", 2)
        client.resume(instance_id)
        assert client.wait_for_completion(instance_id, timeout=10).output == [1, 2]
        assert [status.instance_id for status in client.get_status_all()] == [instance_id]
        assert client.get_status(instance_id, show_input=True).input_ == 1
        other = client.start_new("waiter")
        client.terminate(other, "enough")
        assert [status.instance_id for status in client.get_status_by(runtime_status=[Status.Terminated])] == [other]
        assert client.purge_instance_history(instance_id).instances_deleted == 1
        assert client.purge_instance_history_by().instances_deleted == 1
        with pytest.raises(df.InstanceNotFoundError):
            client.raise_event(instance_id, "go")
    for closed in (hub, df.BlockingTaskHub(app)):
        with pytest.raises(df.EngineStoppedError):
            closed.client.get_status(instance_id)
