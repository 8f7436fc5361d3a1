"""Transactions that users and the hub share: the user's tables live in the hub's database."""

import asyncio
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, cast

import asyncpg

from perdure.store.contract import AsyncTransaction, StoredMessage, Transaction
from perdure.store.errors import TransactionsUnsupportedError, UnusableConnectionError
from perdure.store.postgres import reads
from perdure.store.postgres.activity_connections import AsyncConnections
from perdure.store.postgres.enlisting import KNOWN, Enlistment, no_transaction
from perdure.store.postgres.lanes import Lanes
from perdure.store.postgres.session import Connection
from perdure.store.postgres.target import Target

if TYPE_CHECKING:
    from perdure.store.postgres.with_psycopg import BlockingConnections


class PostgresTransactions:
    """See ``Transactions``. ``lanes`` gives the connections, or raises where the store isn't open."""

    def __init__(self, target: Target, lanes: Callable[[], Lanes]) -> None:
        self._target = target
        self._lanes = lanes
        self._made_at = 0
        self._blocking: BlockingConnections | None = None
        self._async = AsyncConnections(target)
        self._lock = threading.Lock()

    def opened(self, made_at: int) -> None:
        """The store is open; the hub was made at ``made_at``."""
        self._made_at = made_at

    async def close(self) -> None:
        """Ends all connections that no activity has any more."""
        with self._lock:
            blocking, self._blocking = self._blocking, None
        if blocking is not None:
            blocking.close()
        await self._async.close()

    def enlist(self, connection: object, message: StoredMessage, nudge: str) -> bool:
        """See ``Transactions.enlist``. Takes a ``psycopg.Connection``."""
        self._lanes()
        if not _is_psycopg(connection, "Connection"):
            raise self._unusable(connection, "a psycopg.Connection. One of asyncpg is for the client of a TaskHub")
        from perdure.store.postgres import with_psycopg

        with_psycopg.enlist(cast(with_psycopg.Connection, connection), self._enlistment(message, nudge))
        return True

    async def enlist_async(self, connection: object, message: StoredMessage, nudge: str) -> bool:
        """See ``Transactions.enlist_async``. Takes an ``asyncpg.Connection`` or a ``psycopg.AsyncConnection``."""
        self._lanes()
        enlistment = self._enlistment(message, nudge)
        if isinstance(connection, asyncpg.Connection):
            await _enlist(cast("Connection", connection), enlistment)
        elif _is_psycopg(connection, "AsyncConnection"):
            from perdure.store.postgres import with_psycopg

            await with_psycopg.enlist_async(cast(with_psycopg.AsyncConnection, connection), enlistment)
        else:
            raise self._unusable(
                connection, "an asyncpg.Connection or a psycopg.AsyncConnection. Others would block the event loop"
            )
        return True

    async def ended(self) -> None:
        """See ``Transactions.ended``. Commits announce themselves, so nobody has to wait."""
        await asyncio.sleep(0)

    async def waits(self, message_id: str) -> bool:
        """See ``Transactions.waits``."""
        return bool(await self._lanes().queries.run(lambda session: reads.still_stored(session, [message_id])))

    def begin(self) -> AbstractContextManager[Transaction]:
        """See ``Transactions.begin``. The connection is a ``psycopg.Connection``."""
        self._lanes()
        try:
            from perdure.store.postgres.with_psycopg import BlockingConnections
        except ImportError as error:
            raise TransactionsUnsupportedError(
                f"a transactional activity that is a def needs the driver psycopg, which can't be loaded here: {error}. "
                "pip install 'perdure[psycopg]', or make it an async def."
            ) from error
        with self._lock:
            if self._blocking is None:
                self._blocking = BlockingConnections(self._target)
            blocking = self._blocking
        return blocking.transaction()

    def begin_async(self) -> AbstractAsyncContextManager[AsyncTransaction]:
        """See ``Transactions.begin_async``. The connection is an ``asyncpg.Connection``."""
        self._lanes()
        return self._async.transaction()

    def _enlistment(self, message: StoredMessage, nudge: str) -> Enlistment:
        return Enlistment(self._target, self._made_at, message, nudge)

    def _unusable(self, connection: object, wanted: str) -> UnusableConnectionError:
        kind = type(connection)
        return UnusableConnectionError(
            f"a {kind.__module__}.{kind.__qualname__} can't take part in the hub in PostgreSQL at {self._target.place}: "
            f"pass {wanted}."
        )


async def _enlist(connection: Connection, enlistment: Enlistment) -> None:
    if not connection.is_in_transaction():
        raise no_transaction()
    if not await connection.fetchval(KNOWN, enlistment.hub):
        raise enlistment.elsewhere()
    if not await connection.fetch(enlistment.sql, *enlistment.arguments):
        raise enlistment.elsewhere()


def _is_psycopg(connection: object, name: str) -> bool:
    # Who hasn't imported it has no connection of it.
    driver: Any = sys.modules.get("psycopg")
    return driver is not None and isinstance(connection, getattr(driver, name))
