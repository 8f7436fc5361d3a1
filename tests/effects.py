"""A table of a user's in the database of a hub, and the ways to write into it: what tests of transactions look at."""

import inspect
import sqlite3
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg

from perdure.store.contract import Fence, HubStore, StoredMessage
from perdure.store.opening import open_store


@dataclass(frozen=True)
class Place:
    """Where a hub is."""

    url: str
    table: str = "effects"

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    def store(self) -> HubStore:
        return open_store(self.url)

    def connect(self) -> Any:
        """A connection as a user's script makes it: a transaction begins with the first statement."""
        if self.is_sqlite:
            return sqlite3.connect(self.url.removeprefix("sqlite:///"))
        return psycopg.connect(self.dsn)

    @property
    def dsn(self) -> str:
        """For the drivers of PostgreSQL."""
        return self.url.partition("?")[0]

    def make_table(self) -> None:
        """To be called once the hub exists."""
        check = " DEFERRABLE INITIALLY DEFERRED"
        self.execute(f"CREATE TABLE {self.table}_names (name TEXT PRIMARY KEY)")
        self.execute(f"CREATE TABLE {self.table} (name TEXT, known TEXT REFERENCES {self.table}_names (name){check})")

    def execute(self, sql: str) -> None:
        """A transaction of its own."""
        with closing(self.connect()) as connection:
            connection.execute(sql)
            connection.commit()

    def rows(self) -> list[str]:
        """The committed effects."""
        with closing(self.connect()) as connection:
            return [name for (name,) in connection.execute(f"SELECT name FROM {self.table} ORDER BY name").fetchall()]

    def insert(self, name: str) -> str:
        """The SQL of an effect."""
        return f"INSERT INTO {self.table} (name) VALUES ('{name}')"

    def insert_wrongly(self, name: str) -> str:
        """The SQL of an effect whose constraint is broken, which the database notices at the end."""
        return f"INSERT INTO {self.table} (name, known) VALUES ('{name}', 'nobody')"


async def run(connection: Any, sql: str) -> None:
    """Executes a statement, whatever kind the connection is of."""
    result = connection.execute(sql)
    if inspect.isawaitable(result):
        await result


@dataclass(frozen=True)
class Opened:
    """A transaction for an activity, seen alike for both kinds."""

    connection: Any
    commit: Callable[[StoredMessage, Fence], Coroutine[Any, Any, None]]


@asynccontextmanager
async def begun(store: HubStore, style: str) -> AsyncGenerator[Opened]:
    """A transaction for a ``def`` or an ``async def``."""
    assert store.transactions is not None
    if style == "async":
        async with store.transactions.begin_async() as transaction:
            yield Opened(transaction.connection, transaction.commit)
        return
    with store.transactions.begin() as transaction:
        yield Opened(transaction.connection, partial(_committed, transaction.commit))


async def _committed(commit: Callable[[StoredMessage, Fence], None], message: StoredMessage, fence: Fence) -> None:
    commit(message, fence)
