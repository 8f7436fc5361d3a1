"""A world in which everything goes wrong: machines that crash, stores that fail, and a record of what was durable when.

Every random choice comes from one seed, time is virtual, and nothing runs in threads that has a say: the same seed gives
the same run.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar, cast

import perdure as df
from perdure.core.codec import decode_segment
from perdure.core.events import (
    EventRaised,
    ExecutionCompleted,
    ExecutionStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from perdure.engine.hooks import EngineHooks
from perdure.store.contract import Commit, HubInfo, HubStore, Lease, TurnRecord
from perdure.store.errors import HubInUseError, StoreUnavailableError
from perdure.store.memory import MemoryData, MemoryStore
from perdure.testing.faults import FaultyStore, Plan
from perdure.testing.replay_checker import ReplayChecker
from perdure.testing.virtual_clock import VirtualClock
from tests.remote_worker import HubWithWorker

T = TypeVar("T")
TaskKey = tuple[str, str, int, int]
"""``(instance_id, execution_id, generation, task_id)``."""

UNKNOWN_OUTCOME = (df.CommitFailedError, df.EngineStoppedError, df.StoreUnavailableError)
"""What tells a client to ask again."""


class Facts:
    """What is durable, recorded at the moment when it becomes so."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.clock_error_us = 0
        """How far a machine's clock may be ahead of the store's."""
        self.violations: list[str] = []
        self.scheduled: set[TaskKey] = set()
        self.completed: Counter[TaskKey] = Counter()
        self.started: dict[str, set[str]] = {}
        """Inputs (JSON) of an instance's executions."""
        self.events: dict[str, set[str]] = {}
        """Payloads (JSON) of an instance's external events."""
        self.ended: dict[str, set[str]] = {}
        """Statuses that an instance has ended with."""
        self._running: dict[str, tuple[str, int]] = {}
        self._timers: dict[TaskKey, int] = {}

    def check(self, holds: object, message: str) -> None:
        """Notes a broken promise."""
        if not holds:
            self.violations.append(message)

    def became_durable(self, commit: Commit) -> None:
        """Takes a commit in, and checks what must hold for every history."""
        for turn in commit.turns:
            if turn.segment is not None:
                self._turn(turn, decode_segment(turn.segment.events), turn.segment.at)

    def _turn(self, turn: TurnRecord, events: Sequence[Any], at: int) -> None:
        name = turn.instance_id
        self.check(at <= self._clock.now_us() + self.clock_error_us, f"{name}: a turn of the future")
        for event in events:
            if isinstance(event, ExecutionStarted):
                self._running[name] = (event.execution_id, event.generation)
                self.started.setdefault(name, set()).add(event.input or "")
            elif isinstance(event, EventRaised):
                self.events.setdefault(name, set()).add(event.input or "")
            elif isinstance(event, ExecutionCompleted):
                self.ended.setdefault(name, set()).add(event.status)
            elif (task_id := getattr(event, "task_id", None)) is not None:
                self._task((name, *self._running[name], task_id), event, at)

    def _task(self, key: TaskKey, event: Any, at: int) -> None:
        match event:
            case TaskScheduled():
                self.check(key not in self.scheduled, f"{key} was scheduled twice")
                self.scheduled.add(key)
            case TimerCreated():
                self._timers[key] = event.fire_at
            case TimerFired():
                self.check(at >= self._timers[key], f"{key}: a timer fired early")
                self._completed(key)
            case TaskCompleted() | TaskFailed() | SubOrchestrationInstanceCompleted() | SubOrchestrationInstanceFailed():
                self._completed(key)
            case _:
                pass

    def _completed(self, key: TaskKey) -> None:
        self.completed[key] += 1
        self.check(self.completed[key] == 1, f"{key} was completed twice")


class RecordingStore(MemoryStore):
    """A memory store that tells ``Facts`` what it has just made durable."""

    def __init__(
        self, data: MemoryData, facts: Facts, clock: VirtualClock, partition_count: int, *, shared: bool = False
    ) -> None:
        super().__init__(data, clock=clock.now_us, partition_count=partition_count, shared=shared)
        self._facts = facts

    async def open(self) -> HubInfo:
        """Like a store with one owner at a time, ends the leases of an owner that is gone."""
        hub = await super().open()
        if self.sharing is None:
            self._data.leases = {number: Lease(number, lease.epoch, "", 0) for number, lease in self._data.leases.items()}
        return hub

    def _apply(self, commit: Commit) -> None:
        super()._apply(commit)
        self._facts.became_durable(commit)


class _MachineStore:
    """The store as one machine sees it: calls take time, and none succeeds once the machine is dead."""

    sharing = None
    transactions = None

    def __init__(self, inner: HubStore, machine: "Machine", luck: random.Random, delays: Sequence[float]) -> None:
        self._inner = inner
        self._machine = machine
        self._luck = luck
        self._delays = delays

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        method = getattr(self._inner, name)
        if name == "close":
            return method

        async def call(*arguments: Any, **options: Any) -> Any:
            await self._machine.sleep(self._luck.choice(self._delays))
            result = await method(*arguments, **options)
            await self._machine.sleep(self._luck.choice(self._delays))
            return result

        return call


class Machine(EngineHooks):
    """One process of the world: a hub that can be killed at any moment."""

    def __init__(self, world: "World") -> None:
        self.dead = False
        self._world = world
        self._died = asyncio.Event()
        self.faulty = FaultyStore(world.store(), world.plan)
        store = cast("HubStore", _MachineStore(cast("HubStore", self.faulty), self, world.luck, world.delays))
        self.checker = ReplayChecker(store)
        app = world.app(self)
        if world.elsewhere:
            self.hub: df.TaskHub = HubWithWorker(
                app, self.checker, world.elsewhere, world.settings(), hooks=self, clock=world.clock
            )
        else:
            self.hub = df.TaskHub(app, self.checker, settings=world.settings(), hooks=self, clock=world.clock)
        self.checker.watch(self.hub.live_state)

    async def sleep(self, seconds: float) -> None:
        """Passes time, unless death comes first."""
        if self.dead:
            raise StoreUnavailableError("this machine is dead")
        if seconds:
            try:
                async with asyncio.timeout(seconds):
                    await self._died.wait()
            except TimeoutError:
                return
            raise StoreUnavailableError("this machine is dead")

    def stopped(self, error: BaseException) -> None:
        """See ``EngineHooks``."""
        self._world.stopped.put_nowait(self)

    async def kill(self) -> None:
        """From now on nothing that it does matters; what is left of it is cleared away."""
        self.dead = True
        self._died.set()
        self.faulty.let_go()
        await self.hub.close()


class World:
    """Data that outlives machines, at most one machine at work, and clients that never give up."""

    def __init__(self, clock: VirtualClock, seed: int, plan: Plan, elsewhere: frozenset[str] = frozenset()) -> None:
        """``elsewhere``: the kinds of functions whose code is in workers."""
        self.elsewhere = elsewhere
        self.clock = clock
        self.luck = random.Random(seed)
        self.plan = plan
        self.facts = Facts(clock)
        self.data = MemoryData()
        self.delays: Sequence[float] = self.luck.choice([(0,), (0, 0, 0, 0.002), (0, 0.001, 0.02, 0.5)])
        self.partition_count = self.luck.choice([1, 3, 16])
        self._settings = df.EngineSettings(
            max_sessions=self.luck.choice([0, 1, 3, 10_000]),
            max_batch_turns=self.luck.choice([1, 3, 1000]),
            max_concurrent_activities=self.luck.choice([1, 3, 1000]),
            max_queued_messages=self.luck.choice([3, 20_000]),
            drain_grace=timedelta(seconds=self.luck.choice([0, 0.1, 10])),
            session_idle_timeout=timedelta(seconds=self.luck.choice([0.1, 30])),
            blocked_after=timedelta(hours=1),
        )
        if elsewhere:
            # That of activities is long: one that is given to two workers may run after its outcome is durable.
            lease = timedelta(seconds=self.luck.choice([0.3, 2, 120]))
            self._settings = replace(self._settings, remote=df.RemoteSettings(decision_lease=lease))
        self.build_app: Callable[[World, Machine], df.DFApp]
        self.machine: Machine | None = None
        self._latest: Machine | None = None
        """Perhaps still starting."""
        self.checked = 0
        self.stopped: asyncio.Queue[Machine] = asyncio.Queue()
        """Machines whose engine has given up."""
        self._here = asyncio.Event()
        self._change = asyncio.Lock()

    def app(self, machine: Machine) -> df.DFApp:
        """The application, as deployed on ``machine``."""
        return self.build_app(self, machine)

    def settings(self) -> df.EngineSettings:
        """The same for all machines."""
        return self._settings

    def has_run(self, key: TaskKey) -> None:
        """An activity's code has come to its end."""

    def store(self) -> HubStore:
        """A connection to the data."""
        return RecordingStore(self.data, self.facts, self.clock, self.partition_count)

    # --- machines -------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Starts a machine; tries until the store lets it."""
        while True:
            machine = self._latest = Machine(self)
            try:
                await machine.hub.start()
            except (StoreUnavailableError, HubInUseError):  # the one that it usurps may have been quicker
                await asyncio.sleep(0.1)
            else:
                self.machine = machine
                self._here.set()
                return

    async def crash(self) -> None:
        """The machine is gone without a word; another one takes over."""
        async with self._change:
            machine = self._take_away()
            clearing = asyncio.create_task(machine.kill())
            await self.open()
            await clearing
            self._watch(machine)

    async def restart(self) -> None:
        """An orderly restart, as by SIGTERM."""
        async with self._change:
            await self._restart()

    async def usurp(self) -> None:
        """Another machine takes over although the first one is alive, and doesn't know."""
        async with self._change:
            machine = self._take_away()
            self._watch(machine)  # from now on it sees in the store what another one does
            await self.open()
            await asyncio.sleep(self.luck.choice([0, 0.1, 5]))
            machine.faulty.let_go()
            await machine.hub.close()

    async def replace_stopped(self) -> None:
        """Whenever an engine gives up, starts another one."""
        while True:
            machine = await self.stopped.get()
            async with self._change:
                if machine is self.machine:
                    await self._restart()

    def let_go(self) -> None:
        """Ends all hangs."""
        if self._latest is not None:
            self._latest.faulty.let_go()

    async def shut_down(self) -> None:
        """The end of the world."""
        async with self._change:
            await self._close(self._take_away())

    async def _restart(self) -> None:
        await self._close(self._take_away())
        await self.open()

    async def _close(self, machine: Machine) -> None:
        machine.faulty.let_go()
        await machine.hub.close()
        self._watch(machine)

    def _take_away(self) -> Machine:
        assert self.machine is not None
        machine, self.machine = self.machine, None
        self._here.clear()
        return machine

    def _watch(self, machine: Machine) -> None:
        self.checked += machine.checker.checked
        for mismatch in machine.checker.mismatches:
            self.facts.check(False, str(mismatch))

    # --- clients --------------------------------------------------------------------------------------------------

    async def ask(self, call: Callable[[df.DurableClient], Awaitable[T]]) -> T:
        """Makes a client's call, again and again until its outcome is known."""
        while True:
            await self._here.wait()
            machine = self.machine
            if machine is None:
                await asyncio.sleep(0.05)
                continue
            try:
                return await call(machine.hub.client)
            except UNKNOWN_OUTCOME:
                await asyncio.sleep(self.luck.choice([0.01, 0.3, 2]))
