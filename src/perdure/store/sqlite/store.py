"""The SQLite store's front: coroutines that hand each call to the thread it belongs to."""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from perdure.core.effects import CommitReceipt
from perdure.core.errors import EngineInvariantError
from perdure.store.chain import CommitChain
from perdure.store.clock import Clock, system_clock
from perdure.store.contract import (
    Commit,
    HubInfo,
    InstanceQuery,
    InstanceRecord,
    Lease,
    Segment,
    StoredInstance,
    StoredMessage,
)
from perdure.store.errors import StoreError, StoreUnavailableError
from perdure.store.refusals import not_open
from perdure.store.single_reads import SingleReads
from perdure.store.sqlite import leases as lease_rows
from perdure.store.sqlite import queries, reads
from perdure.store.sqlite.commit import encode, prepare_connection
from perdure.store.sqlite.connection import connect_reader, connect_writer
from perdure.store.sqlite.gate import WriterGate
from perdure.store.sqlite.lane import Lane
from perdure.store.sqlite.lock import HubLock
from perdure.store.sqlite.schema import migrate, require_sqlite
from perdure.store.sqlite.transactions import SqliteTransactions

DEFAULT_PARTITION_COUNT = 16


@dataclass(frozen=True, slots=True)
class _Lanes:
    """Commits, the engine's reads and the clients' queries: a dashboard's long scan must not delay a rehydration."""

    writer: Lane
    reader: Lane
    queries: Lane

    async def close(self) -> None:
        readers = (self.queries, self.reader)
        # The last connection to close moves the write-ahead log into the database; it must be the one that can write.
        closed = [*(lane.close() for lane in readers), self.writer.close(behind=readers)]
        try:
            await asyncio.gather(*closed)
        finally:
            self.writer.join()


class SqliteStore:
    """A task hub in one database file, which belongs to one store object of one process at a time."""

    def __init__(
        self, database: str | Path, *, clock: Clock = system_clock, partition_count: int = DEFAULT_PARTITION_COUNT
    ) -> None:
        # Resolved now: the working directory may change, and a link must lead to the same lock as the file itself.
        self._database = Path(database).resolve()
        self._clock = clock
        self._partition_count = partition_count
        self._lock = HubLock(self._database)
        self._lanes: _Lanes | None = None
        self._chain = CommitChain()
        self._single_reads = SingleReads(lambda ids: self._opened().queries.run(partial(queries.get_many, instance_ids=ids)))
        self._gate = WriterGate()
        self._transactions = SqliteTransactions(
            self._database, self._gate, lambda: self._opened().writer, lambda: self._opened().queries
        )

    @property
    def sharing(self) -> None:
        """A file has one owner at a time."""
        return None

    @property
    def transactions(self) -> SqliteTransactions:
        """Users may have tables in the hub's file."""
        return self._transactions

    async def open(self) -> HubInfo:
        """Takes the database file for this process; makes it, or brings its schema up to date.

        Raises:
            HubInUseError: another live process, or another store object here, has it.
            SchemaTooNewError: a newer Perdure wrote it.
            StoreUnavailableError: it can't be reached now.
            StoreError: the path names no database, or one of another program.
        """
        require_sqlite()
        self._check_path()
        try:
            self._lock.acquire()
        except OSError as error:
            raise StoreUnavailableError(
                f"The lock file of '{self._database}' can't be opened: {error}. Check permissions."
            ) from error
        lanes = _Lanes(
            Lane("writer", self._database, self._gate), *(Lane(name, self._database) for name in ("reader", "queries"))
        )
        try:
            await lanes.writer.connect(connect_writer)
            info = await lanes.writer.run(self._prepare)
            await lanes.reader.connect(connect_reader)
            await lanes.queries.connect(connect_reader)
        except BaseException:
            await lanes.close()
            self._lock.release()
            raise
        self._lanes = lanes
        return info

    async def close(self) -> None:
        """Finishes the commits already called, then frees the file for the next process."""
        lanes, self._lanes = self._lanes, None
        if lanes is not None:
            try:
                await lanes.close()
            finally:
                self._lock.release()

    async def now(self) -> int:
        """This machine's clock: a single process owns the store, so no other clock matters."""
        self._opened()
        return self._clock()

    async def acquire(self, owner: str, partitions: Sequence[int], duration: int) -> Sequence[Lease]:
        """See ``Store.acquire``."""

        def work(connection: sqlite3.Connection) -> list[Lease]:
            now = self._clock()
            return lease_rows.acquire(connection, owner, partitions, now + duration, now)

        return await self._opened().writer.run(work)

    async def release(self, leases: Sequence[Lease]) -> None:
        """See ``Store.release``."""
        await self._opened().writer.run(partial(lease_rows.release, leases=leases))

    async def commit(self, commit: Commit) -> CommitReceipt:
        """See ``Store.commit``."""
        chain = self._chain
        write = _in_chain(chain, _encoded(commit))
        try:
            await self._opened().writer.run(write)
        except Exception:
            # The caller learns of the failure now, so what it commits from here on no longer builds on the failed commit.
            if chain.broken and self._chain is chain:
                self._chain = CommitChain()
            raise
        return CommitReceipt(commit)

    async def load(self, instance_ids: Sequence[str]) -> dict[str, StoredInstance]:
        """See ``Store.load``."""
        return await self._opened().reader.run(partial(reads.load, instance_ids=instance_ids))

    async def inbox(self, partitions: Sequence[int], known: Collection[str], limit: int) -> Sequence[StoredMessage]:
        """See ``Store.inbox``."""
        # A copy: the caller may go on with its set while the thread reads.
        return await self._opened().reader.run(partial(reads.inbox, partitions=partitions, known=tuple(known), limit=limit))

    async def with_pending(self, partitions: Sequence[int], after: str, limit: int) -> Sequence[str]:
        """See ``Store.with_pending``."""
        return await self._opened().reader.run(partial(reads.with_pending, partitions=partitions, after=after, limit=limit))

    async def due(self, partitions: Sequence[int], after: tuple[int, str], limit: int) -> Sequence[tuple[int, str]]:
        """See ``Store.due``."""
        return await self._opened().reader.run(partial(reads.due, partitions=partitions, after=after, limit=limit))

    async def get(self, instance_id: str, *, with_payloads: bool = False) -> InstanceRecord | None:
        """See ``Queries.get``."""
        # Others may be no text that can be stored, which would spoil the query for all that share it.
        if with_payloads and instance_id.isascii():
            return await self._single_reads.get(instance_id)
        return await self._opened().queries.run(partial(queries.get, instance_id=instance_id, with_payloads=with_payloads))

    async def list(self, query: InstanceQuery) -> Sequence[InstanceRecord]:
        """See ``Queries.list``."""
        return await self._opened().queries.run(partial(queries.list_instances, query=query))

    async def count(self) -> dict[str, int]:
        """See ``Queries.count``."""
        return await self._opened().queries.run(queries.count)

    async def history(self, instance_id: str) -> Sequence[Segment]:
        """See ``Queries.history``."""
        return await self._opened().queries.run(partial(queries.history, instance_id=instance_id))

    def _opened(self) -> _Lanes:
        if self._lanes is None:
            raise not_open(f"The SQLite store '{self._database}'")
        return self._lanes

    def _check_path(self) -> None:
        folder = self._database.parent
        if not folder.is_dir():
            raise StoreError(
                f"There is no directory '{folder}' for the SQLite database '{self._database.name}'. Create it first."
            )
        if self._database.is_dir():
            raise StoreError(f"'{self._database}' is a directory. Name a file for the SQLite database.")

    def _prepare(self, connection: sqlite3.Connection) -> HubInfo:
        info = migrate(connection, self._database, self._partition_count, self._clock())
        lease_rows.free_all(connection)  # of a process that was killed
        prepare_connection(connection)
        return info


def _encoded(commit: Commit) -> Callable[[sqlite3.Connection], None]:
    try:
        return encode(commit)
    except EngineInvariantError as error:
        return partial(_refuse, error=error)


def _refuse(_connection: sqlite3.Connection, error: EngineInvariantError) -> None:
    # In its place among the commits, so that those called before it aren't touched and those behind it fail.
    raise error


def _in_chain(chain: CommitChain, write: Callable[[sqlite3.Connection], None]) -> Callable[[sqlite3.Connection], None]:
    def checked(connection: sqlite3.Connection) -> None:
        chain.check()
        try:
            write(connection)
        except BaseException:
            chain.broken = True
            raise

    return checked
