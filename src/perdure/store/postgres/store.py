"""The PostgreSQL store's front: coroutines that hand each call to the connections it belongs to."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from perdure.core.effects import CommitReceipt
from perdure.store.chain import CommitChain
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
from perdure.store.postgres import leases as lease_rows
from perdure.store.postgres import queries, reads
from perdure.store.postgres.commit import encode, write
from perdure.store.postgres.lanes import Lanes
from perdure.store.postgres.schema import made_at, migrate
from perdure.store.postgres.session import Counters, Session
from perdure.store.postgres.sharing import PostgresSharing
from perdure.store.postgres.signals import Signals
from perdure.store.postgres.target import Target
from perdure.store.postgres.transactions import PostgresTransactions
from perdure.store.refusals import not_open
from perdure.store.single_reads import SingleReads

DEFAULT_PARTITION_COUNT = 16


class PostgresStore:
    """A task hub in one schema of a PostgreSQL database, which any number of store objects may have open."""

    def __init__(self, url: str, *, partition_count: int = DEFAULT_PARTITION_COUNT, make: bool = True) -> None:
        """Without ``make`` a hub has to be there already."""
        self._target = Target.of(url)
        self._name = f"The PostgreSQL store at {self._target.place}"
        self._partition_count = partition_count if make else None
        self._counters = Counters()
        self._signals = Signals(self._name, self._target, self._counters)
        self._lanes: Lanes | None = None
        self._chain = CommitChain()
        self._single_reads = SingleReads(lambda ids: self._opened().queries.run(partial(queries.get_many, instance_ids=ids)))
        self._sharing = PostgresSharing(self._opened, self._signals)
        self._transactions = PostgresTransactions(self._target, self._opened)

    @property
    def sharing(self) -> PostgresSharing:
        """See ``HubStore.sharing``."""
        return self._sharing

    @property
    def transactions(self) -> PostgresTransactions:
        """See ``HubStore.transactions``."""
        return self._transactions

    @property
    def deadlocks(self) -> int:
        """Deadlocks that the server has broken up since this store was made. Anything but 0 is a bug."""
        return self._counters.deadlocks

    async def open(self) -> HubInfo:
        """Connects; makes the hub, or brings its schema up to date, if the role may do it.

        Raises:
            SchemaTooNewError: a newer Perdure made it into something that this one can't work with.
            HubMissingError: there is none, and it was not to be made.
            StoreUnavailableError: the server can't be reached now.
            StoreError: the server refuses the role, or the schema is another program's.
        """
        lanes = Lanes.to(self._target, self._counters, self._name)
        try:
            info = await lanes.control.run(partial(migrate, target=self._target, partition_count=self._partition_count))
            self._transactions.opened(await lanes.control.run(made_at))
            await self._signals.open()
        except BaseException:
            await lanes.close()
            raise
        self._lanes = lanes
        return info

    async def close(self) -> None:
        """Finishes what was called, then ends all connections. Leases stay until they expire or are taken over."""
        lanes, self._lanes = self._lanes, None
        if lanes is not None:
            try:
                await self._transactions.close()
                await lanes.close()
            finally:
                await self._signals.close()

    async def now(self) -> int:
        """The clock of the server."""
        return (await self._opened().control.run(lambda session: session.fetchrow("SELECT hub.now_us()")))[0]

    async def acquire(self, owner: str, partitions: Sequence[int], duration: int) -> Sequence[Lease]:
        """See ``Store.acquire``."""
        return await self._opened().control.run(
            partial(lease_rows.acquire, owner=owner, partitions=partitions, duration=duration)
        )

    async def release(self, leases: Sequence[Lease]) -> None:
        """See ``Store.release``."""
        await self._opened().control.run(partial(lease_rows.release, leases=leases))

    async def commit(self, commit: Commit) -> CommitReceipt:
        """See ``Store.commit``."""
        chain = self._chain
        arguments = encode(commit)
        try:
            await self._opened().writer.run(partial(_write_in_chain, chain=chain, leases=commit.leases, arguments=arguments))
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
        return await self._opened().reader.run(partial(reads.inbox, partitions=partitions, known=known, limit=limit))

    async def with_pending(self, partitions: Sequence[int], after: str, limit: int) -> Sequence[str]:
        """See ``Store.with_pending``."""
        return await self._opened().reader.run(partial(reads.with_pending, partitions=partitions, after=after, limit=limit))

    async def due(self, partitions: Sequence[int], after: tuple[int, str], limit: int) -> Sequence[tuple[int, str]]:
        """See ``Store.due``."""
        return await self._opened().reader.run(partial(reads.due, partitions=partitions, after=after, limit=limit))

    async def get(self, instance_id: str, *, with_payloads: bool = False) -> InstanceRecord | None:
        """See ``Queries.get``."""
        # Others may be no text that can be stored, which would spoil the query for all that share it.
        if with_payloads and instance_id.isascii() and "\0" not in instance_id:
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

    def _opened(self) -> Lanes:
        if self._lanes is None:
            raise not_open(self._name)
        return self._lanes


async def _write_in_chain(session: Session, chain: CommitChain, leases: Sequence[Lease], arguments: list[Any]) -> None:
    chain.check()
    try:
        await write(session, leases, arguments)
    except BaseException:
        chain.broken = True
        raise
