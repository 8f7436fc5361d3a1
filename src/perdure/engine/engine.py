"""The engine: one store, its partitions, and everything that moves. Embed it through ``perdure.TaskHub``."""

import asyncio
import os
import socket
from collections.abc import Collection, Iterable, Sequence

from perdure.core.converter import JsonConverter
from perdure.core.effects import DispatchActivity, Effect
from perdure.core.events import EntityStateSaved, TaskCompleted, TaskFailed
from perdure.core.functions import Functions
from perdure.core.hydrated import Hydrated
from perdure.core.ids import partition_of
from perdure.core.messages import Message
from perdure.core.state import InstanceState
from perdure.engine.activities import ActivityExecutor, ActivityOutcome, Settlement
from perdure.engine.clock import Clock, HubClock
from perdure.engine.committer import Batch, Committer
from perdure.engine.dispatching import Dispatching
from perdure.engine.envelopes import Envelope, Origin, WorkerAnswer
from perdure.engine.errors import EngineStoppedError, NotShareableError
from perdure.engine.failover import Failover, tell
from perdure.engine.hooks import EngineHooks
from perdure.engine.inbox import Inbox
from perdure.engine.load import Load
from perdure.engine.neighbours import Neighbours
from perdure.engine.open_work import OpenWork
from perdure.engine.ownership import Ownership
from perdure.engine.partition_loop import PartitionLoop
from perdure.engine.recovery import activity_key
from perdure.engine.releasing import Releasing
from perdure.engine.remote.remote import RemoteWork
from perdure.engine.settings import EngineSettings
from perdure.engine.shared_activities import SharedActivities
from perdure.engine.timers import Timers
from perdure.engine.user_transactions import UserTransactions
from perdure.engine.waiters import Waiters
from perdure.engine.watchdog import Watchdog
from perdure.store.contract import Beat, HubInfo, HubStore, InstanceRecord
from perdure.store.errors import StoreUnavailableError, TransactionsUnsupportedError

_BEGIN_LOOK_AGAIN = 0.5
"""Seconds after which whoever waits for a begin looks into a shared store."""


class Engine:
    """Runs the instances of one hub. All methods belong to the event loop that called ``start``."""

    def __init__(
        self, store: HubStore, functions: Functions, *, settings: EngineSettings, clock: Clock, hooks: EngineHooks
    ) -> None:
        self._store = store
        self._sharing = store.sharing
        self._functions = functions
        self._settings = settings
        self._hub_clock = HubClock(clock) if store.sharing is not None else None
        self.clock: Clock = self._hub_clock or clock
        """What the hub's code sees as the time. Engines that share a hub agree on it."""
        self._hooks = hooks
        self.converter = JsonConverter(settings.max_payload_bytes)
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        if store.sharing is not None:
            self.owner += f":{os.urandom(4).hex()}"  # no two engines may have the same name, not even two lives of a container
        self._partition_count = 0
        self._stopped: Exception | None = EngineStoppedError("the hub has not been started")
        self._started = False
        self._closing = False
        self._relief = asyncio.Event()
        self.waiters = Waiters()
        self.remote = self._make_remote()
        """What workers do for this hub, where the settings leave anything to them."""
        self._watchdog = Watchdog(settings.blocked_after.total_seconds(), hooks.blocked)
        self._user_transactions = self._make_user_transactions()
        self._activities = ActivityExecutor(
            functions,
            self.converter,
            self._on_outcomes,
            max_concurrent=settings.max_concurrent_activities,
            max_threads=settings.max_activity_threads,
            max_processes=settings.max_activity_processes,
            kill_grace=settings.kill_grace,
            settling=self._user_transactions.settling if self._user_transactions is not None else None,
        )
        self._neighbours = self._make_neighbours(store)

    @property
    def stopped(self) -> Exception | None:
        """Why nothing can be done, if so."""
        return self._stopped

    @property
    def running_activities(self) -> int:
        """Activities being executed right now."""
        return self._activities.running

    @property
    def hydrated_instances(self) -> int:
        """Instances in memory."""
        return len(self._loop.sessions)

    async def load(self) -> Load:
        """How much there is to do in the hub; in one that can't be shared, as far as this engine knows.

        Raises:
            EngineStoppedError: the hub is closed.
            StoreUnavailableError: the store can't be asked.
        """
        if self._stopped is not None:
            raise self._stopped
        if self._sharing is not None:
            return Load.of(await self._sharing.backlog(), self.clock.now_us(), self._partition_count)
        return Load(
            messages=self._loop.queued,
            activities=self._activities.backlog,
            oldest_age_us=0,
            running=self._activities.running,
            capacity=self._activities.capacity,
            processes=1,
            most_processes=1,
        )

    def live_state(self, instance_id: str) -> InstanceState | EntityStateSaved | None:
        """What memory says of a hydrated instance, to look at; ``None`` where it isn't hydrated."""
        session = self._loop.sessions.get(instance_id)
        return session.instance.durable if session is not None else None

    async def start(self) -> None:
        """Opens the store, takes its partitions, and gets everything going that history says is open.

        Raises:
            StoreError: see ``Store.open``.
        """
        if self._sharing is None and self._settings.role != "all":
            raise NotShareableError(
                f"role '{self._settings.role}' is for hubs that several processes share, and this store has one at a time. "
                "Use a PostgreSQL store, or role 'all'."
            )
        hub = await self._store.open()
        try:
            self._make_parts(hub)
            self._activities.start(asyncio.get_running_loop())
            await self._begin()
        except BaseException:
            await self._store.close()
            raise
        self._committer.start()
        self._watchdog.start()
        self._started = True
        self._stopped = None
        if self._user_transactions is not None:
            self._user_transactions.start(asyncio.get_running_loop())
        self._go_on()
        self._ownership.start()

    def _make_user_transactions(self) -> UserTransactions | None:
        if self._store.transactions is None:
            return None
        return UserTransactions(
            self._store.transactions,
            partition=self._partition,
            fence=lambda work: self._dispatching.fence(work),
            done=self._on_settled,
            want=self._on_written,
            failed=self._failed,
            shared=self._sharing is not None,
        )

    def _make_remote(self) -> RemoteWork | None:
        settings = self._settings
        if settings.remote is None or settings.passive:
            return None
        return RemoteWork(
            settings.remote,
            self.clock,
            instance=self._hot,
            wake=self._on_due,
            decide=self._on_decided,
            report=self._on_reported,
            unwanted=self._hooks.work_unwanted,
        )

    def _has_idle_hands(self) -> bool:
        functions = self._functions
        return self.remote is not None and not (self.remote.workers or functions.orchestrators or functions.entities)

    def _make_neighbours(self, store: HubStore) -> Neighbours | None:
        if store.sharing is None or self._hub_clock is None:
            return None
        return Neighbours(
            store,
            store.sharing,
            owner=self.owner,
            settings=self._settings,
            clock=self._hub_clock,
            waiters=self.waiters,
            activities=self._activities,
            owns=lambda instance_id: self._started and self._loop.owns(instance_id),
            closing=lambda: self._closing,
            idle_hands=self._has_idle_hands,
            messages=self._on_messages,
            leases=lambda: self._ownership.look() if self._started else None,
            missed=self._on_missed,
            failed=self._failed,
        )

    def _make_parts(self, hub: HubInfo) -> None:
        self._partition_count = hub.partition_count
        settings = self._settings
        neighbours = self._neighbours
        if neighbours is not None:
            neighbours.opened(hub.partition_count)
        self._ownership = Ownership(
            self._store,
            self._sharing,
            owner=self.owner,
            duration=settings.lease_duration.total_seconds(),
            passive=settings.passive,
            member=neighbours.member if neighbours is not None else None,
            claims=lambda: neighbours.claims if neighbours is not None else (),
            beaten=self._on_beat,
            gain=self._gain,
            let_go=self._let_go,
            settled=lambda: not self._closing and not self._loop.paused and not self._open_work.searching,
            changed=lambda: neighbours.leases_changed() if neighbours is not None else None,
            touch=self._on_touch,
            failed=self._failed,
        )
        self._committer = Committer(
            self._store,
            self.owner if self._sharing is not None else "",
            self._ownership.of,
            lambda: self._ownership.certain,
            self._released,
            self._failed,
        )
        self._dispatching = Dispatching(
            self._functions,
            self._activities,
            self.remote,
            self._shared,
            committer=self._committer,
            ownership=self._ownership,
            partition=self._partition,
        )
        self._inbox = Inbox(
            self._store,
            neighbours.reply if neighbours is not None else None,
            lambda: self._loop.readable,
            lambda envelopes: self._loop.take_up(envelopes),
            self._failed,
        )
        self._loop = PartitionLoop(
            store=self._store,
            committer=self._committer,
            functions=self._functions,
            converter=self.converter,
            clock=self.clock,
            hooks=self._hooks,
            settings=settings,
            watchdog=self._watchdog,
            partition_count=hub.partition_count,
            held=self._inbox.held,
            ask=self.remote.ask if self.remote is not None else None,
            store_request=neighbours.request if neighbours is not None else None,
            hydrated=self._on_hydrated,
            ran=self._on_run,
            failed=self._failed,
        )
        self._timers = Timers(
            self.clock,
            self._on_due,
            lambda after, limit: self._store.due(list(self._ownership.leases), after, limit),
            self._failed,
        )

        self._open_work = OpenWork(
            self._store,
            self._inbox,
            self._timers,
            waiting=lambda: self._loop.waiting,
            offered=neighbours.offered if neighbours is not None else None,
            partition=self._partition,
            dispatch=self._dispatching.dispatch,
            undecided=self._on_due,
            failed=self._failed,
        )
        self._releasing = Releasing(
            settings,
            self.clock,
            self._hooks,
            loop=self._loop,
            dispatching=self._dispatching,
            inbox=self._inbox,
            timers=self._timers,
            waiters=self.waiters,
            remote=self.remote,
            neighbours=neighbours,
            closing=lambda: self._closing,
        )
        self._failover = Failover(
            self._hooks,
            max_retry_delay=settings.max_retry_delay.total_seconds(),
            loop=self._loop,
            committer=self._committer,
            dispatching=self._dispatching,
            ownership=self._ownership,
            open_work=self._open_work,
            remote=self.remote,
            neighbours=neighbours,
            stopped=lambda: self._stopped is not None,
            begin=self._begin,
            resumed=self._on_recovered,
            shut=self._shut,
        )

    def _partition(self, instance_id: str) -> int:
        return partition_of(instance_id, self._partition_count)

    @property
    def _shared(self) -> SharedActivities | None:
        return self._neighbours.shared if self._neighbours is not None else None

    async def close(self) -> None:
        """Drains: running activities get the grace of the settings, and what was decided is written."""
        if self._closing or not self._started:
            return
        self._closing = True
        self._timers.stop()
        if self._shared is not None:
            self._shared.stop()
        if self._user_transactions is not None:
            self._user_transactions.stop()
        if self.remote is None:
            await self._activities.close(self._settings.drain_grace)
        else:
            grace = self._settings.drain_grace
            await asyncio.gather(self._activities.close(grace), self.remote.close(grace.total_seconds()))
        if self._user_transactions is not None:
            await self._user_transactions.told()
        await self._loop.drained()
        await self._committer.drained()
        await self._ownership.stop()
        self._shut(EngineStoppedError("the hub is closed"))
        self._watchdog.stop()
        await self._committer.stop()
        await self._open_work.ended()
        try:
            await self._ownership.release()
            if self._neighbours is not None:
                await self._neighbours.part()
        except StoreUnavailableError:
            pass  # it expires
        finally:
            await self._store.close()

    def hurry(self) -> None:
        """Lets ``close`` wait no longer for running activities. Their histories still say that they are to be done."""
        self._activities.hurry()
        if self.remote is not None:
            self.remote.hurry()

    # --- calls from clients ---------------------------------------------------------------------------------------

    async def send(self, message: Message, *, fresh: bool = False) -> None:
        """Returns once the message's effect is durable. ``fresh``: the instance id was made up for it.

        Raises:
            InstanceNotFoundError, InstanceFinishedError, InstanceAlreadyExistsError: as the recipient's state says.
            CommitFailedError: the store failed; the outcome is unknown.
            EngineStoppedError: the hub is closed.
        """
        await self._call(Envelope(message.instance_id, message, Origin.CLIENT, fresh=fresh))

    def enlist(self, message: Message, connection: object) -> None:
        """Writes a start in the transaction that is open on a user's connection. For any thread but the loop's; blocks.

        Raises:
            UnusableConnectionError: the connection can't take it.
            TransactionsUnsupportedError: the store has no transactions for users.
            EngineStoppedError: the hub is closed.
        """
        self._transactions_of_users().enlist(message, connection)

    async def enlist_async(self, message: Message, connection: object) -> None:
        """The same for connections that belong to the event loop. See ``enlist``."""
        await self._transactions_of_users().enlist_async(message, connection)

    async def is_coming(self, instance_id: str) -> bool:
        """Whether an instance that isn't there will be, since a transaction has started it that was committed."""
        return self._user_transactions is not None and await self._user_transactions.is_coming(instance_id)

    def _transactions_of_users(self) -> UserTransactions:
        if self._user_transactions is None:
            raise TransactionsUnsupportedError(
                "this hub's store has no transactions that a start could be part of: use sqlite:/// or postgresql://, or start "
                "without a connection."
            )
        if self._stopped is not None:
            raise self._stopped
        if self._closing:
            raise EngineStoppedError("the hub is closing")
        return self._user_transactions

    async def purge(self, instance_id: str) -> None:
        """Deletes an instance that has ended.

        Raises:
            InstanceNotFoundError, InstanceRunningError: as its state says.
            CommitFailedError, EngineStoppedError: as for ``send``.
        """
        await self._call(Envelope(instance_id, None, Origin.CLIENT, purge=True))

    def is_running(self, instance_id: str) -> bool:
        """Whether memory alone tells that the instance has not ended."""
        return self._stopped is None and self._loop.is_hot(instance_id)

    def new_instance_id(self, random_id: str) -> str:
        """``random_id`` or another one like it, so that this engine owns the instance if it owns any."""
        if self._started and self._ownership.leases:
            while not self._loop.owns(random_id):
                random_id = os.urandom(16).hex()
        return random_id

    def await_end(self, instance_id: str) -> "asyncio.Future[InstanceRecord | None]":
        """See ``Waiters.wait``; the instance may be another engine's."""
        if self._neighbours is not None:
            self._neighbours.exchange.await_end(instance_id)
        return self.waiters.wait(instance_id)

    def await_begin(self, instance_id: str) -> "asyncio.Future[InstanceRecord | None]":
        """See ``Waiters.wait_for_begin``; may be another engine's, which doesn't tell: it wakes now and again then."""
        if self._neighbours is not None:
            asyncio.get_running_loop().call_later(_BEGIN_LOOK_AGAIN, self.waiters.begun, instance_id)
        return self.waiters.wait_for_begin(instance_id)

    async def _call(self, envelope: Envelope) -> None:
        while self._stopped is None and self._overloaded:
            self._relief.clear()
            await self._relief.wait()
        if self._stopped is not None:
            raise self._stopped
        if self._closing:
            raise EngineStoppedError("the hub is closing")
        reply = envelope.reply = asyncio.get_running_loop().create_future()
        self._loop.post((envelope,))
        await reply

    @property
    def _overloaded(self) -> bool:
        return self._loop.queued + self._activities.backlog > self._settings.max_queued_messages

    # --- what the parts report ------------------------------------------------------------------------------------

    def _on_outcomes(self, outcomes: list[ActivityOutcome]) -> None:
        envelopes = [self._outcome(outcome) for outcome in outcomes]
        self._open_work.done(activity_key(outcome.work) for outcome in outcomes)
        self._loop.post(envelopes)

    def _outcome(self, outcome: ActivityOutcome) -> Envelope:
        work = outcome.work
        event = (
            TaskCompleted(work.task_id, outcome.result) if outcome.failure is None else TaskFailed(work.task_id, outcome.failure)
        )
        message = Message(work.instance_id, event, work.execution_id, work.generation)
        claim = self._shared.finished(work) if self._shared is not None else None
        return Envelope(work.instance_id, message, Origin.ACTIVITY, claim=claim)

    def _on_reported(self, outcome: ActivityOutcome) -> None:
        if self._stopped is not None:
            raise self._stopped
        self._on_outcomes([outcome])

    async def _on_decided(self, instance_id: str, answer: WorkerAnswer) -> None:
        """Returns once the answer is applied. The worker had to wait to be asked, so that nothing holds it up here."""
        if self._stopped is not None:
            raise self._stopped
        reply = asyncio.get_running_loop().create_future()
        self._loop.post((Envelope(instance_id, None, Origin.WORKER, reply, decided=answer),))
        await reply

    def _hot(self, instance_id: str) -> Hydrated | None:
        session = self._loop.sessions.get(instance_id)
        return session.instance if session is not None else None

    def _on_settled(self, work: DispatchActivity, settlement: Settlement) -> None:
        if self._shared is not None:
            self._shared.finished(work)
        if not settlement.refused:
            self._open_work.done((activity_key(work),))

    def _on_due(self, instance_ids: Iterable[str]) -> None:
        self._loop.post(Envelope(instance_id, None, Origin.TIMER) for instance_id in instance_ids)

    def _on_hydrated(self, instance_id: str, works: list[DispatchActivity]) -> None:
        if not self._closing:
            self._open_work.hydrated(instance_id, works)

    def _released(self, batch: Batch, effects: list[Effect]) -> None:
        self._releasing.release(batch, effects)
        self._make_room()

    def _on_run(self) -> None:
        if self._committer.idle:
            self._make_room()  # what was handled needed no commit, whose release would do it

    def _make_room(self) -> None:
        """Lets waiting calls in, if there is room for them."""
        if not self._overloaded:
            self._relief.set()

    # --- other engines of the hub -----------------------------------------------------------------------------------

    def _on_messages(self, partitions: Iterable[int]) -> None:
        if self._started and not self._settings.passive:
            self._inbox.want(partition for partition in partitions if partition in self._ownership.leases)

    def _on_written(self, partitions: Collection[int]) -> None:
        """Transactions of users have written messages, whoever owns the partitions."""
        self._on_messages(partitions)
        if self._neighbours is not None:
            self._neighbours.exchange.stored(partition for partition in partitions if partition not in self._ownership.leases)

    def _on_missed(self) -> None:
        if self._started:
            self._on_messages(self._ownership.leases)
            self._ownership.look()

    def _on_beat(self, beat: Beat) -> None:
        if self._neighbours is not None:
            self._neighbours.beaten(beat, started=self._started)

    def _on_touch(self, error: StoreUnavailableError | None) -> None:
        if error is None:
            self._hooks.in_touch()
        else:
            self._hooks.out_of_touch(error)

    async def _gain(self, partitions: Collection[int]) -> None:
        """Partitions have come from another engine: what is open in them gets going again."""
        self._loop.own(self._ownership.leases, coming=partitions)
        await self._committer.written()  # what this engine has sent to them until now is in their inbox, then
        self._loop.welcome(await self._open_work.read(partitions, self._ownership.leases))
        self._go_on()

    async def _let_go(self, partitions: Collection[int]) -> None:
        """These partitions are about to go to another engine: nothing of them may be left here."""
        self._loop.own([partition for partition in self._ownership.leases if partition not in partitions])
        await self._loop.let_go()
        self._forget_foreign_work()
        if self._neighbours is not None:
            self._dispatching.offer(self._neighbours.hand_over())
        await self._committer.written()

    def _forget_foreign_work(self) -> None:
        if self.remote is not None:
            self.remote.forget(lambda instance_id: not self._loop.owns(instance_id))

    # --- failure and recovery -------------------------------------------------------------------------------------

    def _failed(self, error: BaseException, batches: Sequence[Batch] = ()) -> None:
        self._failover.failed(error, batches)

    def _on_recovered(self) -> None:
        self._go_on()
        self.waiters.look_again(self.waiters.instance_ids)

    async def _begin(self) -> None:
        """Takes the partitions and reads what is open in them. What is queued up already still matters."""
        self._inbox.stop()  # what an attempt before this one has read was not handled
        self._loop.forget_stored()
        await self._ownership.take(self._partition_count)
        partitions = self._ownership.leases
        envelopes = [] if self._settings.passive else await self._open_work.read(partitions, partitions)
        self._loop.own(partitions)
        self._forget_foreign_work()
        self._loop.take_up(envelopes)

    def _go_on(self) -> None:
        self._loop.resume()
        self._open_work.find_activities()
        self._on_messages(self._ownership.leases)  # what has come since all of them were read

    def _shut(self, error: Exception) -> None:
        self._stopped = error
        self._open_work.stop()
        tell(self._loop.take_all(), error)
        if self.remote is not None:
            self.remote.stop()
        self.waiters.fail(error)
        if self._neighbours is not None:
            self._neighbours.exchange.requests.fail(error)
        self._relief.set()
        self._releasing.stop()
