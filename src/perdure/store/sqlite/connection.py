"""Connections to the database file, each used by one thread only."""

import sqlite3
from pathlib import Path

BUSY_TIMEOUT_SECONDS = 5.0
# Pages of 4 KiB. A checkpoint every 16 MB costs as much per row as one every 4 MB and stalls the writer less often.
_CHECKPOINT_PAGES = 4000
_WAL_BYTES_KEPT = 64 * 1024 * 1024


def connect_writer(database: Path) -> sqlite3.Connection:
    """A connection whose commits are on disk when they return."""
    connection = _connect(database)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        prepare_writer(connection)
        connection.execute("PRAGMA cache_size = -32000")
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


def prepare_writer(connection: sqlite3.Connection) -> None:
    """Sees to it that commits are on disk when they return, and that they keep the write-ahead log short."""
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_KEPT}")


def connect_reader(database: Path) -> sqlite3.Connection:
    """A connection that sees all commits that returned before each statement, and can't write."""
    connection = _connect(database)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA cache_size = -16000")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(database: Path) -> sqlite3.Connection:
    # isolation_level None: transactions begin and end where this package says so.
    return sqlite3.connect(database, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, cached_statements=64)
