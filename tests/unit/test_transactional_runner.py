"""Who decides how a transactional activity ends: its commit, or those who give it up."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import pytest

from perdure.core.converter import JsonConverter
from perdure.core.effects import DispatchActivity
from perdure.core.functions import ActivityFunction, EntityFunction, OrchestratorFunction
from perdure.core.messages import Message, decode_message, encode_message
from perdure.engine.activities import ActivityExecutor, ActivityOutcome, Settlement, Settling
from perdure.store.contract import Fence, Lease, StoredMessage
from perdure.store.errors import LeaseLostError, StoreUnavailableError
from tests.unit.activity_harness import work

LEASE = Lease(0, 1, "engine", 0)


class FakeTransaction:
    def __init__(self, world: "World") -> None:
        self.connection: list[str] = []
        self._world = world

    def commit(self, message: StoredMessage, fence: Fence) -> None:
        assert fence is LEASE
        self._world.in_commit()
        self._world.committed.append((list(self.connection), decode_message(message.body)))


class World:
    """An executor with transactions that only remember, and what came out."""

    def __init__(self, function: Callable[..., Any], style: str, timeout: timedelta | None = None) -> None:
        pool: Any = "loop" if style == "async" else "thread"
        self.orchestrators: dict[str, OrchestratorFunction] = {}
        self.entities: dict[str, EntityFunction] = {}
        self.activities = {"write": ActivityFunction("write", function, pool, timeout=timeout, transactional=True)}
        self.committed: list[tuple[list[str], Message]] = []
        self.settled: asyncio.Queue[tuple[DispatchActivity, Settlement]] = asyncio.Queue()
        self.outcomes: asyncio.Queue[ActivityOutcome] = asyncio.Queue()
        self.fence: Fence | None = LEASE
        self.in_commit: Callable[[], None] = lambda: None
        settling = Settling(
            transactions=self,  # type: ignore[arg-type]  # as much of them as activities need
            fence=lambda _: self.fence,
            stored=lambda message: StoredMessage("m", message.instance_id, 0, encode_message(message)),
            settled=lambda activity, settlement: self.settled.put_nowait((activity, settlement)),
        )
        self.executor = ActivityExecutor(
            self,
            JsonConverter(1000),
            self._receive,
            max_concurrent=10,
            max_threads=2,
            max_processes=1,
            kill_grace=timedelta(seconds=30),
            settling=settling,
        )

    def _receive(self, outcomes: list[ActivityOutcome]) -> None:
        for outcome in outcomes:
            self.outcomes.put_nowait(outcome)

    @contextmanager
    def begin(self) -> Generator[FakeTransaction]:
        yield FakeTransaction(self)

    @asynccontextmanager
    async def begin_async(self) -> AsyncGenerator[Any]:
        transaction: Any = FakeTransaction(self)
        commit = transaction.commit

        async def commit_async(*arguments: Any) -> None:
            commit(*arguments)

        transaction.commit = commit_async
        yield transaction

    @property
    def job(self) -> Any:
        """The only one there is."""
        [tasks] = self.executor._live.values()  # noqa: SLF001 - to strike at one exact moment
        [job] = tasks.values()
        return job

    def expire(self, style: str) -> None:
        """What its timer does, as if it had run for ever."""
        pool: Any = self.executor._lanes["loop" if style == "async" else "thread"].pool  # noqa: SLF001 - see above
        self.job.started = float("-inf")
        pool._expire(self.job)  # noqa: SLF001 - see above

    def on_loop(self, call: Callable[[], None], style: str) -> None:
        """Calls it on the event loop, and returns when that is done."""
        if style == "async":
            call()
            return

        async def run() -> None:
            call()

        asyncio.run_coroutine_threadsafe(run(), self.loop).result(30)

    async def __aenter__(self) -> "World":
        self.loop = asyncio.get_running_loop()
        self.executor.start(self.loop)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.executor.close(timedelta())
        assert self.outcomes.empty()
        assert self.settled.empty()


def _write(name: str, connection: list[str]) -> str:
    connection.append(name)
    return name.upper()


async def _write_async(name: str, connection: list[str]) -> str:
    return _write(name, connection)


@pytest.fixture(params=["def", "async"])
def style(request: pytest.FixtureRequest) -> str:
    return request.param


def world_of(style: str, **options: Any) -> World:
    return World(_write_async if style == "async" else _write, style, **options)


async def test_the_completion_goes_with_the_writes(style: str) -> None:
    async with world_of(style) as world:
        world.executor.dispatch(work("write", '"x"'))
        activity, settlement = await world.settled.get()
        assert (activity.name, settlement) == ("write", Settlement())
        [(writes, message)] = world.committed
        assert writes == ["x"]
        assert (message.instance_id, message.execution_id, message.event.result) == ("i", "e", '"X"')  # type: ignore[union-attr]


@pytest.mark.parametrize("blow", ["expire", "cancel", "void"])
async def test_what_is_being_committed_cant_be_stopped_any_more(style: str, blow: str) -> None:
    async with world_of(style, timeout=timedelta(hours=1)) as world:
        blows: dict[str, Callable[[], None]] = {
            "expire": lambda: world.expire(style),
            "cancel": lambda: world.executor.cancel_instance("i"),
            "void": lambda: world.executor.void(lambda _: True),
        }
        world.in_commit = lambda: world.on_loop(blows[blow], style)
        world.executor.dispatch(work("write", '"x"'))
        _, settlement = await world.settled.get()
        assert settlement == Settlement()
        assert len(world.committed) == 1
        # And its place is free for another run.
        world.in_commit = lambda: None
        world.executor.dispatch(work("write", '"y"'))
        await world.settled.get()


async def test_a_time_limit_that_ends_during_the_commit_doesnt_hide_what_came_of_it(
    style: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with world_of(style, timeout=timedelta(hours=1)) as world:

        def fail() -> None:
            world.on_loop(lambda: world.expire(style), style)
            raise ZeroDivisionError("a constraint")

        world.in_commit = fail
        world.executor.dispatch(work("write", '"x"'))
        outcome = await world.outcomes.get()
        assert outcome.failure is not None
        assert outcome.failure.type == "ZeroDivisionError"
        assert not caplog.records


async def test_what_was_given_up_before_its_commit_is_not_committed(style: str) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow_async(name: str, connection: list[str]) -> str:
        reached.set()
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        return _write(name, connection)

    def slow(name: str, connection: list[str]) -> str:
        world.loop.call_soon_threadsafe(reached.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), world.loop).result(30)
        return _write(name, connection)

    async with World(slow_async if style == "async" else slow, style) as world:
        world.executor.dispatch(work("write", '"x"'))
        await reached.wait()
        reached.clear()
        job = world.job
        world.executor.void(lambda _: True)
        world.executor.dispatch(work("write", '"x"'))
        await reached.wait()
        assert world.job is not job
        go_on.set()
        await world.settled.get()
        assert len(world.committed) == 1


async def test_without_a_fence_nothing_is_committed(style: str) -> None:
    async with world_of(style) as world:
        world.fence = None
        world.executor.dispatch(work("write", '"x"'))
        _, settlement = await world.settled.get()
        assert settlement == Settlement(refused=True)
        assert not world.committed


@pytest.mark.parametrize(
    ("error", "settlement"),
    [
        (LeaseLostError("gone"), lambda error: Settlement(refused=True)),
        (StoreUnavailableError("lost"), lambda error: Settlement(unknown=error)),
    ],
    ids=["refused", "unknown"],
)
async def test_what_the_store_says_is_passed_on(style: str, error: Exception, settlement: Callable[[Any], Settlement]) -> None:
    def fail() -> None:
        raise error

    async with world_of(style) as world:
        world.in_commit = fail
        world.executor.dispatch(work("write", '"x"'))
        assert (await world.settled.get())[1] == settlement(error)


async def test_what_the_database_refuses_is_the_users_failure(style: str) -> None:
    def fail() -> None:
        raise ZeroDivisionError("a constraint")

    async with world_of(style) as world:
        world.in_commit = fail
        world.executor.dispatch(work("write", '"x"'))
        outcome = await world.outcomes.get()
        assert outcome.failure is not None
        assert outcome.failure.type == "ZeroDivisionError"


async def test_an_input_that_cant_be_read_begins_nothing(style: str) -> None:
    async with world_of(style) as world:
        world.executor.dispatch(work("write", '"x'))
        outcome = await world.outcomes.get()
        assert outcome.failure is not None
        assert outcome.failure.non_retriable
        assert not world.committed


async def test_a_transaction_that_fails_at_its_end_costs_no_thread(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world_of(style) as world:

        @contextmanager
        def broken() -> Generator[Any]:
            yield FakeTransaction(world)
            raise OSError("the end of the context")

        @asynccontextmanager
        async def broken_async() -> AsyncGenerator[Any]:
            with broken() as transaction:
                yield transaction

        monkeypatch.setattr(world, "begin", broken)
        monkeypatch.setattr(world, "begin_async", broken_async)
        world.fence = None
        world.executor.dispatch(work("write", '"x"'))
        assert (await world.settled.get())[1].refused
        monkeypatch.undo()
        world.fence = LEASE
        world.executor.dispatch(work("write", '"x"'))
        assert (await world.settled.get())[1] == Settlement()


async def test_a_stopped_wait_for_a_transaction_ends(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = asyncio.Event()
    async with world_of(style) as world:

        def unavailable() -> Any:
            world.loop.call_soon_threadsafe(tried.set)
            raise StoreUnavailableError("too many connections")

        monkeypatch.setattr(world, "begin", unavailable)
        monkeypatch.setattr(world, "begin_async", unavailable)
        world.executor.dispatch(work("write", '"x"'))
        await tried.wait()
        world.executor.cancel_instance("i")
    assert not world.committed
