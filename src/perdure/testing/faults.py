"""A store that fails when it is told to: before a call takes effect, after it, or by hanging.

Growing ``n`` until a scenario passes untouched covers every crash point without luck::

    for plan in incremental("commit", when="after"):
        await scenario(FaultyStore(MemoryStore(data), plan))
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

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
from perdure.store.errors import LeaseLostError, StoreError, StoreUnavailableError
from perdure.testing.store_suite import HubStore

T = TypeVar("T")
When = Literal["before", "after", "hang"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one call."""

    when: When
    """``before`` it takes effect, ``after`` it took effect, or ``hang``: it waits for ``FaultyStore.release``, then goes on."""
    error: type[StoreUnavailableError] | type[LeaseLostError] = StoreUnavailableError

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


def nth(n: int, *methods: str, when: When, error: type[StoreUnavailableError] | type[LeaseLostError] = StoreUnavailableError) -> NthCall:
    """One fault, at the ``n``-th call of ``methods``."""
    return NthCall(n, methods, Fault(when, error))


def incremental(
    *methods: str, when: When, error: type[StoreUnavailableError] | type[LeaseLostError] = StoreUnavailableError
) -> Iterator[NthCall]:
    """Plans with ``n`` = 1, 2, 3... up to and including the first that a scenario got through without meeting its fault."""
    n = 0
    fired = True
    while fired:
        n += 1
        plan = nth(n, *methods, when=when, error=error)
        yield plan
        fired = plan.fired


class FaultyStore:
    """``inner`` with the faults of ``plan``, and every other promise of the contract kept.

    In particular commits stay in the order of their calls, also behind one that hangs, and those called before a failure
    was raised fail with it.
    """

    def __init__(self, inner: HubStore, plan: Plan) -> None:
        self._inner = inner
        self._plan = plan
        self._released = asyncio.Event()
        self._hanging = asyncio.Event()
        self._chain = CommitChain()
        self._last_commit: asyncio.Future[None] | None = None

    async def hanging(self) -> None:
        """Returns once a call hangs."""
        await self._hanging.wait()

    def release(self) -> None:
        """Lets the hanging calls go on, and later ones that the plan would let hang."""
        self._released.set()

    async def open(self) -> HubInfo:
        """See ``Store``."""
        return await self._call("open", self._inner.open)

    async def close(self) -> None:
        """See ``Store``."""
        await self._call("close", self._inner.close)

    async def now(self) -> int:
        """See ``Store``."""
        return await self._call("now", self._inner.now)

    async def acquire(self, owner: str, partitions: Sequence[int], duration: int) -> Sequence[Lease]:
        """See ``Store``."""
        return await self._call("acquire", lambda: self._inner.acquire(owner, partitions, duration))

    async def renew(self, leases: Sequence[Lease], duration: int) -> Sequence[Lease]:
        """See ``Store``."""
        return await self._call("renew", lambda: self._inner.renew(leases, duration))

    async def release_leases(self, leases: Sequence[Lease]) -> None:
        """See ``Store``."""
