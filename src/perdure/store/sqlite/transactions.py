"""Transactions that users and the hub share: the user's tables live in the hub's file."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

from perdure.core.errors import EngineInvariantError
from perdure.store.contract import AsyncTransaction, Fence, Lease, StoredMessage, Transaction
from perdure.store.errors import UnusableConnectionError
from perdure.store.refusals import fence_lost, transaction_ended
from perdure.store.sqlite.activity_connection import ActivityConnection, connect_activity
from perdure.store.sqlite.connection import BUSY_TIMEOUT_SECONDS
from perdure.store.sqlite.failures import held_too_long, translate
from perdure.store.sqlite.gate import LONGEST_TRANSACTION_SECONDS, WriterGate
from perdure.store.sqlite.lane import Lane

_ENLIST = "INSERT INTO main.messages (message_id, instance_id, partition, body) VALUES (?, ?, ?, ?)"
# A message of the same id is the outcome of an earlier run of the same activity.
_SETTLE = """
    INSERT INTO main.messages (message_id, instance_id, partition, body) SELECT ?1, ?2, ?3, ?4
    WHERE (SELECT epoch FROM main.partitions WHERE partition = ?5) = ?6
        AND NOT EXISTS (SELECT 1 FROM main.messages WHERE message_id = ?1)
"""
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.05


class SqliteTransaction:
    """See ``Transaction``."""

    def __init__(self, connection: ActivityConnection, database: Path) -> None:
        self.connection = connection
        self._database = database

    def commit(self, message: StoredMessage, fence: Fence) -> None:
        """See ``Transaction.commit``."""
        if not isinstance(fence, Lease):
            raise EngineInvariantError("An SQLite hub has no shared activity queue on which anything could be claimed.")
        connection = self.connection
        connection.regain()
        if not connection.in_transaction:
            raise transaction_ended()
        try:
            settled = connection.execute(_SETTLE, (*_columns(message), fence.partition, fence.epoch)).rowcount
            if not settled:
                raise fence_lost(fence)
            connection.conclude()
        except sqlite3.IntegrityError:
            raise  # a constraint of the user's that is checked at the end
        except sqlite3.Error as error:
            raise translate(error, self._database) from error


class AsyncSqliteTransaction:
    """See ``AsyncTransaction``."""

    def __init__(self, transaction: SqliteTransaction) -> None:
        self.connection = transaction.connection
        self._transaction = transaction

    async def commit(self, message: StoredMessage, fence: Fence) -> None:
        """See ``Transaction.commit``. Blocks the event loop for as long as a write to disk takes, as all on such a connection."""
        self._transaction.commit(message, fence)


class SqliteTransactions:
    """See ``Transactions``."""

    def __init__(self, database: Path, gate: WriterGate, writer: Callable[[], Lane], reader: Callable[[], Lane]) -> None:
        self._database = database
        self._gate = gate
        self._writer = writer
        self._reader = reader

    def enlist(self, connection: object, message: StoredMessage, nudge: str) -> bool:
        """See ``Transactions.enlist``."""
        del nudge
        self._writer()  # the store is open
        usable = self._usable(connection)
        usable.execute(_ENLIST, _columns(message))
        return False

    async def enlist_async(self, connection: object, message: StoredMessage, nudge: str) -> bool:
        """See ``Transactions.enlist_async``. Such connections know no event loop."""
        return self.enlist(connection, message, nudge)

    async def ended(self) -> None:
        """See ``Transactions.ended``.

        A transaction that has written a message keeps the write lock until it ends, and there is only one: when anybody else gets
        it, the transaction has ended. Nothing tells when; so it is tried, less and less often.
        """
        pause = _FIRST_PAUSE
        while not await self._writer().run(_nobody_writes):
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def waits(self, message_id: str) -> bool:
        """See ``Transactions.waits``."""
        return await self._reader().run(partial(_is_stored, message_id=message_id))

    @contextmanager
    def begin(self) -> Generator[Transaction]:
        """See ``Transactions.begin``."""
        if not self._gate.enter(LONGEST_TRANSACTION_SECONDS):
            raise held_too_long(self._database)
        try:
            connection = self._connect(BUSY_TIMEOUT_SECONDS)
            try:
                self._start(connection)
                yield SqliteTransaction(connection, self._database)
            finally:
                connection.discard()
        finally:
            self._gate.leave()

    @asynccontextmanager
    async def begin_async(self) -> AsyncGenerator[AsyncTransaction]:
        """See ``Transactions.begin_async``."""
        if not await self._gate.enter_async(LONGEST_TRANSACTION_SECONDS):
            raise held_too_long(self._database)
        try:
            connection = self._connect(0)
            try:
                await self._start_patiently(connection)
                yield AsyncSqliteTransaction(SqliteTransaction(connection, self._database))
            finally:
                connection.discard()
        finally:
            self._gate.leave()

    def _connect(self, timeout: float) -> ActivityConnection:
        try:
            return connect_activity(self._database, timeout)
        except sqlite3.Error as error:
            raise translate(error, self._database) from error

    def _start(self, connection: ActivityConnection) -> None:
        try:
            connection.start()
        except sqlite3.Error as error:
            raise translate(error, self._database) from error

    async def _start_patiently(self, connection: ActivityConnection) -> None:
        """Waits for a user's own transaction on the event loop, where that may have been begun."""
        patience = asyncio.get_running_loop().time() + BUSY_TIMEOUT_SECONDS
        pause = _FIRST_PAUSE
        while True:
            try:
                return connection.start()
            except sqlite3.Error as error:
                if not _busy(error) or asyncio.get_running_loop().time() > patience:
                    raise translate(error, self._database) from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _usable(self, connection: object) -> sqlite3.Connection:
        if not isinstance(connection, sqlite3.Connection):
            raise UnusableConnectionError(
                f"a {type(connection).__module__}.{type(connection).__qualname__} can't take part in the SQLite hub "
                f"'{self._database}': pass the sqlite3.Connection below it."
            )
        cursor = connection.cursor()
        cursor.row_factory = None
        file = next(file for _, name, file in cursor.execute("PRAGMA database_list") if name == "main")
        if not file or not self._database.samefile(file):
            raise UnusableConnectionError(
                f"the connection is to '{file or ':memory:'}', but the hub is in '{self._database}'. One transaction can't be "
                "in two databases: connect to the hub's file, and have your tables there."
            )
        # Anything but autocommit begins a transaction by itself.
        autocommit = connection.isolation_level is None or getattr(connection, "autocommit", False) is True
        if autocommit and not connection.in_transaction:
            raise UnusableConnectionError(
                "the connection is in autocommit mode and no transaction is open, so there is nothing that the start could be "
                "part of: execute BEGIN first, or start without a connection."
            )
        return connection


def _columns(message: StoredMessage) -> tuple[str, str, int, bytes]:
    return message.message_id, message.instance_id, message.partition, message.body


def _is_stored(connection: sqlite3.Connection, message_id: str) -> bool:
    return connection.execute("SELECT 1 FROM messages WHERE message_id = ?", (message_id,)).fetchone() is not None


def _nobody_writes(connection: sqlite3.Connection) -> bool:
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if not _busy(error):
            raise
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT_SECONDS * 1000)}")
    return True


def _busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
