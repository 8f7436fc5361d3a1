"""One connection, made when it is needed and made anew after it was lost."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import asyncpg

from perdure.store.errors import StoreUrlError
from perdure.store.postgres.failures import DEADLOCKS, refused_credentials, translate
from perdure.store.postgres.target import Target

T = TypeVar("T")
_ENDS = ("25006", "57P", "08")
"""Errors after which the connection is of no use: a server that only reads, one that shuts down, a broken protocol. The driver
may raise them before it notices that the connection is closed."""
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

# The server gives up first, so that the connection survives; the client's own limit is for a network that swallows all.
_GRACE_SECONDS = 5.0
_SESSION = """
    SET statement_timeout = {milliseconds};
    SET default_transaction_isolation = 'read committed';
    SET default_transaction_read_only = off;
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
    SET jit = off
"""
BY_INDEX = """
    ; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan
"""
"""Settings for statements that only ever touch a few rows by key. The server plans them once for each connection, and may do
so while the tables are still empty; a plan that reads whole tables would stay when they are not."""
WITHOUT_FLUSH = "; SET synchronous_commit = off"
"""Settings for what may be lost in a crash of the server."""


class Counters:
    """What went wrong so far on the connections of one store."""

    def __init__(self) -> None:
        self.deadlocks = 0
        """Deadlocks and serialization failures; more than 0 is a bug in the order of locks."""


class Session:
    """A connection with the errors of the contract. One call at a time."""

    def __init__(self, target: Target, counters: Counters, settings: str) -> None:
        self._target = target
        self._counters = counters
        self._settings = _SESSION.format(milliseconds=round(target.command_timeout * 1000)) + settings
        self._connection: Connection | None = None
        self._served = False

    async def fetch(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """All rows of a statement."""
        text = self._target.sql(sql)
        return await self.use(lambda connection: connection.fetch(text, *arguments))

    async def fetchrow(self, sql: str, *arguments: Any) -> asyncpg.Record:
        """The only row of a statement that gives one in any case."""
        return (await self.fetch(sql, *arguments))[0]

    async def use(self, work: Callable[[Connection], Awaitable[T]], *, patiently: bool = False) -> T:
        """Runs ``work`` with the connection, which is given up if its state isn't known afterwards."""
        connection = await self._connected()
        try:
            async with asyncio.timeout(None if patiently else self._target.command_timeout + _GRACE_SECONDS):
                return await work(connection)
        except Exception as error:
            if not isinstance(error, asyncpg.PostgresError) or str(error.sqlstate).startswith(_ENDS):
                connection.terminate()
            if isinstance(error, asyncpg.PostgresError) and error.sqlstate in DEADLOCKS:
                self._counters.deadlocks += 1
            meaning = translate(error, self._target.place)
            if meaning is None:
                raise
            raise meaning from error
        except BaseException:
            connection.terminate()
            raise

    async def close(self) -> None:
        """Ends the connection in an orderly way if that is possible."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            try:
                await connection.close(timeout=self._target.connect_timeout)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                connection.terminate()

    async def _connected(self) -> Connection:
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        target = self._target
        try:
            async with asyncio.timeout(target.connect_timeout):
                connection = await asyncpg.connect(target.dsn, timeout=target.connect_timeout, max_cached_statement_lifetime=0)
                try:
                    # Not as parameters of the connection: PgBouncer refuses those that it doesn't know.
                    await connection.execute(self._settings)
                except BaseException:
                    connection.terminate()
                    raise
        except (asyncpg.ClientConfigurationError, ValueError):
            # What the driver says may quote any part of the URL, also the password.
            raise StoreUrlError(
                f"The driver can't understand the URL of PostgreSQL at {target.place}. Check the parameters behind its '?', and "
                "that special characters in names and passwords are written as %40 and the like."
            ) from None
        except Exception as error:
            # A server that has let us in before may only be restarting, whatever it says.
            meaning = (None if self._served else refused_credentials(error, target.place)) or translate(error, target.place)
            if meaning is None:
                raise
            raise meaning from error
        self._connection, self._served = connection, True
        return connection
