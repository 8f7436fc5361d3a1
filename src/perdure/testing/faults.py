"""A store that fails when it is told to: before a call takes effect, after it, or by hanging.

Growing ``n`` until a scenario passes untouched covers every crash point without luck::

    for plan in incremental("commit", when="after"):
        await scenario(FaultyStore(MemoryStore(data), plan))
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from perdure.core.effects import CommitReceipt
from perdure.store.chain import CommitChain
from perdure.store.contract import (
    Backlog,
    Beat,
    Claim,
    Commit,
    HubInfo,
    HubStore,
    InstanceQuery,
    InstanceRecord,
    Lease,
    Member,
    OfferedActivity,
    Segment,
    Sharing,
    StoredInstance,
    StoredMessage,
    Transactions,
)
from perdure.store.errors import LeaseLostError, StoreError, StoreUnavailableError

T = TypeVar("T")
When = Literal["before", "after", "hang"]
FaultError = type[StoreUnavailableError] | type[LeaseLostError]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one call."""

    when: When
    """``before`` it takes effect, ``after`` it took effect, or ``hang``: it waits for ``FaultyStore.let_go``, then goes on."""
    error: FaultError = StoreUnavailableError

    def __post_init__(self) -> None:
        if self.error is LeaseLostError and self.when != "before":
            raise ValueError("LeaseLostError promises that nothing was written, so it can only come before the call takes effect")

    def raised(self, method: str) -> StoreError:
        """The error for the caller of ``method``."""
        return self.error(f"Injected fault: {method} failed {self.when} it took effect.")


class Plan(Protocol):
    """Decides which calls fail."""

    def fault(self, method: str) -> Fault | None:
        """Asked once for every call, in order."""
        ...


class NthCall:
    """The ``n``-th call (from 1) of the chosen methods, all counted together, gets the fault; no other does."""

    def __init__(self, n: int, methods: Sequence[str], fault: Fault) -> None:
        self.n = n
        self.fired = False
        self._methods = frozenset(methods)
        self._fault = fault
        self._calls = 0

    def __repr__(self) -> str:
        return f"<call {self.n} of {'/'.join(sorted(self._methods))}: {self._fault}>"

    def fault(self, method: str) -> Fault | None:
        """See ``Plan``."""
        if method not in self._methods:
            return None
        self._calls += 1
        if self._calls != self.n:
            return None
        self.fired = True
        return self._fault


class SeededFaults:
    """Each call of the chosen methods fails with this probability; the same seed fails the same calls."""

    def __init__(self, seed: int, rate: float, methods: Sequence[str], faults: Sequence[Fault]) -> None:
        self.seed = seed
        self.fired: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._rate = rate
        self._methods = frozenset(methods)
        self._faults = tuple(faults)

    def __repr__(self) -> str:
        return f"<seed {self.seed}, rate {self._rate} of {'/'.join(sorted(self._methods))}>"

    def fault(self, method: str) -> Fault | None:
        """See ``Plan``."""
        if method not in self._methods or self._random.random() >= self._rate:
            return None
        self.fired[method] += 1
        return self._random.choice(self._faults)


def nth(n: int, *methods: str, when: When, error: FaultError = StoreUnavailableError) -> NthCall:
    """One fault, at the ``n``-th call of ``methods``."""
    return NthCall(n, methods, Fault(when, error))


def incremental(*methods: str, when: When, error: FaultError = StoreUnavailableError) -> Iterator[NthCall]:
    """Plans with ``n`` = 1, 2, 3... up to and including the first that a scenario got through without meeting its fault."""
    n = 0
    fired = True
    while fired:
        n += 1
        plan = nth(n, *methods, when=when, error=error)
        yield plan
        fired = plan.fired


class _FaultyChain(CommitChain):
    """A chain in which failures are raised in the order of the commits, as a real store's are."""

    __slots__ = ("raised",)

    def __init__(self) -> None:
        super().__init__()
        self.raised = asyncio.Event()
        """The commit that broke the chain has told its caller."""

    async def check_in_order(self) -> None:
        """Like ``check``, after the failure that it tells of."""
        if self.broken:
            await self.raised.wait()
        self.check()


class _Faults:
    """What the plan wants, done to one call after the other."""

    def __init__(self, plan: Plan) -> None:
        self.hanging = asyncio.Event()
        self.let_go = asyncio.Event()
        self._plan = plan

    async def call(
        self, method: str, call: Callable[[], Awaitable[T]], lease_lost: Callable[[], Awaitable[None]] | None = None
    ) -> T:
        """What ``call`` gives, unless it fails; ``lease_lost`` does what remains to be done where a lease was lost."""
        fault = self._plan.fault(method)
        if fault is not None:
            await self.hang(fault)
            if fault.error is LeaseLostError and lease_lost is not None:
                await lease_lost()
            if fault.when == "before":
                raise fault.raised(method)
        result = await call()
        if fault is not None and fault.when == "after":
            raise fault.raised(method)
        return result

    async def hang(self, fault: Fault) -> None:
        """Waits, where the fault is that."""
        if fault.when == "hang":
            self.hanging.set()
            await self.let_go.wait()


class FaultyStore:
    """``inner`` with the faults of ``plan``, and every other promise of the contract kept.

    In particular commits stay in the order of their calls, also behind one that hangs, and those called before a failure
    was raised fail with it.
    """

    def __init__(self, inner: HubStore, plan: Plan) -> None:
        self._inner = inner
        self._plan = plan
        self._faults = _Faults(plan)
        self._call = self._faults.call
        self._sharing = None if inner.sharing is None else _FaultySharing(inner.sharing, self._faults)
        self._chain = _FaultyChain()
        # Held from a commit's call until it enters the inner store. Waiters get it in the order in which they came.
        self._entrance = asyncio.Lock()

    async def hanging(self) -> None:
        """Returns once a call hangs."""
        await self._faults.hanging.wait()

    def let_go(self) -> None:
        """Lets the hanging calls go on, and later ones not hang at all."""
        self._faults.let_go.set()

    @property
    def sharing(self) -> Sharing | None:
        """See ``HubStore.sharing``; its calls fail by the same plan."""
        return self._sharing

    @property
    def transactions(self) -> Transactions | None:
        """See ``HubStore.transactions``. They belong to users, so the plan doesn't reach them."""
        return self._inner.transactions

    async def open(self) -> HubInfo:
        """See ``Store.open``."""
        return await self._call("open", self._inner.open)

    async def close(self) -> None:
        """See ``Store.close``."""
        await self._call("close", self._inner.close)

    async def now(self) -> int:
        """See ``Store.now``."""
        return await self._call("now", self._inner.now)

    async def acquire(self, owner: str, partitions: Sequence[int], duration: int) -> Sequence[Lease]:
        """See ``Store.acquire``."""
        return await self._call("acquire", lambda: self._inner.acquire(owner, partitions, duration))

    async def release(self, leases: Sequence[Lease]) -> None:
        """See ``Store.release``."""
        await self._call("release", lambda: self._inner.release(leases))

    async def commit(self, commit: Commit) -> CommitReceipt:
        """See ``Store.commit``."""
        fault = self._plan.fault("commit")
        chain = self._chain
        try:
            await self._enter(fault, chain)
            await chain.check_in_order()
            if fault is not None and fault.when != "hang":
                # Broken before the first wait: whoever commits from now until the failure is raised fails with it.
                chain.broken = True
            if fault is not None and fault.when == "before":
                await asyncio.sleep(0)
                raise fault.raised("commit")
            receipt = await self._inner.commit(commit)
            if fault is not None and fault.when == "after":
                raise fault.raised("commit")
        except StoreError:
            if chain.broken and self._chain is chain:
                self._chain = _FaultyChain()
            raise
        finally:
            if fault is not None:
                chain.raised.set()
        return receipt

    async def load(self, instance_ids: Sequence[str]) -> dict[str, StoredInstance]:
        """See ``Store.load``."""
        return await self._call("load", lambda: self._inner.load(instance_ids))

    async def inbox(self, partitions: Sequence[int], known: Collection[str], limit: int) -> Sequence[StoredMessage]:
        """See ``Store.inbox``."""
        return await self._call("inbox", lambda: self._inner.inbox(partitions, known, limit))

    async def with_pending(self, partitions: Sequence[int], after: str, limit: int) -> Sequence[str]:
        """See ``Store.with_pending``."""
        return await self._call("with_pending", lambda: self._inner.with_pending(partitions, after, limit))

    async def due(self, partitions: Sequence[int], after: tuple[int, str], limit: int) -> Sequence[tuple[int, str]]:
        """See ``Store.due``."""
        return await self._call("due", lambda: self._inner.due(partitions, after, limit))

    async def get(self, instance_id: str, *, with_payloads: bool = False) -> InstanceRecord | None:
        """See ``Queries.get``."""
        return await self._call("get", lambda: self._inner.get(instance_id, with_payloads=with_payloads))

    async def list(self, query: InstanceQuery) -> Sequence[InstanceRecord]:
        """See ``Queries.list``."""
        return await self._call("list", lambda: self._inner.list(query))

    async def count(self) -> dict[str, int]:
        """See ``Queries.count``."""
        return await self._call("count", self._inner.count)

    async def history(self, instance_id: str) -> Sequence[Segment]:
        """See ``Queries.history``."""
        return await self._call("history", lambda: self._inner.history(instance_id))

    async def _enter(self, fault: Fault | None, chain: _FaultyChain) -> None:
        try:
            async with self._entrance:
                if fault is not None:
                    await self._faults.hang(fault)
        except asyncio.CancelledError:
            # This commit will never be written, so those behind it must not be either.
            chain.broken = True
            chain.raised.set()
            raise


class _FaultySharing:
    """``inner`` with the faults of a store."""

    def __init__(self, inner: Sharing, faults: _Faults) -> None:
        self._inner = inner
        self._call = faults.call

    async def beat(self, member: Member, leases: Sequence[Lease], claims: Sequence[Claim], duration: int) -> Beat:
        """See ``Sharing.beat``."""

        async def lease_lost() -> None:
            await self._inner.beat(member, [], [], duration)  # the member lives all the same

        return await self._call("beat", lambda: self._inner.beat(member, leases, claims, duration), lease_lost)

    async def leave(self, owner: str) -> None:
        """See ``Sharing.leave``."""
        await self._call("leave", lambda: self._inner.leave(owner))

    async def claim(self, owner: str, names: Sequence[str], limit: int, duration: int) -> Sequence[tuple[Claim, OfferedActivity]]:
        """See ``Sharing.claim``."""
        return await self._call("claim", lambda: self._inner.claim(owner, names, limit, duration))

    async def offered(self, partitions: Sequence[int]) -> Collection[str]:
        """See ``Sharing.offered``."""
        return await self._call("offered", lambda: self._inner.offered(partitions))

    async def still_stored(self, message_ids: Sequence[str]) -> Collection[str]:
        """See ``Sharing.still_stored``."""
        return await self._call("still_stored", lambda: self._inner.still_stored(message_ids))

    async def backlog(self) -> Backlog:
        """See ``Sharing.backlog``."""
        return await self._call("backlog", self._inner.backlog)

    def listen(self, heard: Callable[[str | None], None]) -> None:
        """See ``Sharing.listen``."""
        self._inner.listen(heard)

    async def nudge(self, text: str) -> None:
        """See ``Sharing.nudge``."""
        await self._call("nudge", lambda: self._inner.nudge(text))
