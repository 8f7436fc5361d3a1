"""The schema's versions: forward only, one numbered file each, all or nothing, whoever else opens the hub at the same time."""

import re
from importlib import resources
from zlib import crc32

import asyncpg

from perdure.store.contract import HubInfo
from perdure.store.errors import HubMissingError, SchemaTooNewError, StoreError
from perdure.store.postgres.session import Connection, Session
from perdure.store.postgres.target import Target

_OLDEST_SERVER = 130000
_LOCK_SPACE = crc32(b"perdure migrations") - (1 << 31)
"""First half of the advisory lock's key; a hash of the schema's name is the second."""

_TABLES = """
    SELECT c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""


async def migrate(session: Session, target: Target, partition_count: int | None) -> HubInfo:
    """Makes the hub, or brings its schema to this release's version, or leaves it as it was.

    ``partition_count`` is for a new hub only; an existing one keeps its own, and ``None`` makes none. A schema that needs nothing
    is only read, so an engine gets by without the right to change it.

    Raises:
        HubMissingError: there is none, and it was not to be made.
        SchemaTooNewError: a newer Perdure made it into something that this one can't work with.
        StoreError: the server, the database or the schema isn't one for a hub, or the role may not make one.
    """
    scripts = migrations()
    version = await session.use(lambda connection: _current_version(connection, target, len(scripts)))
    if version < len(scripts):
        await session.use(lambda connection: _upgrade(connection, target, scripts, partition_count), patiently=True)
    facts = {row["key"]: row["value"] for row in await session.fetch("SELECT key, value FROM hub.meta")}
    return HubInfo(partition_count=facts["partition_count"], schema_version=facts["schema_version"])


async def made_at(session: Session) -> int:
    """When the hub was made: that tells it from another one of the same name."""
    return (await session.fetchrow("SELECT value FROM hub.meta WHERE key = 'created_at'"))[0]


async def _current_version(connection: Connection, target: Target, newest: int) -> int:
    await _require_server(connection, target)
    return await hub_version(connection, target, newest)


async def _upgrade(connection: Connection, target: Target, scripts: list[str], partition_count: int | None) -> None:
    try:
        await _migrate(connection, target, scripts, partition_count)
    except asyncpg.InsufficientPrivilegeError as error:
        role = await connection.fetchval("SELECT current_user")
        raise StoreError(
            f"The hub in PostgreSQL at {target.place} has to be made or upgraded, and the role '{role}' may not do it: {error}. "
            f'Let an administrator run CREATE SCHEMA "{target.schema}" AUTHORIZATION "{role}"; once, or open the hub with a role '
            "that owns the schema."
        ) from error


async def _require_server(connection: Connection, target: Target) -> None:
    version = int(await connection.fetchval("SHOW server_version_num"))
    encoding = str(await connection.fetchval("SHOW server_encoding"))
    if version < _OLDEST_SERVER:
        raise StoreError(f"PostgreSQL at {target.place} has version {version // 10000}; 13 or newer is needed.")
    if encoding != "UTF8":
        raise StoreError(
            f"The database of PostgreSQL at {target.place} has the encoding {encoding}, which can't hold every text. Make one "
            "with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0."
        )


async def hub_version(connection: Connection, target: Target, newest: int) -> int:
    """The version of the hub's schema; 0 if there is no hub.

    Raises:
        SchemaTooNewError: ``newest`` is too old for it.
        StoreError: the schema is another program's.
    """
    tables = {str(row[0]) for row in await connection.fetch(_TABLES, target.schema)}
    if not tables:
        return 0
    if not {"meta", "partitions", "instances"} <= tables:
        raise StoreError(
            f"The schema of PostgreSQL at {target.place} holds tables of another program ({', '.join(sorted(tables))[:200]}). "
            "Nothing was changed: name another one with ?schema=."
        )
    facts = {row["key"]: row["value"] for row in await connection.fetch(target.sql("SELECT key, value FROM hub.meta"))}
    if facts["oldest_engine"] > newest:
        raise SchemaTooNewError(
            f"PostgreSQL at {target.place} has schema version {facts['schema_version']}, which needs a Perdure that knows "
            f"version {facts['oldest_engine']}; this one knows versions up to {newest}. Upgrade Perdure; nothing was changed."
        )
    return int(facts["schema_version"])


async def lock_schema(connection: Connection, target: Target) -> None:
    """Guarantees that nobody else makes, upgrades or deletes the hub before the end of the transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock($1, $2)", _LOCK_SPACE, crc32(target.schema.encode()) - (1 << 31))


async def _migrate(connection: Connection, target: Target, scripts: list[str], partition_count: int | None) -> None:
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0")
        await lock_schema(connection, target)  # whoever comes second waits here, and then finds nothing left to do
        version = await hub_version(connection, target, len(scripts))
        if version == 0 and partition_count is None:
            raise HubMissingError(
                f"there is no hub in PostgreSQL at {target.place}. Check the database, and the schema (?schema=) of the URL; "
                "'perdure store init' makes a hub, or a host that starts."
            )
        if version == 0 and not await connection.fetchval("SELECT 1 FROM pg_namespace WHERE nspname = $1", target.schema):
            await connection.execute(f'CREATE SCHEMA "{target.schema}"')
        for script in scripts[version:]:
            await connection.execute(target.sql(script))
        if version == 0 and partition_count is not None:
            await _fill_new_hub(connection, target, partition_count)
        if version < len(scripts):
            await connection.execute(target.sql("UPDATE hub.meta SET value = $1 WHERE key = 'schema_version'"), len(scripts))


async def _fill_new_hub(connection: Connection, target: Target, partition_count: int) -> None:
    await connection.execute(
        target.sql("INSERT INTO hub.meta VALUES ('schema_version', 0), ('partition_count', $1), ('created_at', hub.now_us())"),
        partition_count,
    )
    await connection.execute(
        target.sql("INSERT INTO hub.partitions SELECT number, 0, '', 0 FROM generate_series(0, $1 - 1) AS number"),
        partition_count,
    )


def migrations() -> list[str]:
    """The scripts that make a hub and bring it up to date, from the first."""
    folder = resources.files("perdure.store.postgres") / "migrations"
    files = sorted((file for file in folder.iterdir() if re.fullmatch(r"\d{4}_\w+\.sql", file.name)), key=lambda file: file.name)
    return [file.read_text(encoding="utf-8") for file in files]
