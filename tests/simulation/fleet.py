"""Several machines at work on one hub: they come and go, crash, freeze, disagree about the time and miss each other's nudges."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar, cast

import perdure as df
from perdure.core.effects import CommitReceipt
from perdure.core.ids import partition_of
from perdure.engine.errors import NobodyAnswersError
from perdure.engine.hooks import EngineHooks
from perdure.store.contract import Commit, HubStore, Lease
from perdure.store.errors import StoreUnavailableError
from perdure.testing.faults import FaultyStore, Plan
from perdure.testing.replay_checker import ReplayChecker, ReplayMismatchError
from perdure.testing.virtual_clock import VirtualClock
from tests.simulation.world import UNKNOWN_OUTCOME, Machine, RecordingStore, TaskKey, World

T = TypeVar("T")
_ASK_AGAIN = (*UNKNOWN_OUTCOME, NobodyAnswersError)
_ROLES = ["all", "all", "all", "owner", "worker", "http"]


class SharedStore(RecordingStore):
    """A recording store of a shared hub, which believes no commit that it may touch what it touches."""

    def _apply(self, commit: Commit) -> None:
        current = dict(self._data.leases)
        consumed = [self._data.messages[key].partition for key in commit.consumed if key in self._data.messages]
        super()._apply(commit)
        count = self._data.partition_count
        touched = {partition_of(turn.instance_id, count) for turn in commit.turns}.union(consumed)
        for lease in commit.leases:
            held = current[lease.partition]
            self._facts.check(held.epoch == lease.epoch, f"a commit with epoch {lease.epoch} was applied in epoch {held.epoch}")
            self._facts.check(held.owner == commit.owner, f"a commit of {commit.owner} was applied in a lease of {held.owner}")
        uncovered = touched - {lease.partition for lease in commit.leases}
        self._facts.check(not uncovered, f"a commit touches partitions {uncovered} without a lease of theirs")

    def is_current(self, lease: Lease) -> bool:
        """Whether nobody has taken the partition since."""
        return self._data.current(lease)


class SkewedClock:
    """A machine's own idea of the time."""

    def __init__(self, clock: VirtualClock, ahead: float, pace: float) -> None:
        self._clock = clock
        self._ahead = ahead
        self._pace = pace

    def now_us(self) -> int:
        """See ``Clock``."""
        return self._clock.now_us() + round((self._ahead + self._clock.elapsed() * (self._pace - 1)) * 1e6)


class _Remote:
    """Calls to the store, or to its sharing, as one machine makes them: they take time, and none comes back to a frozen one."""

    def __init__(self, inner: Any, machine: "FleetMachine", luck: random.Random, delays: Sequence[float]) -> None:
        self.inner = inner
        self._machine = machine
        self._luck = luck
        self._delays = delays

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        method = getattr(self.inner, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            await self._machine.sleep(self._luck.choice(self._delays))
            result = await method(*arguments, **options)
            await self._machine.sleep(self._luck.choice(self._delays))
            return result

        return call


class _RemoteSharing(_Remote):
    def listen(self, heard: Callable[[str | None], None]) -> None:
        """Nudges come late or not at all."""

        def perhaps(text: str | None) -> None:
            if self._luck.random() < self._machine.deafness:
                return
            delay = self._luck.choice(self._delays)
            if delay:
                asyncio.get_running_loop().call_later(delay, self._machine.hear, heard, text)
            else:
                self._machine.hear(heard, text)

        self.inner.listen(perhaps)


class _RemoteStore(_Remote):
    transactions = None

    def __init__(self, raw: SharedStore, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sharing = _RemoteSharing(self.inner.sharing, *arguments[1:])
        self.checker = ReplayChecker(cast("HubStore", _Checked(self, raw)))
        self._raw = raw

    async def commit(self, commit: Commit) -> CommitReceipt:
        """With a look at what has become durable, unless the next owner has gone on already."""
        try:
            return await self.checker.commit(commit)
        except ReplayMismatchError:
            if all(self._raw.is_current(lease) for lease in commit.leases):
                raise
            self.checker.mismatches.pop()
            raise StoreUnavailableError("nobody knows what has become of this commit") from None

    async def close(self) -> None:
        """Also of a dead machine."""
        await self._raw.close()


class _Checked:
    """What the replay checker sees: commits go their long way, its own questions don't."""

    def __init__(self, remote: _RemoteStore, raw: RecordingStore) -> None:
        self.commit = remote.__getattr__("commit")
        self.get = raw.get
        self.history = raw.history


class FleetMachine(EngineHooks):
    """One process of the fleet."""

    def __init__(self, fleet: "Fleet", role: str, name: str) -> None:
        luck = fleet.luck
        self.name = name
        self.role = role
        self.dead = False
        self.frozen = False
        self.closing = False
        self.deafness = luck.choice([0, 0, 0.3, 1])
        self._fleet = fleet
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._died = asyncio.Event()
        self._unheard: list[tuple[Callable[[str | None], None], str | None]] = []
        raw = fleet.store()
        self.faulty = FaultyStore(raw, fleet.plan)
        self.store = _RemoteStore(raw, self.faulty, self, luck, fleet.delays)
        self.checker = self.store.checker
        ahead, pace = luck.choice([(0, 1), (0, 1), (3600, 1), (-3600, 1), (-0.3, 1.01), (7, 0.99)])
        self.hub = df.TaskHub(
            fleet.build_app(fleet, cast("Machine", self)),
            cast("HubStore", self.store),
            settings=replace(fleet.settings(), role=cast("Any", role)),
            hooks=self,
            clock=SkewedClock(fleet.clock, ahead, pace),
        )
        self.checker.watch(self.hub.live_state)

    async def sleep(self, seconds: float) -> None:
        """Passes time, and waits out any frost, unless death comes first."""
        if seconds and not self.dead:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._died.wait()
        if self.frozen:
            await self._thawed.wait()
        if self.dead:
            raise StoreUnavailableError("this machine is dead")

    def hear(self, heard: Callable[[str | None], None], text: str | None) -> None:
        """Passes a nudge on, once it can be heard."""
        if self.frozen:
            self._unheard.append((heard, text))
        elif not self.dead:
            heard(text)

    def freeze(self) -> None:
        """As by SIGSTOP."""
        self.frozen = True
        self._thawed.clear()

    def thaw(self) -> None:
        """As by SIGCONT: it goes on as if nothing had happened."""
        self.frozen = False
        self._thawed.set()
        unheard, self._unheard = self._unheard, []
        for heard, text in unheard:
            self.hear(heard, text)

    def stopped(self, error: BaseException) -> None:
        """See ``EngineHooks``. On a shared hub nothing but a bug stops an engine."""
        self._fleet.facts.check(self.dead, f"{self.name} has stopped: {error!r}")

    async def kill(self) -> None:
        """From now on nothing that it does matters; what is left of it is cleared away."""
        self.dead = True
        self._died.set()
        self.thaw()
        self.faulty.let_go()
        await self.hub.close()

    async def close(self) -> None:
        """As by SIGTERM."""
        self.closing = True
        self.thaw()
        self.faulty.let_go()
        await self.hub.close()


class Fleet(World):
    """A world in which several machines are at work at the same time."""

    def __init__(self, clock: VirtualClock, seed: int, plan: Plan, *, calm: bool) -> None:
        super().__init__(clock, seed, plan)
        self.calm = calm
        """Nothing fails, so that nothing has to be done twice."""
        self.machines: list[FleetMachine] = []
        self._starting: FleetMachine | None = None
        self.ran: Counter[TaskKey] = Counter()
        self.partition_count = self.luck.choice([1, 3, 8])
        self.facts.clock_error_us = 1_500_000
        self._names = iter(f"m{number}" for number in range(10_000))
        self._lease = self.luck.choice([4, 10])

    def settings(self) -> df.EngineSettings:
        """See ``World``."""
        return replace(super().settings(), lease_duration=timedelta(seconds=self._lease))

    def store(self) -> SharedStore:
        """See ``World``."""
        return SharedStore(self.data, self.facts, self.clock, self.partition_count, shared=True)

    # --- machines -------------------------------------------------------------------------------------------------

    async def join(self, role: str | None = None) -> None:
        """One more machine."""
        while True:
            machine = self._starting = FleetMachine(self, role or self.luck.choice(_ROLES), next(self._names))
            try:
                await machine.hub.start()
            except StoreUnavailableError:
                await machine.kill()
                await asyncio.sleep(0.1)
            else:
                self.machines.append(machine)
                return

    async def leave(self) -> None:
        """An orderly end of one."""
        machine = self._pick()
        if machine is not None:
            await machine.close()
            self._count(machine)

    async def crash(self) -> None:
        """One is gone without a word."""
        machine = self._pick()
        if machine is not None:
            await machine.kill()
            self._count(machine)

    async def freeze(self) -> None:
        """One stands still, perhaps for longer than its leases last, and then goes on."""
        machine = self.luck.choice(self.machines) if self.machines else None
        if machine is not None:
            machine.freeze()
            await asyncio.sleep(self._lease * self.luck.choice([0.2, 1.1, 3]))
            machine.thaw()

    async def heal(self) -> None:
        """From now on everything can come to its end."""
        for machine in self.machines:
            machine.thaw()
            machine.faulty.let_go()
        await self.join("all")

    def let_go(self) -> None:
        """See ``World``."""
        for machine in (*self.machines, *([self._starting] if self._starting is not None else ())):
            machine.faulty.let_go()

    async def shut_down(self) -> None:
        """See ``World``."""
        machines, self.machines = self.machines, []
        await asyncio.gather(*(machine.close() for machine in machines))
        for machine in machines:
            self._count(machine)

    def _pick(self) -> FleetMachine | None:
        """One that others can do without."""
        if len(self.machines) < 2:
            return None
        machine = self.luck.choice(self.machines)
        self.machines.remove(machine)
        return machine

    def _count(self, machine: FleetMachine) -> None:
        self.checked += machine.checker.checked
        for mismatch in machine.checker.mismatches:
            self.facts.check(False, str(mismatch))

    # --- clients --------------------------------------------------------------------------------------------------

    async def ask(self, call: Callable[[df.DurableClient], Awaitable[T]]) -> T:
        """Makes a client's call, each time on another machine, until its outcome is known."""
        while True:
            awake = [machine for machine in self.machines if not machine.frozen]
            if not awake:
                await asyncio.sleep(0.05)
                continue
            try:
                return await call(self.luck.choice(awake).hub.client)
            except _ASK_AGAIN:
                await asyncio.sleep(self.luck.choice([0.01, 0.3, 2]))

    def has_run(self, key: TaskKey) -> None:
        """See ``World``."""
        self.ran[key] += 1
        self.facts.check(not self.calm or self.ran[key] == 1, f"activity {key} has run twice, although nothing has failed")

    def left_on_offer(self) -> Collection[str]:
        """Activities that nobody has settled."""
        return list(self.data.activities)
