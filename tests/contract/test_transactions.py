"""Transactions that users and the hub share: the promises of ``Transactions``, for each store and each kind of connection."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
from psycopg.rows import dict_row

from perdure.core.errors import EngineInvariantError
from perdure.store.contract import Claim, Commit, HubStore, Lease, OfferedActivity, StoredMessage, Transactions
from perdure.store.errors import (
    LeaseLostError,
    StoreUnavailableError,
    TransactionControlError,
    TransactionsUnsupportedError,
    UnusableConnectionError,
)
from perdure.store.sqlite import gate
from perdure.store.sqlite import transactions as sqlite_transactions
from tests.effects import Place, begun, run

HOUR = 3_600_000_000
MESSAGE = StoredMessage("m/1", "a", 0, b'{"it":"is"}')
DATABASE_ERRORS = (sqlite3.Error, psycopg.Error, asyncpg.PostgresError)
STORES = ["sqlite", "postgres"]
STYLES = ["def", "async"]


@dataclass(frozen=True)
class World:
    place: Place
    store: HubStore
    lease: Lease

    @property
    def transactions(self) -> Transactions:
        assert self.store.transactions is not None
        return self.store.transactions

    async def inbox(self) -> list[StoredMessage]:
        return list(await self.store.inbox([0, 1], (), 10))


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place(f"sqlite:///{tmp_path / 'hub.db'}")
    return request.getfixturevalue("postgres_place")


@pytest.fixture
def postgres_place(postgres_url: str, postgres_schema: str) -> Place:
    return Place(postgres_url, f"{postgres_schema}_effects")


@pytest.fixture(params=STYLES)
def style(request: pytest.FixtureRequest) -> str:
    return request.param


@asynccontextmanager
async def world_of(place: Place) -> AsyncGenerator[World]:
    store = place.store()
    await store.open()
    try:
        place.make_table()
        [lease] = await store.acquire("engine-1", [0], HOUR)
        yield World(place, store, lease)
    finally:
        await store.close()


# --- transactions of activities -----------------------------------------------------------------------------------


async def test_effect_and_message_are_committed_together(place: Place, style: str) -> None:
    async with world_of(place) as world:
        async with begun(world.store, style) as transaction:
            await run(transaction.connection, place.insert("x"))
            assert place.rows() == []
            assert await world.inbox() == []
            await transaction.commit(MESSAGE, world.lease)
        assert place.rows() == ["x"]
        assert await world.inbox() == [MESSAGE]
        assert await world.transactions.waits("m/1")


async def test_leaving_without_commit_undoes_everything(place: Place, style: str) -> None:
    async with world_of(place) as world:
        with pytest.raises(ValueError, match="no"):  # noqa: PT012 - it goes through the context
            async with begun(world.store, style) as transaction:
                await run(transaction.connection, place.insert("x"))
                raise ValueError("no")
        assert place.rows() == []
        async with begun(world.store, style) as transaction:
            await run(transaction.connection, place.insert("y"))
        assert place.rows() == []
        assert not await world.transactions.waits("m/1")


async def test_a_stale_lease_undoes_everything(place: Place, style: str) -> None:
    async with world_of(place) as world:
        async with begun(world.store, style) as transaction:
            await run(transaction.connection, place.insert("x"))
            with pytest.raises(LeaseLostError, match="partition 0"):
                await transaction.commit(MESSAGE, Lease(0, world.lease.epoch - 1, "engine-1", 0))
        assert place.rows() == []
        assert await world.inbox() == []


async def test_a_second_outcome_of_the_same_activity_is_refused(place: Place, style: str) -> None:
    async with world_of(place) as world:
        for name in ("x", "y"):
            async with begun(world.store, style) as transaction:
                await run(transaction.connection, place.insert(name))
                if name == "x":
                    await transaction.commit(MESSAGE, world.lease)
                else:
                    with pytest.raises(LeaseLostError):
                        await transaction.commit(MESSAGE, world.lease)
        assert place.rows() == ["x"]


async def test_what_the_database_refuses_at_the_end_is_the_users_error(place: Place, style: str) -> None:
    async with world_of(place) as world:
        with pytest.raises(DATABASE_ERRORS, match=r"(?i)foreign key"):  # noqa: PT012 - it goes through the context
            async with begun(world.store, style) as transaction:
                await run(transaction.connection, place.insert_wrongly("x"))
                await transaction.commit(MESSAGE, world.lease)
        assert place.rows() == []
        assert await world.inbox() == []
        async with begun(world.store, style) as transaction:
            await run(transaction.connection, place.insert("y"))
            await transaction.commit(MESSAGE, world.lease)
        assert place.rows() == ["y"]


async def test_an_error_that_the_user_swallows_spoils_nothing_or_everything(place: Place, style: str) -> None:
    """SQLite undoes the statement only; PostgreSQL lets nothing of such a transaction through."""
    async with world_of(place) as world:
        try:
            async with begun(world.store, style) as transaction:
                await run(transaction.connection, place.insert("x"))
                with pytest.raises(DATABASE_ERRORS):
                    await run(transaction.connection, "INSERT INTO nowhere VALUES (1)")
                await transaction.commit(MESSAGE, world.lease)
        except DATABASE_ERRORS:
            assert not place.is_sqlite
        assert len(place.rows()) == len(await world.inbox()) == (1 if place.is_sqlite else 0)


async def test_two_transactions_one_after_the_other_know_nothing_of_each_other(style: str, postgres_place: Place) -> None:
    async with world_of(postgres_place) as world:
        async with begun(world.store, style) as transaction:
            first = transaction.connection
            await run(first, "SET search_path = nowhere")
            await run(first, "CREATE TEMP TABLE scratch (x int)")
            await run(first, "SELECT pg_advisory_lock(1)")
            await transaction.commit(MESSAGE, world.lease)
        async with begun(world.store, style) as transaction:
            await run(transaction.connection, "CREATE TEMP TABLE scratch (x int)")
            await run(transaction.connection, "SELECT 1 / (current_setting('search_path') <> 'nowhere')::int")
            await run(transaction.connection, "SELECT 1 / (SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory')::int")


async def test_psycopgs_row_factory_is_as_new_for_the_next(postgres_place: Place) -> None:
    async with world_of(postgres_place) as world:
        async with begun(world.store, "def") as transaction:
            first = transaction.connection
            first.row_factory = dict_row
            await transaction.commit(MESSAGE, world.lease)
        async with begun(world.store, "def") as transaction:
            assert transaction.connection is first
            assert transaction.connection.execute("SELECT 1 AS one").fetchone() == (1,)


async def test_a_taker_waits_for_a_commit_under_the_old_epoch(style: str, postgres_place: Place) -> None:
    """Or it could read the inbox, find nothing, and run the activity again."""
    async with world_of(postgres_place) as world, user_connection(world, "asyncpg") as gatekeeper:
        # At its commit, the transaction has to pass a lock that the test holds.
        await gatekeeper.execute("SELECT pg_advisory_lock(7)")
        function = f"{postgres_place.table}_pass"
        postgres_place.execute(
            f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END $$"
        )
        postgres_place.execute(
            f"CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON {postgres_place.table} DEFERRABLE INITIALLY DEFERRED "
            f"FOR EACH ROW EXECUTE FUNCTION {function}()"
        )

        async def commit() -> None:
            async with begun(world.store, style) as transaction:
                await run(transaction.connection, postgres_place.insert("x"))
                await transaction.commit(MESSAGE, world.lease)

        committing = asyncio.create_task(commit() if style == "async" else asyncio.to_thread(asyncio.run, commit()))
        await _waiting_for_locks(gatekeeper, 1)
        taking = asyncio.ensure_future(world.store.acquire("engine-1", [0], HOUR))
        await _waiting_for_locks(gatekeeper, 2)
        await gatekeeper.execute("SELECT pg_advisory_unlock(7)")
        await committing
        [lease] = await taking
        assert lease.epoch == world.lease.epoch + 1
        assert await world.inbox() == [MESSAGE]


async def _waiting_for_locks(connection: Any, count: int) -> None:
    while await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") < count:
        pass  # it is a question of a moment; the time-out of all tests ends it


async def test_a_claim_is_settled_with_the_commit(style: str, postgres_place: Place) -> None:
    async with world_of(postgres_place) as world:
        claim = await _claimed(world)
        async with begun(world.store, style) as transaction:
            await run(transaction.connection, world.place.insert("x"))
            with pytest.raises(LeaseLostError, match="'t/1'"):
                await transaction.commit(MESSAGE, Claim(claim.activity_id, claim.token - 1))
        assert world.place.rows() == []
        assert await world.inbox() == []
        async with begun(world.store, style) as transaction:
            await run(transaction.connection, world.place.insert("x"))
            await transaction.commit(MESSAGE, claim)
        assert world.place.rows() == ["x"]
        assert await world.inbox() == [MESSAGE]
        assert world.store.sharing is not None
        assert not await world.store.sharing.offered([0])
        async with begun(world.store, style) as transaction:
            with pytest.raises(LeaseLostError):
                await transaction.commit(StoredMessage("m/2", "a", 0, b""), claim)


async def _claimed(world: World) -> Claim:
    assert world.store.sharing is not None
    offer = OfferedActivity(activity_id="t/1", instance_id="a", partition=0, name="write", body=b"")
    await world.store.commit(Commit(leases=[], turns=[], owner="engine-1", offered=[offer]))
    [(claim, _)] = await world.store.sharing.claim("engine-2", ["write"], 1, HOUR)
    return claim


async def test_a_commit_whose_connection_is_lost_has_an_unknown_outcome(style: str, postgres_place: Place) -> None:
    async with world_of(postgres_place) as world:
        with pytest.raises(StoreUnavailableError, match="in the middle of an activity's commit"):  # noqa: PT012 - it goes through the context
            async with begun(world.store, style) as transaction:
                await run(transaction.connection, world.place.insert("x"))
                killer = await asyncpg.connect(world.place.dsn)
                await killer.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction' "
                    f"AND query LIKE '%INSERT INTO {world.place.table} %' AND pid <> pg_backend_pid()"
                )
                await killer.close()
                await transaction.commit(MESSAGE, world.lease)
        assert world.place.rows() == []
        async with begun(world.store, style) as transaction:
            await run(transaction.connection, world.place.insert("y"))
            await transaction.commit(MESSAGE, world.lease)
        assert world.place.rows() == ["y"]


async def test_a_server_that_is_away_gives_no_transaction(style: str) -> None:
    # Nobody listens on port 1; the store itself isn't asked.
    from perdure.store.postgres.target import Target
    from perdure.store.postgres.transactions import PostgresTransactions

    lanes: Any = object
    transactions = PostgresTransactions(Target.of("postgresql://somebody:secret@127.0.0.1:1/x"), lanes)
    with pytest.raises(StoreUnavailableError) as refused:  # noqa: PT012 - the context is what raises
        if style == "async":
            async with transactions.begin_async():
                pass
        else:
            with transactions.begin():
                pass
    assert "secret" not in str(refused.value)
    await transactions.close()


async def test_a_def_needs_psycopg_on_postgresql(postgres_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world_of(postgres_place) as world:
        monkeypatch.setitem(__import__("sys").modules, "perdure.store.postgres.with_psycopg", None)
        with pytest.raises(TransactionsUnsupportedError, match=r"pip install 'perdure\[psycopg\]'"):
            world.transactions.begin()


# --- the connection of an activity on SQLite ----------------------------------------------------------------------


@pytest.fixture
def sqlite_place(tmp_path: Path) -> Place:
    return Place(f"sqlite:///{tmp_path / 'hub.db'}")


@pytest.mark.parametrize("method", ["commit", "rollback", "close"])
async def test_the_user_cant_end_the_transaction_by_method(method: str, style: str, sqlite_place: Place) -> None:
    async with world_of(sqlite_place) as world, begun(world.store, style) as transaction:
        with pytest.raises(TransactionControlError, match=method):
            getattr(transaction.connection, method)()
        transaction.connection.execute(sqlite_place.insert("x"))
        await transaction.commit(MESSAGE, world.lease)
        assert sqlite_place.rows() == ["x"]


@pytest.mark.parametrize("sql", ["COMMIT", "END", "ROLLBACK", "BEGIN"])
async def test_nor_by_sql(sql: str, style: str, sqlite_place: Place) -> None:
    async with world_of(sqlite_place) as world, begun(world.store, style) as transaction:
        transaction.connection.execute(sqlite_place.insert("x"))
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            transaction.connection.execute(sql)
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            transaction.connection.executescript("SELECT 1;")  # it would commit first
        assert sqlite_place.rows() == []


async def test_with_connection_is_a_part_of_the_transaction(style: str, sqlite_place: Place) -> None:
    async with world_of(sqlite_place) as world, begun(world.store, style) as transaction:
        connection = transaction.connection
        with connection:
            connection.execute(sqlite_place.insert("kept"))
        assert sqlite_place.rows() == []
        with pytest.raises(ValueError, match="no"), connection:  # noqa: PT012 - it goes through the context
            connection.execute(sqlite_place.insert("undone"))
            raise ValueError("no")
        await transaction.commit(MESSAGE, world.lease)
        assert sqlite_place.rows() == ["kept"]


async def test_after_a_conflict_that_rolled_back_nothing_is_written_any_more(style: str, sqlite_place: Place) -> None:
    async with world_of(sqlite_place) as world:
        sqlite_place.execute("INSERT INTO effects_names VALUES ('taken')")
        async with begun(world.store, style) as transaction:
            connection = transaction.connection
            connection.execute(sqlite_place.insert("x"))
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute("INSERT OR ROLLBACK INTO effects_names VALUES ('taken')")
            with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
                connection.execute(sqlite_place.insert("y"))
            with pytest.raises(TransactionControlError, match="had ended before"):
                await transaction.commit(MESSAGE, world.lease)
        assert sqlite_place.rows() == []
        assert await world.inbox() == []


async def test_a_hub_in_a_file_knows_no_claims(style: str, sqlite_place: Place) -> None:
    async with world_of(sqlite_place) as world, begun(world.store, style) as transaction:
        with pytest.raises(EngineInvariantError, match="no shared activity queue"):
            await transaction.commit(MESSAGE, Claim("t/1", 1))


async def test_commits_wait_for_an_activity_and_are_not_overtaken(sqlite_place: Place) -> None:
    async with world_of(sqlite_place) as world:
        async with begun(world.store, "async") as transaction:
            waiting = asyncio.ensure_future(
                world.store.commit(Commit(leases=[world.lease], turns=[], outbox=[StoredMessage("m/2", "a", 0, b"")]))
            )
            while not world.store._gate._waiting:  # type: ignore[attr-defined]  # noqa: ASYNC110, SLF001
                await asyncio.sleep(0)
            next_one = asyncio.ensure_future(world.transactions.begin_async().__aenter__())
            await asyncio.sleep(0)
            assert not waiting.done()
            await transaction.commit(MESSAGE, world.lease)
        await waiting
        assert [message.message_id for message in await world.inbox()] == ["m/1", "m/2"]
        opened = await next_one
        opened.connection.discard()
        world.store._gate.leave()  # type: ignore[attr-defined]  # noqa: SLF001


async def test_a_commit_doesnt_wait_for_ever(sqlite_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.store.sqlite.lane.LONGEST_TRANSACTION_SECONDS", 0)
    async with world_of(sqlite_place) as world, begun(world.store, "async"):
        with pytest.raises(StoreUnavailableError, match="transaction of an activity"):
            await world.store.commit(Commit(leases=[world.lease], turns=[], outbox=[MESSAGE]))


async def test_an_activity_doesnt_wait_for_ever(style: str, sqlite_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_transactions, "LONGEST_TRANSACTION_SECONDS", 0)
    async with world_of(sqlite_place) as world, begun(world.store, "async"):
        with pytest.raises(StoreUnavailableError, match="transaction of an activity"):
            async with begun(world.store, style):
                pass


async def test_another_program_that_keeps_the_file_locked_gives_a_clear_error(
    style: str, sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_transactions, "BUSY_TIMEOUT_SECONDS", 0)
    async with world_of(sqlite_place) as world:
        with closing(sqlite_place.connect()) as other:
            other.execute(sqlite_place.insert("x"))
            with pytest.raises(StoreUnavailableError, match="locked"):
                async with begun(world.store, style):
                    pass
        async with begun(world.store, style):
            pass


def test_the_gate_lets_in_one_after_the_other() -> None:
    writers = gate.WriterGate()
    assert writers.enter(0)
    assert not writers.enter(0)
    writers.leave()
    assert writers.enter(0)


async def test_the_gate_forgets_those_who_stopped_waiting() -> None:
    writers = gate.WriterGate()
    assert await writers.enter_async(0)
    gone = asyncio.create_task(writers.enter_async(60))
    second = asyncio.create_task(writers.enter_async(60))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert not await writers.enter_async(0)
    writers.leave()
    assert await second
    writers.leave()
    assert writers.enter(0)


# --- transactions of users ----------------------------------------------------------------------------------------


@asynccontextmanager
async def user_connection(world: World, driver: str) -> AsyncGenerator[Any]:
    """An open transaction, which is rolled back unless the test commits it."""
    if driver == "asyncpg":
        connection = await asyncpg.connect(world.place.dsn)
        try:
            yield connection
        finally:
            await connection.close()
    elif driver == "psycopg-async":
        async with await psycopg.AsyncConnection.connect(world.place.dsn) as connection:
            yield connection
            await connection.rollback()
    else:
        with closing(world.place.connect()) as connection:
            yield connection


DRIVERS = [("sqlite", "sqlite3"), ("postgres", "psycopg"), ("postgres", "psycopg-async"), ("postgres", "asyncpg")]


@pytest.fixture(params=DRIVERS, ids=lambda pair: pair[1])
def driver(request: pytest.FixtureRequest) -> str:
    return request.param[1]


@pytest.fixture
def user_place(driver: str, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if driver == "sqlite3":
        return Place(f"sqlite:///{tmp_path / 'hub.db'}")
    return request.getfixturevalue("postgres_place")


async def enlist(world: World, connection: Any, message: StoredMessage = MESSAGE) -> bool:
    if isinstance(connection, psycopg.Connection):
        return world.transactions.enlist(connection, message, "the nudge")
    return await world.transactions.enlist_async(connection, message, "the nudge")


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
async def test_a_message_becomes_real_with_the_users_rows(user_place: Place, driver: str, end: str) -> None:
    async with world_of(user_place) as world, user_connection(world, driver) as connection:
        await run(connection, "BEGIN")
        await run(connection, user_place.insert("x"))
        announces = await enlist(world, connection)
        assert announces is not user_place.is_sqlite
        assert await world.inbox() == []
        assert not await world.transactions.waits("m/1")
        await run(connection, end)
        await world.transactions.ended()
        expected = end == "COMMIT"
        assert await world.inbox() == ([MESSAGE] if expected else [])
        assert await world.transactions.waits("m/1") is expected
        assert user_place.rows() == (["x"] if expected else [])


async def test_the_nudge_is_heard_when_the_transaction_commits_and_not_before(driver: str, request: Any) -> None:
    if driver == "sqlite3":
        return  # nobody there could hear it
    place = request.getfixturevalue("postgres_place")
    store = place.store()
    assert store.sharing is not None
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    store.sharing.listen(heard.put_nowait)
    await store.open()
    try:
        world = World(place, store, Lease(0, 0, "", 0))
        async with user_connection(world, driver) as connection:
            for end in ("ROLLBACK", "COMMIT"):
                await run(connection, "BEGIN")
                await enlist(world, connection)
                await store.sharing.nudge(f"before {end}")
                assert await heard.get() == f"before {end}"
                await run(connection, end)
            assert await heard.get() == "the nudge"
    finally:
        await store.close()


async def test_without_a_transaction_there_is_nothing_to_be_part_of(user_place: Place, driver: str) -> None:
    async with world_of(user_place) as world, user_connection(world, driver) as connection:
        if driver == "sqlite3":
            connection.isolation_level = None
        elif driver == "psycopg":
            connection.autocommit = True
        elif driver == "psycopg-async":
            await connection.set_autocommit(True)
        with pytest.raises(UnusableConnectionError, match="transaction"):
            await enlist(world, connection)
        assert await world.inbox() == []


async def test_where_drivers_begin_by_themselves_the_message_may_come_first(user_place: Place, driver: str) -> None:
    if driver == "asyncpg":
        return  # it doesn't
    async with world_of(user_place) as world, user_connection(world, driver) as connection:
        await enlist(world, connection)
        assert await world.inbox() == []
        await run(connection, "COMMIT")
        assert await world.inbox() == [MESSAGE]


async def test_another_database_is_refused_and_the_users_transaction_lives_on(
    user_place: Place, driver: str, tmp_path: Path
) -> None:
    other = (
        Place(f"sqlite:///{tmp_path / 'other.db'}")
        if user_place.is_sqlite
        else Place(user_place.url.replace("/postgres?", "/template1?"), user_place.table)
    )
    async with world_of(user_place) as world, user_connection(World(other, world.store, world.lease), driver) as connection:
        await run(connection, "BEGIN")
        with pytest.raises(UnusableConnectionError, match="database"):
            await enlist(world, connection)
        await run(connection, "SELECT 1")
        await run(connection, "ROLLBACK")


async def test_another_hub_of_the_same_name_is_refused(user_place: Place, driver: str) -> None:
    if user_place.is_sqlite:
        return  # files have no names in common
    async with world_of(user_place) as world, user_connection(world, driver) as connection:
        schema = user_place.url.rpartition("=")[2]
        user_place.execute(f"UPDATE {schema}.meta SET value = value + 1 WHERE key = 'created_at'")
        await run(connection, "BEGIN")
        with pytest.raises(UnusableConnectionError, match="without this hub"):
            await enlist(world, connection)


async def test_a_connection_in_memory_is_refused(tmp_path: Path) -> None:
    async with world_of(Place(f"sqlite:///{tmp_path / 'hub.db'}")) as world:
        with closing(sqlite3.connect(":memory:")) as connection, pytest.raises(UnusableConnectionError, match=":memory:"):
            world.transactions.enlist(connection, MESSAGE, "")


@pytest.mark.parametrize("wrong", ["text", None, 1], ids=repr)
async def test_what_is_no_connection_is_refused(place: Place, wrong: object) -> None:
    async with world_of(place) as world:
        with pytest.raises(UnusableConnectionError, match=type(wrong).__name__):
            world.transactions.enlist(wrong, MESSAGE, "")
        with pytest.raises(UnusableConnectionError, match=type(wrong).__name__):
            await world.transactions.enlist_async(wrong, MESSAGE, "")


async def test_a_connection_of_the_wrong_style_is_refused(postgres_place: Place) -> None:
    async with world_of(postgres_place) as world:
        with psycopg.connect(world.place.dsn) as blocking, pytest.raises(UnusableConnectionError, match="block the event loop"):
            await world.transactions.enlist_async(blocking, MESSAGE, "")
        async with user_connection(world, "asyncpg") as connection:
            with pytest.raises(UnusableConnectionError, match=r"psycopg\.Connection"):
                world.transactions.enlist(connection, MESSAGE, "")


async def test_a_connection_of_a_pool_is_as_good(postgres_place: Place) -> None:
    async with world_of(postgres_place) as world, asyncpg.create_pool(world.place.dsn, min_size=1) as pool:
        async with pool.acquire() as connection, connection.transaction():
            await enlist(world, connection)
        assert await world.inbox() == [MESSAGE]


async def test_nothing_can_be_enlisted_in_a_closed_store(place: Place) -> None:
    async with world_of(place) as world:
        pass
    with closing(place.connect()) as connection:
        with pytest.raises(StoreUnavailableError, match="isn't open"):
            await world.transactions.enlist_async(connection, MESSAGE, "")
        with pytest.raises(StoreUnavailableError, match="isn't open"):
            world.transactions.enlist(connection, MESSAGE, "")


async def test_ended_waits_for_the_users_transaction(tmp_path: Path) -> None:
    async with world_of(Place(f"sqlite:///{tmp_path / 'hub.db'}")) as world:
        with closing(world.place.connect()) as connection:
            world.transactions.enlist(connection, MESSAGE, "")
            ended = asyncio.ensure_future(world.transactions.ended())
            for _ in range(5):
                await world.store.inbox([0], (), 1)
                assert not ended.done()
            connection.rollback()
            await ended
            # And then it costs nothing.
            await world.transactions.ended()


async def test_the_users_row_factory_doesnt_matter(tmp_path: Path) -> None:
    async with world_of(Place(f"sqlite:///{tmp_path / 'hub.db'}")) as world:
        with closing(world.place.connect()) as connection:
            connection.row_factory = lambda cursor, row: {"row": row}
            world.transactions.enlist(connection, MESSAGE, "")
            connection.commit()
        assert await world.inbox() == [MESSAGE]


async def test_memory_has_no_transactions() -> None:
    from perdure.store.memory import MemoryStore

    assert MemoryStore().transactions is None
