"""Connections of asyncpg for ``async def`` activities: they belong to users while they are lent, and are as new afterwards."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from perdure.store.contract import Fence, StoredMessage
from perdure.store.errors import StoreUnavailableError
from perdure.store.postgres.failures import translate
from perdure.store.postgres.session import Connection
from perdure.store.postgres.settling import PREPARE, REFUSED, is_unknown, settle_and_commit, unknown, values
from perdure.store.postgres.target import Target
from perdure.store.refusals import fence_lost, transaction_ended

if TYPE_CHECKING:
    from asyncpg.pool import Pool
    from asyncpg.transaction import Transaction

MOST_CONNECTIONS = 20
"""Of each driver. Activities that need one more wait."""
IDLE_SECONDS = 60.0
"""How long one is kept that nobody needs."""
SETTINGS = """
    SET default_transaction_read_only = off;
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
"""
# The next activity must not find what the last one has left.
RESET = "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; DISCARD TEMP; RESET ALL;" + SETTINGS
_CLOSING_SECONDS = 5.0
_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


class AsyncSettlement:
    """See ``AsyncTransaction``."""

    def __init__(self, connection: Connection, target: Target) -> None:
        self.connection = connection
        self.committed = False
        self._target = target

    async def commit(self, message: StoredMessage, fence: Fence) -> None:
        """See ``Transaction.commit``."""
        connection = self.connection
        try:
            if not connection.is_in_transaction():
                raise transaction_ended()
            await connection.execute(PREPARE, values(message, fence))
            await connection.execute(settle_and_commit(self._target))
        except _FAILURES as error:
            state = error.sqlstate if isinstance(error, asyncpg.PostgresError) else None
            # The driver's internal error: the server's farewell was read, the end of the connection wasn't yet.
            if is_unknown(state, _is_lost(connection) or isinstance(error, asyncpg.InternalClientError)):
                raise unknown(self._target, error) from error
            if state == REFUSED:
                raise fence_lost(fence) from None
            raise
        self.committed = True


class AsyncConnections:
    """All of one store."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._pool: Pool[asyncpg.Record] | None = None

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncSettlement]:
        """A transaction on a connection that nobody else has.

        Raises:
            StoreUnavailableError: there is none now.
        """
        try:
            pool = await self._made()
            connection: Any = await pool.acquire(timeout=self._target.connect_timeout)
        except _FAILURES as error:
            raise self._translated(error) from error
        try:
            transaction = connection.transaction()
            try:
                await transaction.start()
            except _FAILURES as error:
                raise self._translated(error) from error
            settlement = AsyncSettlement(connection, self._target)
            try:
                yield settlement
            finally:
                await _end(connection, transaction, settlement.committed)
        finally:
            await pool.release(connection)

    async def close(self) -> None:
        """Ends all; those that are lent too, if they don't come back soon."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(_CLOSING_SECONDS):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    async def _made(self) -> "Pool[asyncpg.Record]":
        if self._pool is None:
            self._pool = asyncpg.create_pool(
                self._target.dsn,
                min_size=0,
                max_size=MOST_CONNECTIONS,
                max_inactive_connection_lifetime=IDLE_SECONDS,
                timeout=self._target.connect_timeout,
                init=_set_up,
                reset=_reset,
            )
        pool = self._pool
        await pool  # the first time it gets ready; later that does nothing
        return pool

    def _translated(self, error: Exception) -> Exception:
        return translate(error, self._target.place) or no_connection(self._target, str(error))


def no_connection(target: Target, why: str) -> StoreUnavailableError:
    """An activity has to wait."""
    return StoreUnavailableError(f"PostgreSQL at {target.place} gives no connection for an activity now: {why.strip()}")


async def _set_up(connection: Any) -> None:
    await connection.execute(SETTINGS)


async def _reset(connection: Any) -> None:
    await connection.execute(RESET)


async def _end(connection: Connection, transaction: "Transaction", committed: bool) -> None:
    try:
        # What was committed in SQL the driver hasn't noticed; to the server a second time means nothing.
        await (transaction.commit() if committed else transaction.rollback())
    except _FAILURES:
        _terminate(connection)
    except BaseException:
        _terminate(connection)
        raise


def _is_lost(connection: Connection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True  # the pool has taken it back already


def _terminate(connection: Connection) -> None:
    if not _is_lost(connection):
        connection.terminate()
