"""A connection and the thread it belongs to."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from perdure.store.refusals import not_open
from perdure.store.sqlite.failures import held_too_long, translate
from perdure.store.sqlite.gate import LONGEST_TRANSACTION_SECONDS, WriterGate
from perdure.store.sqlite.thread import OrderedThread

T = TypeVar("T")


class Lane:
    """Runs work on one connection, in call order, and raises only errors of the contract."""

    def __init__(self, name: str, database: Path, gate: WriterGate | None = None) -> None:
        """``gate``: what all work has to pass, one at a time."""
        self._database = database
        self._gate = gate
        self._thread = OrderedThread(f"perdure-sqlite-{name} {database.name}")
        self._connection: sqlite3.Connection | None = None

    def connect(self, connect: Callable[[Path], sqlite3.Connection]) -> asyncio.Future[None]:
        """Opens the connection that all later work gets."""

        def work() -> None:
            self._connection = self._translated(lambda: connect(self._database))

        return self._thread.submit(work)

    def run(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Queues ``work`` behind everything that was queued before."""

        def on_thread() -> T:
            connection = self._connection
            if connection is None:
                raise not_open(f"The SQLite store '{self._database}'")
            return self._translated(lambda: work(connection))

        def in_turn() -> T:
            assert self._gate is not None
            if not self._gate.enter(LONGEST_TRANSACTION_SECONDS):
                raise held_too_long(self._database)
            try:
                return on_thread()
            finally:
                self._gate.leave()

        return self._thread.submit(on_thread if self._gate is None else in_turn)

    def close(self, behind: Sequence["Lane"] = ()) -> asyncio.Future[None]:
        """Finishes what is queued, then closes the connection, after those of ``behind``, and ends the thread."""

        def work() -> None:
            for lane in behind:
                lane.join()
            if self._connection is not None:
                self._connection.close()

        closed = self._thread.submit(work)
        self._thread.stop_after_last()
        return closed

    def join(self) -> None:
        """Waits for the end of the thread, after ``close``."""
        self._thread.join()

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except sqlite3.ProgrammingError:
            # A bug of this package; no retry helps.
            raise
        except sqlite3.Error as error:
            raise translate(error, self._database) from error
