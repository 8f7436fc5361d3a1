"""A hub all of whose partitions belong to one caller that runs nothing, so that nobody else changes it meanwhile."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from perdure.store.contract import Beat, HubStore, Lease, Member, Sharing
from perdure.store.errors import HubInUseError, StoreError, StoreUnavailableError

LEASE = timedelta(seconds=10)
_FOREVER_US = 100 * 365 * 24 * 3600 * 1_000_000
"""A store with one owner at a time is freed when the next one opens it, so its lease needs no renewal."""


class HeldHub:
    """An open store and the leases of all of its partitions."""

    def __init__(self, store: HubStore, name: str, partition_count: int, lease: timedelta) -> None:
        """``name`` is what messages call the hub."""
        self.store = store
        self.partition_count = partition_count
        self.leases: Sequence[Lease] = ()
        self._name = name
        self._lease = lease
        self._owner = f"{socket.gethostname()}:{os.getpid()}:copy-{secrets.token_hex(4)}"
        self._failure: Exception | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def partitions(self) -> range:
        """The numbers of all partitions."""
        return range(self.partition_count)

    def check(self) -> None:
        """Guarantees that no renewal has failed so far.

        Raises:
            HubInUseError: an engine has started on the hub.
            StoreError: a lease is lost.
        """
        if self._failure is not None:
            raise self._failure

    async def confirm(self) -> None:
        """Guarantees that nobody else has had a partition since they were taken, and that nobody else is there now.

        Raises:
            HubInUseError, StoreError: as ``check``.
        """
        self.check()
        sharing = self.store.sharing
        if sharing is not None:
            self._refuse_others(member.owner for member in (await self._beat(sharing)).members)

    async def take(self) -> None:
        """Takes every partition.

        Raises:
            HubInUseError: somebody else has some of them, or serves the hub's clients.
        """
        sharing = self.store.sharing
        owners: Iterable[str] = ()
        if sharing is not None:
            beat = await self._beat(sharing)
            owners = beat.owners
            self._refuse_others(member.owner for member in beat.members)
        duration = _FOREVER_US if sharing is None else _us(self._lease)
        self.leases = await self.store.acquire(self._owner, self.partitions, duration)
        if len(self.leases) < self.partition_count:
            self._refuse_others(owners)
            raise self._in_use("another engine")
        if sharing is not None:
            self._keeping = asyncio.get_running_loop().create_task(self._keep(sharing))

    async def let_go(self) -> None:
        """Gives everything back."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        with suppress(StoreUnavailableError):  # what can't be given back expires
            await self.store.release(self.leases)
            if self.store.sharing is not None:
                await self.store.sharing.leave(self._owner)

    async def _keep(self, sharing: Sharing) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            try:
                beat = await self._beat(sharing)
                # One that only looks at the hub, such as a status command, comes and goes; ``confirm`` asks for all of them.
                self._refuse_others(it.owner for it in beat.members if it.owns_partitions or it.runs_activities)
            except StoreUnavailableError:
                continue  # the lease allows for two more tries
            except StoreError as error:
                self._failure = error
                return

    async def _beat(self, sharing: Sharing) -> Beat:
        me = Member(owner=self._owner, owns_partitions=False, runs_activities=False)
        return await sharing.beat(me, self.leases, (), _us(self._lease))

    def _refuse_others(self, owners: Iterable[str]) -> None:
        others = sorted({owner for owner in owners if owner not in ("", self._owner)})
        if others:
            raise self._in_use(", ".join(others))

    def _in_use(self, who: str) -> HubInUseError:
        return HubInUseError(
            f"the {self._name} is in use by {who}. Stop all that works on it, then try again. What was killed counts for up to "
            f"{self._lease.total_seconds():g} s more."
        )


@asynccontextmanager
async def held(store: HubStore, name: str, *, lease: timedelta = LEASE) -> AsyncGenerator[HeldHub]:
    """Opens the store and holds all of its partitions as long as the context lasts.

    Raises:
        HubInUseError: somebody else has the hub.
        StoreError: see ``Store.open``.
    """
    info = await store.open()
    try:
        hub = HeldHub(store, name, info.partition_count, lease)
        try:
            await hub.take()
            yield hub
        finally:
            await hub.let_go()
    finally:
        await store.close()


def _us(span: timedelta) -> int:
    return round(span.total_seconds() * 1e6)
