"""Which partitions this engine owns. On a shared hub the engines renew their leases, and come to equal shares."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress

from perdure.engine.balance import Move, balance
from perdure.engine.errors import EngineStoppedError
from perdure.store.contract import Beat, Claim, Lease, Member, Sharing, Store
from perdure.store.errors import HubInUseError, LeaseLostError, StoreUnavailableError

_FOREVER_US = 100 * 365 * 24 * 3600 * 1_000_000
"""A store with one owner at a time proves it when it is opened, so that its leases need no renewal."""
_BEATS_PER_LEASE = 6
"""A beat shows that a lease of another engine has expired: its partitions are free for up to a sixth of a lease then."""
_CERTAIN = 0.9
"""Part of the lease's duration, from when its renewal was asked for, during which nobody else can have the partitions."""


class Ownership:
    """The leases. ``take`` gets the first ones; from then on ``beat`` keeps them, and moves partitions between engines."""

    def __init__(
        self,
        store: Store,
        sharing: Sharing | None,
        *,
        owner: str,
        duration: float,
        passive: bool,
        member: Callable[[], Member] | None,
        claims: Callable[[], Sequence[Claim]],
        beaten: Callable[[Beat], None],
        gain: Callable[[Collection[int]], Awaitable[None]],
        let_go: Callable[[Collection[int]], Awaitable[None]],
        settled: Callable[[], bool],
        changed: Callable[[], None],
        touch: Callable[[StoreUnavailableError | None], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """``duration``: of the leases, in seconds. ``passive``: takes what is free at first; later it neither takes nor gives.

        ``beaten`` gets every beat; ``gain`` is awaited when partitions have come, ``let_go`` before they go, and neither happens
        unless ``settled`` says so; ``changed`` is called when others may want to look. ``member`` describes the engine to the
        others of a shared hub. ``touch`` is told why the store can't be reached, and that it can again (``None``).
        """
        self._store = store
        self._sharing = sharing
        self._owner = owner
        self._duration = duration
        self._passive = passive
        self._member = member
        self._claims = claims
        self._beaten = beaten
        self._gain = gain
        self._let_go = let_go
        self._settled = settled
        self._changed = changed
        self._touch = touch
        self._failed = failed
        self.leases: dict[int, Lease] = {}
        self._last: frozenset[int] = frozenset()
        """What was owned before the last failure."""
        self._asking = asyncio.Lock()
        """Renewing leases while they are acquired or released would find them lost."""
        self._look = asyncio.Event()
        self._beating: asyncio.Task[None] | None = None
        self._moving: asyncio.Task[None] | None = None
        self._certain_until = float("inf") if sharing is None else 0.0

    @property
    def certain(self) -> bool:
        """Whether no other engine can have taken the partitions yet. Beyond that, only a commit can tell."""
        return asyncio.get_running_loop().time() < self._certain_until

    def of(self, partitions: Collection[int]) -> list[Lease]:
        """The leases of ``partitions``.

        Raises:
            LeaseLostError: one of them isn't owned here.
        """
        try:
            return [self.leases[partition] for partition in partitions]
        except KeyError as missing:
            raise LeaseLostError(f"partition {missing} isn't owned by this engine. Nothing was written.") from None

    async def take(self, partition_count: int) -> None:
        """Takes the partitions that this engine should have; after a failure, those that it had and that nobody has taken since.

        Each gets a higher epoch, so that a commit of before that is still on its way can't be written any more.

        Raises:
            HubInUseError: the store can't be shared, and another engine owns partitions.
            StoreUnavailableError: the store can't be reached.
        """
        async with self._asking:
            if self._sharing is None:
                leases = await self._store.acquire(self._owner, range(partition_count), _FOREVER_US)
                if len(leases) < partition_count:
                    raise HubInUseError(
                        "another engine owns partitions of this hub, and this kind of store allows only one. Stop it first."
                    )
            else:
                leases = await self._take_share(self._sharing)
            self.leases = {lease.partition: lease for lease in leases}

    def drop(self) -> None:
        """Gives up everything, after a failure, until ``take`` has got it back."""
        if self._moving is not None:
            self._moving.cancel()
            self._moving = None
        if self.leases:
            self._last = frozenset(self.leases)
        self.leases = {}

    def start(self) -> None:
        """Begins to beat."""
        if self._sharing is not None:
            self._beating = asyncio.get_running_loop().create_task(self._beat_on(self._sharing))

    def look(self) -> None:
        """Beats at once: something has changed among the engines."""
        self._look.set()

    async def stop(self) -> None:
        """Beats no more and moves nothing."""
        async with self._asking:  # what the store is just giving has to be known, so that it can be given back
            tasks = [task for task in (self._moving, self._beating) if task is not None]
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def release(self) -> None:
        """Gives everything back; nothing may be on its way any more.

        Raises:
            StoreUnavailableError: it could not be said, so that others have to wait until the leases expire.
        """
        leases, self.leases = list(self.leases.values()), {}
        await self._store.release(leases)
        if self._sharing is not None:
            await self._sharing.leave(self._owner)

    async def _take_share(self, sharing: Sharing) -> Sequence[Lease]:
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        beat = await sharing.beat(self._described(), (), self._claims(), self._duration_us)
        self._beaten(beat)
        if self._last:
            wanted: Collection[int] = self._last
        elif self._passive:
            wanted = range(len(beat.owners))
        else:
            wanted = self._move(beat).take
        leases = await self._store.acquire(self._owner, sorted(wanted), self._duration_us) if wanted else ()
        self._certain_until = asked_at + self._duration * _CERTAIN
        self._changed()
        return leases

    async def _beat_on(self, sharing: Sharing) -> None:
        pause = self._duration / _BEATS_PER_LEASE
        reached = True
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._look.wait()
            self._look.clear()
            pause = self._duration / _BEATS_PER_LEASE
            try:
                await self._beat(sharing)
            except StoreUnavailableError as error:
                pause = self._duration / 10
                if reached:
                    reached = False
                    self._touch(error)
                continue
            except Exception as error:  # noqa: BLE001 - the engine decides what it means
                self._failed(error)
            if not reached:
                reached = True
                self._touch(None)

    async def _beat(self, sharing: Sharing) -> None:
        loop = asyncio.get_running_loop()
        async with self._asking:
            asked_at = loop.time()
            beat = await sharing.beat(self._described(), list(self.leases.values()), self._claims(), self._duration_us)
            for lease in beat.leases:
                if lease.partition in self.leases:
                    self.leases[lease.partition] = lease
            self._certain_until = asked_at + self._duration * _CERTAIN
        self._beaten(beat)
        move = self._move(beat)
        if (move.take or move.give) and self._moving is None and self._settled():
            self._moving = loop.create_task(self._change(move))

    def _move(self, beat: Beat) -> Move:
        members = [member.owner for member in beat.members if member.owns_partitions]
        if self._owner not in members:
            return Move(give=list(self.leases)) if members and not self._passive else Move()
        # What the store says is this engine's although it isn't was released in vain: only this engine can take it.
        owners = [
            "" if owner == self._owner and partition not in self.leases else owner for partition, owner in enumerate(beat.owners)
        ]
        return balance(self._owner, members, owners)

    async def _change(self, move: Move) -> None:
        try:
            if given := [partition for partition in move.give if partition in self.leases]:
                await self._let_go(given)
                async with self._asking:
                    await self._store.release([self.leases.pop(partition) for partition in given])
                self._changed()
            if move.take:
                async with self._asking:
                    taken = await self._store.acquire(self._owner, move.take, self._duration_us)
                    self.leases.update({lease.partition: lease for lease in taken})
                if taken:
                    await self._gain([lease.partition for lease in taken])
        except EngineStoppedError:
            pass
        except Exception as error:  # noqa: BLE001 - the engine decides what it means
            self._failed(error)
        finally:
            if self._moving is asyncio.current_task():
                self._moving = None

    def _described(self) -> Member:
        assert self._member is not None
        return self._member()

    @property
    def _duration_us(self) -> int:
        return round(self._duration * 1_000_000)
