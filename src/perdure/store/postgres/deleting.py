"""Deleting a hub in PostgreSQL: all of it or nothing, and nothing that isn't the hub's own."""

import re

import asyncpg

from perdure.store.errors import HubInUseError, StoreError
from perdure.store.postgres.schema import hub_version, lock_schema, migrations
from perdure.store.postgres.session import Connection, Counters, Session
from perdure.store.postgres.target import Target

_MADE = re.compile(r"^CREATE (TABLE|FUNCTION) hub\.(\w+)", re.MULTILINE)
_ENGINE = """
    SELECT owner FROM hub.members WHERE expires_at > hub.now_us()
    UNION ALL SELECT owner FROM hub.partitions WHERE owner <> '' AND expires_at > hub.now_us() LIMIT 1
"""
_FUNCTIONS = """
    SELECT p.oid::regprocedure::text FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname = $1 AND p.proname = ANY ($2)
"""


async def delete_hub(url: str) -> None:
    """Leaves nothing of the hub, nor of its schema if nothing else is in there. A hub that doesn't exist is fine.

    Raises:
        HubInUseError: an engine has it open.
        SchemaTooNewError: a newer Perdure made it.
        StoreError: the schema is another program's, holds something else that needs the hub, or the role may not delete it.
        StoreUnavailableError: the server can't be reached now.
    """
    target = Target.of(url)
    session = Session(target, Counters(), "")
    try:
        await session.use(lambda connection: _delete(connection, target), patiently=True)
    finally:
        await session.close()


async def _delete(connection: Connection, target: Target) -> None:
    scripts = migrations()
    async with connection.transaction():
        await lock_schema(connection, target)
        if not await hub_version(connection, target, len(scripts)):
            return
        engine = await connection.fetchval(target.sql(_ENGINE))
        if engine is not None:
            raise HubInUseError(
                f"the hub in PostgreSQL at {target.place} is open in '{engine}'. Stop that, or wait until its lease has expired; "
                "nothing was deleted."
            )
        made = [match.groups() for script in scripts for match in _MADE.finditer(script)]
        tables = ", ".join(f'hub."{name}"' for kind, name in made if kind == "TABLE")
        functions = await connection.fetch(_FUNCTIONS, target.schema, [name for kind, name in made if kind == "FUNCTION"])
        try:
            # Without CASCADE: what others have built on the hub is theirs.
            await connection.execute(target.sql(f"DROP TABLE {tables}"))
            for row in functions:
                await connection.execute(f"DROP FUNCTION {row[0]}")
        except asyncpg.DependentObjectsStillExistError as error:
            raise StoreError(
                f"the hub in PostgreSQL at {target.place} can't be deleted, because something else needs it: "
                f"{error.detail or error}. Delete that first; nothing was deleted."
            ) from error
        await _drop_schema(connection, target)


async def _drop_schema(connection: Connection, target: Target) -> None:
    """Drops it if it is empty, and the role's own."""
    try:
        async with connection.transaction():
            await connection.execute(f'DROP SCHEMA "{target.schema}"')
    except (asyncpg.DependentObjectsStillExistError, asyncpg.InsufficientPrivilegeError):
        return
