"""Connections to PostgreSQL that are killed, blocked, refused or cut off, and what nobody may read in a message."""

import asyncio
import signal
import socket
from collections.abc import Iterator

import pytest

from perdure.core.errors import PerdureError
from perdure.store.errors import StoreError, StoreUnavailableError, StoreUrlError
from perdure.store.opening import open_store
from perdure.store.postgres import PostgresStore
from perdure.testing.store_checks.harness import HOUR, OpenHub, first_turn, joined, member, message, next_turn, opened
from tests.postgres import Cluster, Database, PostgresHarness, running_cluster

_KILL = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """One that tests may stop, and in which they may kill everybody."""
    with running_cluster({"deadlock_timeout": "200ms"}) as cluster:
        yield cluster


@pytest.fixture
def database(own_cluster: Cluster) -> Iterator[Database]:
    database = Database(own_cluster.url)
    yield database
    database.close()


@pytest.fixture
def harness(own_cluster: Cluster, database: Database, postgres_schema: str) -> PostgresHarness:
    return PostgresHarness(own_cluster.url, database, postgres_schema)


class Blocker:
    """Another transaction, which holds what it has locked until it ends."""

    def __init__(self, harness: PostgresHarness) -> None:
        self._database = Database(harness.url.partition("?")[0])
        self._schema = harness.schema
        self._database.execute("BEGIN")

    def lock(self, table: str, condition: str) -> None:
        self._database.execute(f"SELECT FROM {self._schema}.{table} WHERE {condition} FOR UPDATE")

    def end(self) -> None:
        self._database.execute("ROLLBACK")
        self._database.close()


async def until_someone_waits(database: Database, number: int = 1) -> None:
    def ask() -> None:
        for _ in range(20_000):
            if database.value(_WAITING) >= number:
                return
        raise AssertionError("nobody waits")

    await asyncio.to_thread(ask)


async def test_killed_connections_cost_no_call_that_begins_afterwards(harness: PostgresHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"))
        await hub.store.load(["a"])
        await hub.sharing.nudge("hello")
        harness.database.execute(_KILL)
        # A call that comes before the news may fail, once for each connection; none may be half done, and none after it.
        failed = 0
        for seq in (2, 3, 4):
            try:
                await hub.commit(next_turn("a", seq - failed))
            except StoreUnavailableError:
                failed += 1
        assert failed <= 1
        assert await hub.seqs("a") == list(range(1, 5 - failed))
        assert (await hub.store.acquire("engine-1", [0], HOUR))[0].epoch == hub.leases[0].epoch + 1


async def test_a_connection_that_is_killed_during_a_commit_fails_it_and_those_behind_it(harness: PostgresHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"))
        blocker = Blocker(harness)
        blocker.lock("partitions", "partition = 0")
        commits = [asyncio.ensure_future(hub.commit(next_turn("a", seq))) for seq in (2, 3)]
        await until_someone_waits(harness.database)
        harness.database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        outcomes = await asyncio.gather(*commits, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * 2
        assert "terminat" in str(outcomes[0])
        assert "wasn't written" in str(outcomes[1])
        blocker.end()
        assert await hub.seqs("a") == [1]
        await hub.commit(next_turn("a", 2))
        assert await hub.seqs("a") == [1, 2]


async def test_a_statement_that_takes_too_long_is_given_up(harness: PostgresHarness) -> None:
    harness.url += "&command_timeout=0.2"
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"))
        blocker = Blocker(harness)
        blocker.lock("partitions", "partition = 0")
        with pytest.raises(StoreUnavailableError, match=r"took too long.*raise command_timeout"):
            await hub.commit(next_turn("a", 2))
        # What is on other connections goes on meanwhile.
        assert await hub.seqs("a") == [1]
        blocker.end()
        await hub.commit(next_turn("a", 2))
        assert await hub.seqs("a") == [1, 2]


async def test_whoever_takes_a_partition_sees_a_commit_that_was_on_its_way(harness: PostgresHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"), outbox=[message("m1")])
        blocker = Blocker(harness)
        blocker.lock("messages", "message_id = 'm1'")
        slow = asyncio.ensure_future(hub.commit(next_turn("a", 2), consumed=["m1"]))
        await until_someone_waits(harness.database)
        # Renewals don't wait for a commit, however long it takes.
        beat = await hub.sharing.beat(member("engine-1"), hub.leases, [], HOUR)
        assert len(beat.leases) == len(hub.leases)
        harness.advance(2 * HOUR)
        async with joined(harness) as other:
            taking = asyncio.ensure_future(other.store.acquire("engine-2", [0], HOUR))
            await until_someone_waits(harness.database, 2)
            blocker.end()
            await slow
            other.leases = await taking
            assert await other.seqs("a") == [1, 2]
            await other.commit(next_turn("a", 3))
        assert await hub.store.inbox([0], (), 10) == []


async def test_a_deadlock_fails_the_commit_and_is_counted(harness: PostgresHarness) -> None:
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"))
        blocker = Blocker(harness)
        blocker.lock("partitions", "partition = 1")
        commit = asyncio.ensure_future(hub.commit(next_turn("a", 2)))
        await until_someone_waits(harness.database)
        # No store takes locks in this order; the commit waited first, so it is the one that the server gives up.
        await asyncio.to_thread(blocker.lock, "partitions", "partition = 0")
        with pytest.raises(StoreUnavailableError, match="deadlock"):
            await commit
        blocker.end()
        store = hub.store
        assert isinstance(store, PostgresStore)
        assert store.deadlocks == 1
        await hub.commit(next_turn("a", 2))
        assert store.deadlocks == 1


async def test_a_server_that_restarts_loses_nothing(own_cluster: Cluster, postgres_schema: str) -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    store = PostgresStore(f"{own_cluster.url}?schema={postgres_schema}")
    store.sharing.listen(heard.put_nowait)
    await store.open()
    hub = OpenHub(store, await store.acquire("engine-1", range(16), HOUR))
    await hub.commit(first_turn("a"))
    for seq, how in ((2, signal.SIGINT), (3, signal.SIGQUIT)):
        own_cluster.stop(how)
        for call in (
            lambda: hub.commit(first_turn("b")),
            lambda: store.load(["a"]),
            lambda: store.sharing.nudge("hello"),
            lambda: store.sharing.beat(member("engine-1"), hub.leases, [], HOUR),
            store.count,
        ):
            with pytest.raises(StoreUnavailableError, match=r"Check that the server runs|Look at the server's log|made anew"):
                await call()
        own_cluster.start()
        # First that some may have been missed, then whatever comes.
        assert await heard.get() is None
        await store.sharing.nudge("here again")
        assert await heard.get() == "here again"
        await hub.commit(next_turn("a", seq))
        assert await hub.seqs("a") == list(range(1, seq + 1))
        assert await store.count() == {"Running": 1}
    await store.close()


async def test_a_listener_whose_connection_is_killed_is_told_so_and_hears_again(harness: PostgresHarness) -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    store = harness.store()
    store.sharing.listen(heard.put_nowait)
    await store.open()
    harness.database.execute(_KILL)
    assert await heard.get() is None
    async with joined(harness) as other:
        await other.sharing.nudge("hello")
    assert await heard.get() == "hello"
    await store.close()


async def test_nudges_that_are_sent_at_once_all_arrive_in_order(harness: PostgresHarness) -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    store = harness.store()
    store.sharing.listen(heard.put_nowait)
    await store.open()
    texts = [f"text {number} \u00e4" for number in range(100)]
    await asyncio.gather(*(store.sharing.nudge(text) for text in texts))
    assert [await heard.get() for _ in texts] == texts
    await store.close()


async def test_an_open_that_is_cancelled_leaves_no_connection(harness: PostgresHarness) -> None:
    for turns_of_the_loop in range(0, 40, 4):
        opening = asyncio.ensure_future(harness.store().open())
        for _ in range(turns_of_the_loop):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
        if not opening.cancelled():
            pytest.fail("nothing was cancelled")
    async with joined(harness) as hub:
        assert await hub.store.count() == {}


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(
        StoreUnavailableError, match=r"PostgreSQL at 127.0.0.1:1/db, schema perdure can't be used now: .*Check that"
    ):
        await PostgresStore("postgresql://me:secret@127.0.0.1:1/db").open()


async def test_a_host_that_nobody_knows_is_unavailable() -> None:
    with pytest.raises(StoreUnavailableError, match=r"nowhere\.invalid"):
        await PostgresStore("postgresql://me:secret@nowhere.invalid/db").open()


async def test_a_server_that_does_not_answer_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(StoreUnavailableError, match="no answer came in time"):
            await PostgresStore(f"postgresql://me:secret@127.0.0.1:{port}/db?connect_timeout=0.1").open()


async def test_refused_credentials_and_databases_are_no_matter_of_waiting(own_cluster: Cluster) -> None:
    place = f"127.0.0.1:{own_cluster.port}"
    for url in (f"postgresql://nobody:secret@{place}/postgres", f"postgresql://postgres:secret@{place}/nothing"):
        with pytest.raises(StoreError, match=r"refused the connection: .* does not exist\. Check user, password") as caught:
            await PostgresStore(url).open()
        assert type(caught.value) is StoreError
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("parameter", ["no_such_setting=1", "work_mem=much"])
async def test_parameters_that_the_server_refuses_are_no_matter_of_waiting(own_cluster: Cluster, parameter: str) -> None:
    with pytest.raises(StoreError, match=r"refused the connection: .* Check the parameters behind the '\?'") as caught:
        await PostgresStore(f"{own_cluster.url}?{parameter}").open()
    assert type(caught.value) is StoreError


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:se#cret@host/db",
        "postgresql://me:se/cret@host/db",
        "postgresql://me:se?cret@host/db",
        "postgresql://me:se?cret=1@host/db",
        "postgresql://me:se@cret@[host/db",
        "postgresql://me:secret:cret@host:port/db",
        "postgresql://me:secret@host/db?schema=No",
        "postgresql://me:secret@host/db?schema=pg_x",
        "postgresql://me:secret@host/db?schema=a.b",
        "postgresql://me:secret@host/db?schema=" + "x" * 51,
        "postgresql://me:secret@host/db?command_timeout=never",
        "postgresql://me:secret@host/db?connect_timeout=0",
        "postgresql://me:secret@host/db?connect_timeout=nan",
        "postgres+driver://me:secret@host/db",
    ],
)
def test_a_url_that_can_not_be_read_is_refused_without_showing_the_password(url: str) -> None:
    with pytest.raises(StoreUrlError) as caught:
        open_store(url)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("parameters", ["sslmode=wrong", "target_session_attrs=wrong", "ssl=wrong"])
async def test_parameters_that_the_driver_refuses_are_reported_without_the_password(
    parameters: str, own_cluster: Cluster
) -> None:
    url = f"postgresql://postgres:secret@127.0.0.1:{own_cluster.port}/postgres?{parameters}"
    with pytest.raises(PerdureError) as caught:
        await PostgresStore(url).open()
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, StoreError)
