"""How a hub is made in PostgreSQL and kept up to date: races, rights, versions, and what is refused."""

import asyncio

import pytest

from perdure.core.errors import EngineInvariantError
from perdure.store.contract import Claim, InstanceQuery, TurnRecord
from perdure.store.errors import SchemaTooNewError, StoreError, StoreUnavailableError
from perdure.store.postgres import PostgresStore, schema
from perdure.testing.store_checks.harness import HOUR, OpenHub, first_turn, joined, next_turn, opened, row, segment
from tests.postgres import Cluster, Database, PostgresHarness


async def test_engines_that_make_a_hub_at_once_get_the_same_one(postgres_url: str) -> None:
    stores = [PostgresStore(postgres_url, partition_count=count) for count in range(3, 11)]
    infos = await asyncio.gather(*(store.open() for store in stores))
    assert len(set(infos)) == 1
    assert infos[0].partition_count in range(3, 11)
    assert len(await stores[0].acquire("engine-1", range(20), HOUR)) == infos[0].partition_count
    for store in stores:
        await store.close()


async def test_the_partition_count_of_a_hub_stays(postgres_url: str) -> None:
    for wanted in (4, 9):
        store = PostgresStore(postgres_url, partition_count=wanted)
        assert (await store.open()).partition_count == 4
        await store.close()


async def test_hubs_in_one_database_know_nothing_of_each_other(postgres_cluster: Cluster) -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    first, second = (PostgresStore(f"{postgres_cluster.url}?schema=apart_{name}") for name in "ab")
    first.sharing.listen(heard.put_nowait)
    await first.open()
    await second.open()
    hub = OpenHub(second, await second.acquire("engine-1", [0], HOUR))
    await hub.commit(first_turn("a"))
    await second.sharing.nudge("for the second only")
    await first.sharing.nudge("for the first")
    assert await heard.get() == "for the first"
    assert heard.empty()
    assert await first.count() == {}
    assert [lease.partition for lease in await first.acquire("engine-2", [0], HOUR)] == [0]
    await first.close()
    await second.close()


async def test_an_old_engine_goes_on_beside_a_newer_schema(
    postgres_harness: PostgresHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrations = schema.migrations()
    async with opened(postgres_harness) as old:
        await old.commit(first_turn("a"))
        newer = [*migrations, "ALTER TABLE hub.instances ADD COLUMN colour text; CREATE TABLE hub.more (id bigint);"]
        monkeypatch.setattr(schema, "migrations", lambda: newer)
        new = postgres_harness.store()
        assert (await new.open()).schema_version == len(newer)
        monkeypatch.undo()
        await old.commit(next_turn("a", 2), first_turn("b"))
        assert await new.count() == {"Running": 2}
        async with joined(postgres_harness) as another_old:
            assert await another_old.seqs("a") == [1, 2]
        await new.close()


async def test_a_schema_that_this_engine_can_not_work_with_is_refused_and_left_alone(postgres_harness: PostgresHarness) -> None:
    database, name = postgres_harness.database, postgres_harness.schema
    database.execute(f"UPDATE {name}.meta SET value = CASE key WHEN 'schema_version' THEN 9 ELSE 8 END WHERE key LIKE '%e%n%'")
    with pytest.raises(SchemaTooNewError, match=r"schema version 9, .* knows version 8; .* up to 1. Upgrade Perdure"):
        await postgres_harness.store().open()
    assert database.value(f"SELECT value FROM {name}.meta WHERE key = 'schema_version'") == 9


async def test_a_failed_migration_leaves_nothing_behind(
    postgres_url: str, postgres_schema: str, postgres_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "migrations", lambda: ["CREATE TABLE hub.meta (key text);", "CREATE TABLE oops (;"])
    with pytest.raises(StoreUnavailableError, match="syntax error"):
        await PostgresStore(postgres_url).open()
    assert postgres_database.value("SELECT count(*) FROM pg_namespace WHERE nspname = $1", postgres_schema) == 0


async def test_a_schema_of_another_program_is_left_alone(
    postgres_url: str, postgres_schema: str, postgres_database: Database
) -> None:
    postgres_database.execute(f"CREATE SCHEMA {postgres_schema}; CREATE TABLE {postgres_schema}.customers (id int)")
    with pytest.raises(StoreError, match=r"tables of another program \(customers\).*\?schema="):
        await PostgresStore(postgres_url).open()


async def test_who_may_not_make_the_schema_is_told_what_an_administrator_has_to_run(
    postgres_url: str, postgres_schema: str, postgres_database: Database
) -> None:
    role = f"maker_of_{postgres_schema}"
    postgres_database.execute(f"CREATE ROLE {role} LOGIN")
    store = PostgresStore(postgres_url.replace("postgres@", f"{role}@"))
    with pytest.raises(StoreError) as caught:
        await store.open()
    command = f'CREATE SCHEMA "{postgres_schema}" AUTHORIZATION "{role}";'
    assert command in str(caught.value)
    postgres_database.execute(command)
    assert (await store.open()).partition_count == 16
    await store.close()


async def test_who_has_no_rights_in_a_hub_is_told_so(postgres_harness: PostgresHarness) -> None:
    role = f"stranger_to_{postgres_harness.schema}"
    postgres_harness.database.execute(f"CREATE ROLE {role} LOGIN")
    postgres_harness.url = postgres_harness.url.replace("postgres@", f"{role}@")
    with pytest.raises(StoreError, match=r"permission denied for schema .* administrator grant the rights"):
        await postgres_harness.store().open()


async def test_a_database_that_can_not_hold_every_text_is_refused(
    postgres_cluster: Cluster, postgres_schema: str, postgres_database: Database
) -> None:
    name = f"ascii_of_{postgres_schema}"
    postgres_database.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StoreError, match="has the encoding SQL_ASCII"):
        await PostgresStore(postgres_cluster.url.removesuffix("postgres") + name).open()


async def test_text_that_the_server_can_not_hold_is_refused_or_not_found(postgres_harness: PostgresHarness) -> None:
    async with opened(postgres_harness) as hub:
        for wrong in ("a\0b", "a\ud800"):
            with pytest.raises(EngineInvariantError, match="NUL character or half of a surrogate pair"):
                await hub.commit(first_turn(wrong))
            assert await hub.store.get(wrong) is None
            assert await hub.store.get(wrong, with_payloads=True) is None
            assert await hub.store.history(wrong) == []
            assert await hub.store.load([wrong]) == {}
            assert await hub.store.list(InstanceQuery(id_prefix=wrong)) == []
            assert await hub.store.list(InstanceQuery(names=[wrong])) == []
            assert await hub.store.list(InstanceQuery(after=wrong)) == []
        assert await hub.store.count() == {}
        await hub.commit(first_turn("a", custom_status='"\\u0000"', tags={"k": "\0"}))
        loaded = (await hub.store.load(["a"]))["a"].row
        assert (loaded.custom_status, loaded.tags) == ('"\\u0000"', {"k": "\0"})


async def test_commits_that_were_planned_on_empty_tables_never_read_whole_ones(postgres_harness: PostgresHarness) -> None:
    def whole_reads() -> int:
        return postgres_harness.database.value(
            "SELECT sum(pg_stat_get_numscans(oid)) FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'r'"
            " AND relname IN ('instances', 'history', 'messages', 'activities')",
            postgres_harness.schema,
        )

    before = whole_reads()
    async with opened(postgres_harness) as hub:
        for number in range(30):
            await hub.commit(first_turn(f"i{number}", pending=1), *([next_turn("i0", number + 1)] if number else []))
            await hub.store.load([f"i{number}"])
            await hub.store.inbox([0], ["m1"], 10)
            await hub.store.with_pending([0], "", 10)
            await hub.store.due([0], (0, ""), 10)
        for _ in range(10):
            turns = [TurnRecord(instance_id="i1", row=row("i1", pending=2), segment=segment(1), reset=True)]
            await hub.commit(*turns, consumed=["m1"], withdrawn=["a"], settled=[Claim("t1", 1)])
            await hub.commit(TurnRecord(instance_id="i2", delete=True))
            await hub.sharing.still_stored(["m1"])
    assert whole_reads() == before
    async with joined(postgres_harness) as hub:
        await hub.store.count()
    assert whole_reads() == before + 1, "the counter works"
