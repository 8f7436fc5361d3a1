"""Rewind: failed orchestrations go on from just before their failure, also through sub-orchestrations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

import perdure as df


class Backend:
    """Activities that fail while they are broken, and who called them."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.calls: list[str] = []


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def app(backend: Backend) -> df.DFApp:
    app = df.DFApp()

    @app.orchestration_trigger(context_name="context")
    def parent(context: df.DurableOrchestrationContext):
        first = yield context.call_activity("work", "first")
        with suppress(df.TaskFailedError):  # handled: a rewind must not touch it
            yield context.call_activity("work", "never")
        rest = yield context.task_all(
            [
                context.call_sub_orchestrator("child", "a"),
                context.call_sub_orchestrator("child", "c"),
                context.call_activity("work", "b"),
            ]
        )
        return [first, *rest]

    @app.orchestration_trigger(context_name="context")
    async def child(context: df.DurableOrchestrationContext) -> str:
        name = context.get_input()
        await context.call_activity("work", f"before {name}")
        return await context.call_activity_with_retry("work", df.RetryOptions(1, 2), name)

    @app.orchestration_trigger(context_name="context")
    def first_turn_fails(context: df.DurableOrchestrationContext):
        if "code" in backend.broken:
            raise RuntimeError("a bug of the orchestrator's")
        return context.get_input()
        yield

    @app.activity_trigger(input_name="name")
    async def work(name: str) -> str:
        backend.calls.append(name)
        if name in backend.broken or name == "never":
            raise ValueError(name)
        return name

    return app


@asynccontextmanager
async def opened(app: df.DFApp, kind: str, folder: Path, max_sessions: int = 100) -> AsyncIterator[df.DurableClient]:
    url = "memory://" if kind == "memory" else f"sqlite:///{folder}/hub.db"
    async with df.TaskHub(app, url, settings=df.EngineSettings(max_sessions=max_sessions)) as hub:
        yield hub.client


async def end_of_child(client: df.DurableClient, instance_id: str) -> None:
    """The parent may fail before the start of its child has been handled."""
    async with asyncio.timeout(10):
        while True:
            with suppress(df.InstanceNotFoundError):
                await client.wait_for_completion(instance_id, 10)
                return


@pytest.mark.parametrize("max_sessions", [100, 0])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_only_what_failed_is_done_again(
    app: df.DFApp, backend: Backend, tmp_path: Path, kind: str, max_sessions: int
) -> None:
    backend.broken = {"a", "b"}
    async with opened(app, kind, tmp_path, max_sessions) as client:
        instance_id = await client.start_new("parent")
        assert (await client.wait_for_completion(instance_id, 10)).runtime_status == "Failed"
        await end_of_child(client, f"{instance_id}:0:0002")  # both children have ended before the rewind:
        await end_of_child(client, f"{instance_id}:0:0003")  # one failed, one completed unheard
        backend.broken = set()
        await client.rewind(instance_id, "mended")
        status = await client.wait_for_completion(instance_id, 10)
        assert status.output == ["first", "a", "c", "b"]
        assert [backend.calls.count(name) for name in ("first", "never", "before a", "before c", "c")] == [1, 1, 1, 1, 1]
        history = (await client.get_status(instance_id, show_history=True)).history or []
        assert [entry["Reason"] for entry in history if entry["EventType"] == "ExecutionRewound"] == ["mended"]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_failure_in_the_first_turn(app: df.DFApp, backend: Backend, tmp_path: Path, kind: str) -> None:
    backend.broken = {"code"}
    async with opened(app, kind, tmp_path) as client:
        instance_id = await client.start_new("first_turn_fails", client_input=7)
        assert (await client.wait_for_completion(instance_id, 10)).runtime_status == "Failed"
        backend.broken = set()
        await client.rewind(instance_id)
        status = await client.wait_for_completion(instance_id, 10, show_input=True)
        assert (status.output, status.input_) == (7, 7)


async def test_a_second_failure_can_be_rewound_too(app: df.DFApp, backend: Backend, tmp_path: Path) -> None:
    backend.broken = {"b"}
    async with opened(app, "sqlite", tmp_path) as client:
        instance_id = await client.start_new("parent")
        for _ in range(2):
            assert (await client.wait_for_completion(instance_id, 10)).runtime_status == "Failed"
            await client.rewind(instance_id)
        assert (await client.wait_for_completion(instance_id, 10)).runtime_status == "Failed"
        backend.broken = set()
        await client.rewind(instance_id)
        assert (await client.wait_for_completion(instance_id, 10)).output == ["first", "a", "c", "b"]


async def test_what_is_rewound_survives_a_restart(app: df.DFApp, backend: Backend, tmp_path: Path) -> None:
    backend.broken = {"b"}
    async with opened(app, "sqlite", tmp_path) as client:
        instance_id = await client.start_new("parent")
        await client.wait_for_completion(instance_id, 10)
        await client.rewind(instance_id)
        await client.wait_for_completion(instance_id, 10)
    backend.broken = set()
    async with opened(app, "sqlite", tmp_path) as client:
        await client.rewind(instance_id)
        assert (await client.wait_for_completion(instance_id, 10)).output == ["first", "a", "c", "b"]


async def test_only_failed_instances_can_be_rewound(app: df.DFApp, tmp_path: Path) -> None:
    async with opened(app, "memory", tmp_path) as client:
        with pytest.raises(df.InstanceNotFoundError, match="'nobody'"):
            await client.rewind("nobody")
        done = await client.start_new("first_turn_fails")
        await client.wait_for_completion(done, 10)
        with pytest.raises(df.InstanceFinishedError, match="Completed"):
            await client.rewind(done)
        later = await client.start_new("parent", start_at=timedelta(days=1))
        with pytest.raises(df.InstanceRunningError, match="Pending"):
            await client.rewind(later)


@pytest.mark.parametrize("max_sessions", [100, 0])
async def test_late_results_of_the_undone_turn_are_not_taken_for_new_ones(tmp_path: Path, max_sessions: int) -> None:
    app, broken, slow = df.DFApp(), True, asyncio.Event()

    @app.orchestration_trigger(context_name="context")
    def changed(context: df.DurableOrchestrationContext):
        if broken:
            context.call_activity("wait", "old")
            raise RuntimeError("a bug")
        yield context.wait_for_external_event("go")
        return (yield context.call_activity("echo", "new"))

    @app.activity_trigger(input_name="name")
    async def wait(name: str) -> str:
        await slow.wait()
        return name

    @app.activity_trigger(input_name="name")
    async def echo(name: str) -> str:
        return name

    async with df.TaskHub(app, settings=df.EngineSettings(max_sessions=max_sessions)) as hub:
        instance_id = await hub.client.start_new("changed")
        assert (await hub.client.wait_for_completion(instance_id, 10)).runtime_status == "Failed"
        broken = False
        await hub.client.rewind(instance_id)
        slow.set()  # the result of the call that the new code never makes arrives now
        while hub.running_activities:  # noqa: ASYNC110 - no event tells that an unheard activity has ended
            await asyncio.sleep(0)
        await hub.client.raise_event(instance_id, "go")
        assert (await hub.client.wait_for_completion(instance_id, 10)).output == "new"
