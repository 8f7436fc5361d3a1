"""Deleting a hub in PostgreSQL: all of it, and nothing that isn't the hub's."""

import pytest

from perdure.store.deleting import delete_store
from perdure.store.errors import HubInUseError, StoreError
from perdure.store.opening import open_store
from tests.postgres import Database


async def make(url: str) -> None:
    store = open_store(url)
    await store.open()
    await store.close()


def exists(database: Database, schema: str) -> bool:
    return database.value("SELECT count(*) FROM pg_namespace WHERE nspname = $1", schema) == 1


def tables(database: Database, schema: str) -> int:
    return database.value("SELECT count(*) FROM pg_tables WHERE schemaname = $1", schema)


async def test_nothing_is_left_and_a_new_hub_can_be_made(
    postgres_url: str, postgres_schema: str, postgres_database: Database
) -> None:
    await make(postgres_url)
    assert exists(postgres_database, postgres_schema)
    await delete_store(postgres_url)
    assert not exists(postgres_database, postgres_schema)
    await make(postgres_url)
    assert exists(postgres_database, postgres_schema)


async def test_a_hub_that_does_not_exist_is_fine(postgres_url: str, postgres_schema: str, postgres_database: Database) -> None:
    await delete_store(postgres_url)
    postgres_database.execute(f"CREATE SCHEMA {postgres_schema}")
    await delete_store(postgres_url)
    assert exists(postgres_database, postgres_schema)  # whoever has made it may want it


async def test_tables_of_another_program_are_left_alone(
    postgres_url: str, postgres_schema: str, postgres_database: Database
) -> None:
    postgres_database.execute(f"CREATE SCHEMA {postgres_schema}; CREATE TABLE {postgres_schema}.orders (id int)")
    with pytest.raises(StoreError, match="tables of another program"):
        await delete_store(postgres_url)
    assert tables(postgres_database, postgres_schema) == 1


async def test_users_tables_beside_the_hub_stay(postgres_url: str, postgres_schema: str, postgres_database: Database) -> None:
    await make(postgres_url)
    postgres_database.execute(f"CREATE TABLE {postgres_schema}.orders AS SELECT 1 AS id")
    await delete_store(postgres_url)
    assert tables(postgres_database, postgres_schema) == 1
    assert postgres_database.value(f"SELECT id FROM {postgres_schema}.orders") == 1


async def test_nothing_is_deleted_where_something_else_needs_the_hub(
    postgres_url: str, postgres_schema: str, postgres_database: Database
) -> None:
    await make(postgres_url)
    before = tables(postgres_database, postgres_schema)
    postgres_database.execute(
        f"CREATE VIEW public.report_{postgres_schema} AS SELECT instance_id FROM {postgres_schema}.instances"
    )
    with pytest.raises(StoreError, match=f"report_{postgres_schema}.*nothing was deleted"):
        await delete_store(postgres_url)
    assert tables(postgres_database, postgres_schema) == before
    await make(postgres_url)


async def test_a_hub_that_an_engine_has_open_is_not_deleted(postgres_url: str) -> None:
    store = open_store(postgres_url)
    await store.open()
    leases = await store.acquire("another-machine:1", range(2), 60_000_000)
    with pytest.raises(HubInUseError, match="another-machine:1"):
        await delete_store(postgres_url)
    await store.release(leases)
    await store.close()
    await delete_store(postgres_url)
