"""Starts in users' transactions, and activities that write exactly once, on every store that has transactions."""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psycopg
import pytest

import perdure as df
from perdure.engine.hooks import EngineHooks
from perdure.observability import LoggingHooks
from perdure.store.contract import Fence, HubStore, StoredMessage
from perdure.store.errors import LeaseLostError, StoreUnavailableError
from perdure.testing.faults import Fault, FaultyStore
from perdure.testing.replay_checker import ReplayChecker
from tests.e2e.lab import until
from tests.effects import Place, run
from tests.transactional_app import transactional_app

Status = df.OrchestrationRuntimeStatus


@pytest.fixture
def postgres_place(postgres_url: str, postgres_schema: str) -> Place:
    return Place(postgres_url, f"{postgres_schema}_effects")


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place(f"sqlite:///{tmp_path / 'hub.db'}")
    return request.getfixturevalue("postgres_place")


@pytest.fixture(params=["def", "async"])
def style(request: pytest.FixtureRequest) -> str:
    return request.param


@asynccontextmanager
async def open_hub(
    place: Place,
    app: df.DFApp,
    *,
    store: HubStore | None = None,
    first: bool = True,
    hooks: EngineHooks | None = None,
) -> AsyncGenerator[df.TaskHub]:
    """A hub that is watched by the replay checker. ``first``: also makes the user's tables."""
    checker = ReplayChecker(store or place.store())
    hub = df.TaskHub(app, checker, hooks=hooks)
    checker.watch(hub.live_state)
    async with hub:
        if first:
            place.make_table()
        yield hub
    assert not checker.mismatches


async def output(hub: df.TaskHub, instance_id: str) -> Any:
    status = await hub.client.wait_for_completion(instance_id, timeout=30)
    assert status.runtime_status is Status.Completed, status
    return status.output


# --- activities -------------------------------------------------------------------------------------------------------


async def test_every_call_has_one_effect(place: Place, style: str) -> None:
    async with open_hub(place, transactional_app(place, style)) as hub:
        names = [f"x{number}" for number in range(5)]
        chain = await hub.client.start_new("chain", client_input=names)
        fan = await hub.client.start_new("fan", client_input=names)
        assert await output(hub, chain) == await output(hub, fan) == [f"wrote {name}" for name in names]
        assert place.rows() == sorted(names * 2)
    assert await _messages(place) == []


async def _messages(place: Place) -> list[str]:
    store = place.store()
    await store.open()
    try:
        return [message.message_id for message in await store.inbox(range(16), (), 100)]
    finally:
        await store.close()


async def test_a_failure_undoes_the_effect_and_is_an_ordinary_one(place: Place, style: str) -> None:
    attempts: list[str] = []

    def written(name: str) -> None:
        attempts.append(name)
        if len(attempts) < 3:
            raise ValueError(f"no {name}")

    async with open_hub(place, transactional_app(place, style, written=written)) as hub:
        assert await output(hub, await hub.client.start_new("stubborn", client_input="x")) == "wrote x"
        attempts.clear()
        status = await hub.client.wait_for_completion(await hub.client.start_new("chain", client_input=["y"]), timeout=30)
        assert status.runtime_status is Status.Failed
        assert "ValueError" in str(status.failure)
        assert "no y" in str(status.failure)
    assert place.rows() == ["x"]


async def test_a_result_that_cant_be_stored_undoes_the_effect(place: Place, style: str) -> None:
    app = df.DFApp()

    async def returns_async(name: str, connection: Any) -> object:
        await run(connection, place.insert(name))
        return object()

    def returns(name: str, connection: Any) -> object:
        connection.execute(place.insert(name))
        return object()

    app.activity_trigger(input_name="name", activity="write", transactional=True)(returns_async if style == "async" else returns)

    @app.orchestration_trigger(context_name="context")
    async def caller(context: df.DurableOrchestrationContext) -> None:
        await context.call_activity("write", "x")

    async with open_hub(place, app) as hub:
        status = await hub.client.wait_for_completion(await hub.client.start_new("caller"), timeout=30)
        assert status.runtime_status is Status.Failed
        assert "SerializationError" in str(status.failure)
    assert place.rows() == []


async def test_what_the_database_refuses_at_the_end_fails_the_activity(place: Place) -> None:
    app = df.DFApp()

    @app.activity_trigger(input_name="name", transactional=True)
    def write(name: str, connection: Any) -> None:
        connection.execute(place.insert_wrongly(name))

    @app.orchestration_trigger(context_name="context")
    async def caller(context: df.DurableOrchestrationContext) -> None:
        await context.call_activity("write", "x")

    async with open_hub(place, app) as hub:
        status = await hub.client.wait_for_completion(await hub.client.start_new("caller"), timeout=30)
        assert status.runtime_status is Status.Failed
        assert "foreign key" in str(status.failure).lower()
    assert place.rows() == []


async def test_a_time_out_undoes_the_effect(place: Place, style: str) -> None:
    """A thread can't be stopped, but what it does after its time is over isn't committed."""
    app = transactional_app(place, style, written=_until_stopped(style), timeout=timedelta(milliseconds=50))
    async with open_hub(place, app) as hub:
        status = await hub.client.wait_for_completion(await hub.client.start_new("chain", client_input=["x"]), timeout=30)
        assert status.runtime_status is Status.Failed
        assert "TimeoutError" in str(status.failure)
    assert place.rows() == []


async def test_terminating_undoes_what_is_not_committed(postgres_place: Place, style: str) -> None:
    """On SQLite the termination can't be written before the activity ends."""
    place = postgres_place
    loop, reached = asyncio.get_running_loop(), asyncio.Event()
    wait = _until_stopped(style)

    def written(name: str) -> Any:
        loop.call_soon_threadsafe(reached.set)
        return wait(name)

    async with open_hub(place, transactional_app(place, style, written=written)) as hub:
        instance_id = await hub.client.start_new("chain", client_input=["x"])
        await reached.wait()
        await hub.client.terminate(instance_id)
        status = await hub.client.wait_for_completion(instance_id, timeout=30)
        assert status.runtime_status is Status.Terminated
    assert place.rows() == []


def _until_stopped(style: str) -> Callable[[str], Any]:
    if style == "async":
        return lambda _: asyncio.Event().wait()
    return lambda _: df.activity_context().cancellation.wait(60)


async def test_closing_the_hub_undoes_what_runs_and_the_next_hub_does_it(place: Place) -> None:
    reached = asyncio.Event()

    def forever(name: str) -> Any:
        reached.set()
        return asyncio.Event().wait()

    async with open_hub(place, transactional_app(place, "async", written=forever)) as hub:
        instance_id = await hub.client.start_new("chain", client_input=["x"])
        await reached.wait()
        hub.hurry()
    assert place.rows() == []
    async with open_hub(place, transactional_app(place, "async"), first=False) as hub:
        assert await output(hub, instance_id) == ["wrote x"]
    assert place.rows() == ["x"]


async def test_a_failure_of_the_store_in_the_middle_repeats_nothing(style: str, postgres_place: Place) -> None:
    """Recovery voids what runs, and runs it again; the first run can't commit any more."""
    place = postgres_place
    release = threading.Event()
    first, again = asyncio.Event(), asyncio.Event()
    runs: list[str] = []
    loop = asyncio.get_running_loop()

    def written(name: str) -> Any:
        runs.append(name)
        if len(runs) > 1:
            loop.call_soon_threadsafe(again.set)
            return None
        loop.call_soon_threadsafe(first.set)
        return _ignore_cancellation(again) if style == "async" else release.wait(60)

    plan = Switch()
    async with open_hub(place, transactional_app(place, style, written=written), store=FaultyStore(place.store(), plan)) as hub:
        instance_id = await hub.client.start_new("chain", client_input=["x"])
        await first.wait()
        plan.on = True
        with pytest.raises(df.CommitFailedError):
            await hub.client.start_new("chain", client_input=[])
        await again.wait()
        assert await output(hub, instance_id) == ["wrote x"]
        release.set()
    assert runs == ["x", "x"]
    assert place.rows() == ["x"]


class Switch:
    """The next commit fails when it is on."""

    on = False

    def fault(self, method: str) -> Fault | None:
        if method != "commit" or not self.on:
            return None
        self.on = False
        return Fault("before", StoreUnavailableError)


async def _ignore_cancellation(until: asyncio.Event) -> None:
    while not until.is_set():
        try:
            await until.wait()
        except asyncio.CancelledError:
            continue


@pytest.mark.parametrize("durable", [True, False])
async def test_a_commit_with_unknown_outcome_is_neither_lost_nor_repeated(
    place: Place, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = place.store()
    transactions: Any = store.transactions
    begin = transactions.begin_async
    commits: list[str] = []

    @asynccontextmanager
    async def unlucky() -> AsyncGenerator[Any]:
        async with begin() as transaction:
            commit = transaction.commit

            async def lose_the_answer(*arguments: Any) -> None:
                commits.append("tried")
                if durable or len(commits) > 1:
                    await commit(*arguments)
                if len(commits) == 1:
                    raise StoreUnavailableError("the connection was lost")

            transaction.commit = lose_the_answer
            yield transaction

    monkeypatch.setattr(transactions, "begin_async", unlucky)
    async with open_hub(place, transactional_app(place, "async"), store=store) as hub:
        assert await output(hub, await hub.client.start_new("chain", client_input=["x"])) == ["wrote x"]
    assert place.rows() == ["x"]
    assert len(commits) == (1 if durable else 2)


async def test_an_engine_that_has_lost_the_partition_reports_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = place.store()
    transactions: Any = store.transactions
    begin = transactions.begin_async
    refused = asyncio.Event()

    @asynccontextmanager
    async def unlucky() -> AsyncGenerator[Any]:
        async with begin() as transaction:

            async def refuse(*_: Any) -> None:
                refused.set()
                raise LeaseLostError("somebody else has it")

            transaction.commit = refuse
            yield transaction

    monkeypatch.setattr(transactions, "begin_async", unlucky)
    with caplog.at_level(logging.INFO, "perdure.activities"):
        async with open_hub(place, transactional_app(place, "async"), store=store) as hub:
            instance_id = await hub.client.start_new("chain", client_input=["x"])
            await refused.wait()
            await hub.client.raise_event(instance_id, "later")
            status = await hub.client.get_status(instance_id)
            assert status.runtime_status is Status.Running
    assert "done again by whoever it is for now" in caplog.text
    assert place.rows() == []
    monkeypatch.undo()
    async with open_hub(place, transactional_app(place, "async"), first=False) as hub:
        assert await output(hub, instance_id) == ["wrote x"]
    assert place.rows() == ["x"]


async def test_nor_does_one_report_a_failure_on_a_shared_hub(
    postgres_place: Place, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next owner may be running the activity, and may commit it."""
    place = postgres_place
    store = place.store()
    transactions: Any = store.transactions
    begin = transactions.begin_async
    told = asyncio.Event()

    @asynccontextmanager
    async def unlucky() -> AsyncGenerator[Any]:
        async with begin() as transaction:

            async def refuse(message: StoredMessage, _: Fence) -> None:
                assert b"TaskFailed" in message.body
                told.set()
                raise LeaseLostError("somebody else has it")

            transaction.commit = refuse
            yield transaction

    monkeypatch.setattr(transactions, "begin_async", unlucky)

    def fail(name: str) -> None:
        raise ValueError(name)

    async with open_hub(place, transactional_app(place, style, written=fail), store=store) as hub:
        instance_id = await hub.client.start_new("chain", client_input=["x"])
        await told.wait()
        await hub.client.raise_event(instance_id, "later")
        assert (await hub.client.get_status(instance_id)).runtime_status is Status.Running
    async with open_hub(place, transactional_app(place, style), first=False) as hub:
        assert await output(hub, instance_id) == ["wrote x"]
    assert place.rows() == ["x"]


async def test_an_activity_waits_while_there_is_no_transaction_for_it(
    place: Place, style: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("perdure.engine.activities.transactional._FIRST_PAUSE", 0.001)
    store = place.store()
    transactions: Any = store.transactions
    name = "begin_async" if style == "async" else "begin"
    begin, failures = getattr(transactions, name), iter(range(2))

    def unlucky() -> Any:
        if next(failures, None) is not None:
            raise StoreUnavailableError("too many connections")
        return begin()

    monkeypatch.setattr(transactions, name, unlucky)
    async with open_hub(place, transactional_app(place, style), store=store) as hub:
        assert await output(hub, await hub.client.start_new("chain", client_input=["x"])) == ["wrote x"]
    assert caplog.text.count("waits for a transaction: [PD3001] too many connections") == 2
    assert place.rows() == ["x"]


async def test_where_there_are_no_transactions_the_activity_fails_at_once() -> None:
    async with df.TaskHub(transactional_app(Place("memory://"), "def"), "memory://") as hub:
        status = await hub.client.wait_for_completion(await hub.client.start_new("stubborn", client_input="x"), timeout=30)
    assert status.runtime_status is Status.Failed
    assert "TransactionsUnsupportedError" in str(status.failure)
    assert "'write' is transactional" in str(status.failure)


async def test_without_psycopg_a_def_fails_at_once(postgres_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "perdure.store.postgres.with_psycopg", None)
    async with open_hub(postgres_place, transactional_app(postgres_place, "def")) as hub:
        status = await hub.client.wait_for_completion(await hub.client.start_new("stubborn", client_input="x"), timeout=30)
    assert "perdure[psycopg]" in str(status.failure)


async def test_a_worker_commits_under_its_claim(postgres_place: Place, style: str) -> None:
    place = postgres_place
    attempts: list[str] = []

    def written(name: str) -> None:
        attempts.append(name)
        if attempts.count("stubborn") in (1, 2) and name == "stubborn":
            raise ValueError("not yet")

    app = transactional_app(place, style, written=written)
    owner = df.TaskHub(app, place.url, settings=df.EngineSettings(role="owner"))
    worker = df.TaskHub(app, place.url, settings=df.EngineSettings(role="worker"))
    async with owner:
        place.make_table()
        async with worker:
            names = [f"x{number}" for number in range(5)]
            chain = await owner.client.start_new("chain", client_input=names)
            stubborn = await worker.client.start_new("stubborn", client_input="stubborn")
            assert await output(owner, chain) == [f"wrote {name}" for name in names]
            assert await output(worker, stubborn) == "wrote stubborn"
            assert owner.running_activities == 0
        assert place.rows() == sorted([*names, "stubborn"])
        store = place.store()
        await store.open()
        assert store.sharing is not None
        assert not await store.sharing.offered(range(16))
        await store.close()
    assert await _messages(place) == []


# --- definitions ------------------------------------------------------------------------------------------------------


def test_the_parameters_must_be_the_input_and_the_connection() -> None:
    app = df.DFApp()

    def no_connection(order: str) -> None: ...
    def other_name(order: str, database: Any) -> None: ...
    def one_more(order: str, connection: Any, more: int = 0) -> None: ...
    def no_input(connection: Any) -> None: ...

    for function in (no_connection, other_name, one_more, no_input):
        with pytest.raises(df.FunctionDefinitionError, match="exactly two parameters, 'order' and 'connection'"):
            app.activity_trigger(input_name="order", transactional=True)(function)


def test_a_process_has_no_connection() -> None:
    def write(order: str, connection: Any) -> None: ...

    with pytest.raises(df.FunctionDefinitionError, match="Leave pool out"):
        df.DFApp().activity_trigger(input_name="order", pool="process", transactional=True)(write)


# --- starts -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def user_connection(place: Place, driver: str = "") -> AsyncGenerator[Any]:
    """A connection of the user's on the event loop, with a transaction open."""
    if place.is_sqlite:
        with closing(place.connect()) as connection:
            yield connection
    elif driver == "psycopg":
        async with await psycopg.AsyncConnection.connect(place.dsn) as connection:
            yield connection
    else:
        connection = await asyncpg.connect(place.dsn)
        await connection.execute("BEGIN")
        try:
            yield connection
        finally:
            await connection.close()


async def test_a_start_commits_with_the_users_rows(place: Place) -> None:
    async with open_hub(place, transactional_app(place, "async")) as hub, user_connection(place) as connection:
        await run(connection, place.insert("mine"))
        instance_id = await hub.client.start_new("chain", client_input=["x"], connection=connection, tags={"of": "me"})
        assert not await hub.client.get_status(instance_id)
        with pytest.raises(df.InstanceNotFoundError):
            await hub.client.wait_for_completion(instance_id, timeout=30)
        await run(connection, "COMMIT")
        assert await output(hub, instance_id) == ["wrote x"]
        assert (await hub.client.get_status(instance_id)).tags == {"of": "me"}
        assert place.rows() == ["mine", "x"]


async def test_a_start_of_psycopgs_async_connection(postgres_place: Place) -> None:
    place = postgres_place
    async with open_hub(place, transactional_app(place, "async")) as hub:
        async with user_connection(place, "psycopg") as connection:
            instance_id = await hub.client.start_new("chain", client_input=["x"], connection=connection)
        assert await output(hub, instance_id) == ["wrote x"]


async def test_a_start_that_is_rolled_back_never_was(place: Place) -> None:
    async with open_hub(place, transactional_app(place, "async")) as hub, user_connection(place) as connection:
        await run(connection, place.insert("mine"))
        instance_id = await hub.client.start_new("chain", client_input=["x"], connection=connection)
        await run(connection, "ROLLBACK")
        assert await output(hub, await hub.client.start_new("chain", client_input=["other"])) == ["wrote other"]
        assert not await hub.client.get_status(instance_id)
    assert place.rows() == ["other"]


async def test_two_starts_in_one_transaction(place: Place) -> None:
    async with open_hub(place, transactional_app(place, "async")) as hub, user_connection(place) as connection:
        await run(connection, "SELECT 1")
        ids = [await hub.client.start_new("chain", client_input=[name], connection=connection) for name in ("x", "y")]
        await run(connection, "COMMIT")
        assert [await output(hub, instance_id) for instance_id in ids] == [["wrote x"], ["wrote y"]]


async def test_an_id_that_is_taken_is_only_logged(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    told = asyncio.Event()

    class Hooks(LoggingHooks):
        def start_refused(self, instance_id: str, name: str, error: str) -> None:
            super().start_refused(instance_id, name, error)
            told.set()

    app = transactional_app(place, "async")
    async with open_hub(place, app, hooks=Hooks()) as hub, user_connection(place) as connection:
        assert await output(hub, await hub.client.start_new("chain", "taken", ["x"])) == ["wrote x"]
        instance_id = await hub.client.start_new(
            "chain", "taken", ["y"], connection=connection, reuse_policy=df.ReusePolicy.RAISE
        )
        with caplog.at_level(logging.WARNING, "perdure"):
            await run(connection, "COMMIT")
            await told.wait()
        assert "taken (chain) was not started: [PD1301]" in caplog.text
        assert await output(hub, instance_id) == ["wrote x"]
    assert await _messages(place) == []


async def test_what_was_committed_while_no_hub_ran_is_found_by_the_next(place: Place) -> None:
    async with user_connection_later(place) as (connect, connections):
        async with open_hub(place, transactional_app(place, "async")) as hub:
            connection = await connect()
            instance_id = await hub.client.start_new("chain", client_input=["x"], connection=connection)
        await run(connections[0], "COMMIT")
    async with open_hub(place, transactional_app(place, "async"), first=False) as hub:
        await until(lambda: hub.client.get_status(instance_id))
        assert await output(hub, instance_id) == ["wrote x"]


@asynccontextmanager
async def user_connection_later(place: Place) -> AsyncGenerator[tuple[Callable[[], Any], list[Any]]]:
    """A connection that lives longer than the hub, in which it is made."""
    connections: list[Any] = []

    async def connect() -> Any:
        if place.is_sqlite:
            connections.append(place.connect())
        else:
            connections.append(await asyncpg.connect(place.dsn))
            await connections[0].execute("BEGIN")
        return connections[0]

    yield connect, connections
    result = connections[0].close()
    if result is not None:
        await result


async def test_nothing_asks_when_no_start_is_open(tmp_path: Path) -> None:
    place = Place(f"sqlite:///{tmp_path / 'hub.db'}")
    asked = 0
    store = place.store()
    transactions: Any = store.transactions
    ended = transactions.ended

    async def counted() -> None:
        nonlocal asked
        asked += 1
        await ended()

    transactions.ended = counted
    async with open_hub(place, transactional_app(place, "async"), store=store) as hub, user_connection(place) as connection:
        assert await output(hub, await hub.client.start_new("chain", client_input=["x"])) == ["wrote x"]
        assert asked == 0
        before = asyncio.all_tasks()
        instance_id = await hub.client.start_new("chain", client_input=["y"], connection=connection)
        assert len(asyncio.all_tasks() - before) == 1
        connection.commit()
        assert await output(hub, instance_id) == ["wrote y"]
        assert asked == 1
        assert not [task for task in asyncio.all_tasks() - before if "_look" in str(task.get_coro())]


async def test_a_wait_for_a_start_has_its_time_limit(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_hub(place, transactional_app(place, "async")) as hub, user_connection(place) as connection:
        instance_id = await hub.client.start_new("chain", client_input=["x"], connection=connection)
        await run(connection, "COMMIT")
        assert await output(hub, instance_id) == ["wrote x"]

        async def still_coming(_: str) -> bool:
            return True

        monkeypatch.setattr(hub._engine, "is_coming", still_coming)  # noqa: SLF001 - as if its owner took its time
        with pytest.raises(TimeoutError):
            await hub.client.wait_for_completion("nobody", timeout=0)


def test_a_blocking_start_uses_the_callers_connection_in_the_callers_thread(place: Place) -> None:
    app = transactional_app(place, "def")
    with df.BlockingTaskHub(app, place.url) as hub:
        place.make_table()
        with closing(place.connect()) as connection:
            connection.execute(place.insert("mine"))
            lost = hub.client.start_new("chain", client_input=["lost"], connection=connection)
            connection.rollback()
            instance_id = hub.client.start_new("chain", client_input=["x"], connection=connection)
            connection.commit()
        assert hub.client.wait_for_completion(instance_id, timeout=30).output == ["wrote x"]
        assert not hub.client.get_status(lost)
        with pytest.raises(df.UnusableConnectionError):
            hub.client.start_new("chain", connection="nothing")
    with closing(place.connect()) as connection, pytest.raises(df.EngineStoppedError):
        hub.client.start_new("chain", connection=connection)
    assert place.rows() == ["x"]


async def test_a_hub_in_memory_has_no_transaction_to_offer() -> None:
    async with df.TaskHub(transactional_app(Place("memory://"), "def"), "memory://") as hub:
        with (
            closing(sqlite3.connect(":memory:")) as connection,
            pytest.raises(df.TransactionsUnsupportedError, match="sqlite:///"),
        ):
            await hub.client.start_new("chain", connection=connection)


async def test_the_checks_of_a_start_come_first(place: Place) -> None:
    async with open_hub(place, transactional_app(place, "async")) as hub, user_connection(place) as connection:
        with pytest.raises(df.OrchestratorNotRegisteredError):
            await hub.client.start_new("nothing", connection=connection)
        with pytest.raises(df.InvalidInstanceIdError):
            await hub.client.start_new("chain", "a/b", connection=connection)
        with pytest.raises(df.SerializationError):
            await hub.client.start_new("chain", client_input=object(), connection=connection)
    assert await _messages(place) == []


async def test_a_client_over_http_has_no_transaction() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(500))
    async with df.Client("http://h", transport=transport) as client:
        with pytest.raises(df.UnusableConnectionError, match="over HTTP"):
            await client.start_new("chain", connection=object())
    blocking = df.BlockingHttpClient("http://h", transport=transport)
    with blocking, pytest.raises(df.UnusableConnectionError, match="over HTTP"):
        blocking.start_new("chain", connection=object())
