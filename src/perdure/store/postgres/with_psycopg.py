"""What needs psycopg: transactions of ``def`` activities, and of users' own connections. Imported on use only."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from perdure.store.contract import Fence, StoredMessage
from perdure.store.errors import StoreUrlError
from perdure.store.postgres.activity_connections import IDLE_SECONDS, MOST_CONNECTIONS, RESET, SETTINGS, no_connection
from perdure.store.postgres.enlisting import KNOWN, Enlistment, no_transaction
from perdure.store.postgres.settling import PREPARE, REFUSED, is_unknown, settle_and_commit, unknown, values
from perdure.store.postgres.target import Target
from perdure.store.refusals import fence_lost, transaction_ended

Connection = psycopg.Connection[Any]
AsyncConnection = psycopg.AsyncConnection[Any]


class BlockingSettlement:
    """See ``Transaction``."""

    def __init__(self, connection: Connection, target: Target) -> None:
        self.connection = connection
        self.committed = False
        self._target = target

    def commit(self, message: StoredMessage, fence: Fence) -> None:
        """See ``Transaction.commit``."""
        connection = self.connection
        if not connection.closed and connection.info.transaction_status is TransactionStatus.IDLE:
            raise transaction_ended()
        try:
            psycopg.RawCursor(connection).execute(PREPARE, (values(message, fence),))
            psycopg.Cursor(connection).execute(settle_and_commit(self._target).encode())
        except psycopg.Error as error:
            if is_unknown(error.sqlstate, connection.closed):
                raise unknown(self._target, error) from error
            if error.sqlstate == REFUSED:
                raise fence_lost(fence) from None
            raise
        self.committed = True


class BlockingConnections:
    """All of one store: they belong to users while they are lent, and are as new afterwards. Any thread."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._room = threading.Semaphore(MOST_CONNECTIONS)
        self._idle: list[tuple[Connection, float]] = []
        """With the time since when. The last ones used are used first."""
        self._closed = False

    @contextmanager
    def transaction(self) -> Generator[BlockingSettlement]:
        """A transaction on a connection that nobody else has.

        Raises:
            StoreUnavailableError: there is none now.
        """
        if not self._room.acquire(timeout=self._target.connect_timeout):
            raise no_connection(self._target, f"{MOST_CONNECTIONS} activities have one each. Do what takes long in others")
        connection = None
        reusable = False
        try:
            try:
                connection = self._take() or self._connect()
                transaction = psycopg.Transaction(connection)
                transaction.__enter__()
            except psycopg.OperationalError as error:
                raise no_connection(self._target, str(error)) from error
            settlement = BlockingSettlement(connection, self._target)
            yield settlement
            reusable = settlement.committed and self._give_back(connection, transaction)
        finally:
            # It may be in any state; closing it undoes what isn't committed.
            if connection is not None and not reusable:
                connection.close()
            self._room.release()

    def close(self) -> None:
        """Ends those that are idle, and later those that come back."""
        self._closed = True
        while (connection := self._take()) is not None:
            connection.close()

    def _take(self) -> Connection | None:
        with suppress(IndexError):
            while True:
                connection, since = self._idle.pop()
                if time.monotonic() - since < IDLE_SECONDS:
                    return connection
                connection.close()
        return None

    def _connect(self) -> Connection:
        seconds = max(1, round(self._target.connect_timeout))
        try:
            connection = psycopg.connect(self._target.dsn, autocommit=True, connect_timeout=seconds)
        except psycopg.ProgrammingError:
            # What the driver says may quote any part of the URL, also the password.
            raise StoreUrlError(
                f"psycopg can't understand the URL of PostgreSQL at {self._target.place}. Check the parameters behind its '?'."
            ) from None
        try:
            connection.execute(SETTINGS)
        except BaseException:
            connection.close()
            raise
        return connection

    def _give_back(self, connection: Connection, transaction: psycopg.Transaction) -> bool:
        try:
            # It was committed in SQL, which the driver hasn't noticed; to the server a second time means nothing.
            transaction.__exit__(None, None, None)
            connection.row_factory = tuple_row
            connection.cursor_factory = psycopg.Cursor
            connection.execute(RESET)
        except psycopg.Error:
            return False
        if self._closed:
            return False
        self._idle.append((connection, time.monotonic()))
        return True


def enlist(connection: Connection, enlistment: Enlistment) -> None:
    """Writes the message in the transaction that is open, or that begins with it.

    Raises:
        UnusableConnectionError: there is none, or it is in another database.
    """
    _require_transaction(connection)
    cursor = psycopg.RawCursor(connection, row_factory=tuple_row)
    if cursor.execute(KNOWN, (enlistment.hub,), prepare=False).fetchone() != (True,):
        raise enlistment.elsewhere()
    if cursor.execute(enlistment.sql.encode(), enlistment.arguments, prepare=False).fetchone() is None:
        raise enlistment.elsewhere()


async def enlist_async(connection: AsyncConnection, enlistment: Enlistment) -> None:
    """The same on the event loop."""
    _require_transaction(connection)
    cursor = psycopg.AsyncRawCursor(connection, row_factory=tuple_row)
    await cursor.execute(KNOWN, (enlistment.hub,), prepare=False)
    if await cursor.fetchone() != (True,):
        raise enlistment.elsewhere()
    await cursor.execute(enlistment.sql.encode(), enlistment.arguments, prepare=False)
    if await cursor.fetchone() is None:
        raise enlistment.elsewhere()


def _require_transaction(connection: Connection | AsyncConnection) -> None:
    # Anything but autocommit begins a transaction by itself.
    if connection.autocommit and connection.info.transaction_status is TransactionStatus.IDLE:
        raise no_transaction()
