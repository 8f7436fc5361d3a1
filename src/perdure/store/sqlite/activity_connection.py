"""The connection that a transactional activity gets: it can do everything but end the transaction."""

import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Literal, Never, Self

from perdure.store.errors import TransactionControlError
from perdure.store.sqlite.connection import prepare_writer


class ActivityConnection(sqlite3.Connection):
    """Opened with the write lock taken. ``conclude`` and ``discard`` are for its owner, all else for the user."""

    def start(self) -> None:
        """Begins the transaction."""
        self.execute("BEGIN IMMEDIATE")
        self.set_authorizer(_allow)
        # Should SQLite itself roll back, which some conflict clauses make it do, what follows must not be written one by one:
        # with this, Python begins a transaction first, and isn't allowed to.
        self.isolation_level = "DEFERRED"

    def conclude(self) -> None:
        """Commits."""
        super().execute("COMMIT")

    def regain(self) -> None:
        """Lets its owner end the transaction."""
        self.set_authorizer(None)

    def discard(self) -> None:
        """Closes it, which rolls back what isn't committed."""
        super().close()

    def commit(self) -> Never:
        """Not the user's business."""
        raise _refusal("commit")

    def rollback(self) -> Never:
        """Not the user's business."""
        raise _refusal("rollback")

    def close(self) -> Never:
        """Not the user's business."""
        raise _refusal("close")

    def __enter__(self) -> Self:
        """Begins what an exception undoes; elsewhere that is the transaction, here a part of it."""
        self.execute("SAVEPOINT perdure")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> Literal[False]:
        if error is None:
            self.execute("RELEASE perdure")
        elif self.in_transaction:
            self.execute("ROLLBACK TO perdure")
            self.execute("RELEASE perdure")
        return False


def connect_activity(database: Path, timeout: float) -> ActivityConnection:
    """A connection of an activity's own, on which declared foreign keys are enforced."""
    connection = sqlite3.connect(database, timeout=timeout, isolation_level=None, factory=ActivityConnection)
    try:
        prepare_writer(connection)
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.discard()
        raise
    return connection


def _allow(action: int, *_: str | None) -> int:
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_TRANSACTION else sqlite3.SQLITE_OK


def _refusal(method: str) -> TransactionControlError:
    return TransactionControlError(
        f"a transactional activity called {method}() on its connection. Perdure commits when the activity returns, together with "
        "its result, and rolls back when it raises: return, or raise."
    )
