"""The schema's versions: forward only, one numbered file each, all or nothing."""

import sqlite3
from importlib import resources
from pathlib import Path

from perdure.store.contract import HubInfo
from perdure.store.errors import SchemaTooNewError, StoreError

# STRICT tables (3.37) and the ->> operator (3.38).
_OLDEST_SQLITE = (3, 38, 0)


def require_sqlite() -> None:
    """Refuses an SQLite library that the schema can't run on.

    Raises:
        StoreError: it is older than 3.38.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StoreError(
            f"SQLite 3.38 or newer is needed, but this Python comes with {sqlite3.sqlite_version}. Use a newer Python build."
        )


def migrate(connection: sqlite3.Connection, database: Path, partition_count: int, now: int) -> HubInfo:
    """Brings the schema to this release's version, or leaves the file as it was.

    ``partition_count`` is for a new hub only; an existing one keeps its own.

    Raises:
        SchemaTooNewError: a newer Perdure wrote the file.
        StoreError: the file holds another program's tables.
    """
    migrations = _migrations()
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection, database, newest=len(migrations))
        for script in migrations[version:]:
            _run_script(connection, script)
        if version == 0:
            _fill_new_hub(connection, partition_count, now)
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (len(migrations),))
        count: int = connection.execute("SELECT value FROM meta WHERE key = 'partition_count'").fetchone()[0]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return HubInfo(partition_count=count, schema_version=len(migrations))


def _migrations() -> list[str]:
    folder = resources.files("perdure.store.sqlite") / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [file.read_text(encoding="utf-8") for file in files]


def _version(connection: sqlite3.Connection, database: Path, newest: int) -> int:
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not tables:
        return 0
    if not {"meta", "partitions", "instances"} <= tables:
        raise StoreError(
            f"'{database}' is an SQLite database of another program (tables: {', '.join(sorted(tables))[:200]}). "
            "Nothing was changed: name another file."
        )
    version: int = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()[0]
    if version > newest:
        raise SchemaTooNewError(
            f"'{database}' has schema version {version}; this Perdure knows versions up to {newest}. "
            "Upgrade Perdure; nothing was changed."
        )
    return version


def _run_script(connection: sqlite3.Connection, script: str) -> None:
    # executescript would commit the transaction that makes a migration all or nothing.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""


def _fill_new_hub(connection: sqlite3.Connection, partition_count: int, now: int) -> None:
    connection.executemany(
        "INSERT INTO meta VALUES (?, ?)", [("schema_version", 0), ("partition_count", partition_count), ("created_at", now)]
    )
    connection.executemany("INSERT INTO partitions VALUES (?, 0, '', 0)", [(number,) for number in range(partition_count)])
