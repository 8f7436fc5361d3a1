"""What an SQLite error means to the engine."""

import sqlite3
from pathlib import Path

from perdure.core.errors import PerdureError
from perdure.store.errors import StoreError, StoreUnavailableError
from perdure.store.refusals import segment_refused
from perdure.store.sqlite.gate import LONGEST_TRANSACTION_SECONDS


def translate(error: sqlite3.Error, database: Path) -> PerdureError:
    """The error of the contract that says the same.

    Constraints can only be broken by the engine. A damaged file won't heal, so it isn't "unavailable". All else is:
    disk full, I/O error, locked by another program.
    """
    # The low byte is the primary code; the rest says where it happened.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_CONSTRAINT:
        return segment_refused(f"the batch for '{database}' ({error})")
    if code == sqlite3.SQLITE_NOTADB:
        return StoreError(
            f"'{database}' isn't an SQLite database. Nothing was changed: name another file, or move this one away."
        )
    if code == sqlite3.SQLITE_CORRUPT:
        return StoreError(
            f"The SQLite database '{database}' is damaged ({error}). Restore a backup, or try `sqlite3 FILE .recover`."
        )
    if code == sqlite3.SQLITE_TOOBIG:
        return StoreError(
            f"A value is larger than SQLite can hold in '{database}' (1 GB). Make the batch or the history smaller."
        )
    return StoreUnavailableError(
        f"The SQLite database '{database}' can't be used now: {error}. Check free disk space, permissions, and that no other "
        "program keeps it locked."
    )


def held_too_long(database: Path) -> StoreUnavailableError:
    """Somebody waited in vain for a transactional activity."""
    return StoreUnavailableError(
        f"The SQLite database '{database}' has been kept for {LONGEST_TRANSACTION_SECONDS:g} s by the transaction of an "
        "activity, and SQLite has one writer. Do what takes long in another activity."
    )
