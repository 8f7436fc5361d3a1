"""Group commit: collects what turns decided, writes it in one transaction, releases the effects when that is durable.

While one commit is being written the loop goes on and fills the next batch (pipelining), on top of sessions that are
ahead of the store. If a commit fails, everything after it is void: the engine drops it all and recovers.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence

from perdure.core.effects import CommitReceipt, Effect, Sealed
from perdure.core.messages import Message, encode_message
from perdure.engine.envelopes import Envelope
from perdure.engine.sessions import Session
from perdure.store.contract import Claim, Commit, InstanceRecord, Lease, OfferedActivity, Store, StoredMessage, TurnRecord


class Batch:
    """The turns of one future commit, and whom to tell about it."""

    __slots__ = (
        "answers",
        "consumed",
        "effects",
        "ended",
        "foreign",
        "marks",
        "offered",
        "outbox",
        "outcomes",
        "partitions",
        "records",
        "reposts",
        "requested",
        "requests",
        "sessions",
        "settled",
        "wakes",
        "withdrawn",
    )

    def __init__(self) -> None:
        self.records: list[TurnRecord] = []
        self.effects: list[Sealed[Sequence[Effect]]] = []
        self.sessions: list[Session] = []
        self.partitions: set[int] = set()
        """Those whose leases the commit needs."""
        self.outcomes: list[Envelope] = []
        """Activity outcomes: delivered again if the commit fails."""
        self.answers: list[tuple[Envelope, Exception | None]] = []
        """Replies that wait for the commit, and what to say."""
        self.outbox: dict[str, tuple[Message, int]] = {}
        self.consumed: list[str] = []
        self.wakes: list[tuple[int, str]] = []
        self.reposts: list[str] = []
        """Instances whose messages wait until this batch is durable."""
        self.ended: dict[str, InstanceRecord] = {}
        """Final records of the instances that end with this batch."""
        self.foreign: set[int] = set()
        """Other engines' partitions for which there are messages."""
        self.requests: list[StoredMessage] = []
        """What callers here ask of other engines' instances."""
        self.requested: list[Envelope] = []
        """The callers, who wait for the other engine's answer unless this batch fails."""
        self.offered: list[OfferedActivity] = []
        self.settled: list[Claim] = []
        self.withdrawn: list[str] = []
        self.marks: list[asyncio.Future[None]] = []
        """Done when the batch is durable."""

    def __bool__(self) -> bool:
        return bool(self.writes or self.answers or self.wakes or self.reposts or self.marks)

    @property
    def writes(self) -> bool:
        """Whether there is anything for the store."""
        return bool(
            self.records or self.outbox or self.consumed or self.requests or self.offered or self.settled or self.withdrawn
        )

    @property
    def callers(self) -> list[Envelope]:
        """Those who wait for the batch."""
        return [*(envelope for envelope, _ in self.answers), *self.requested]

    def give_up(self) -> None:
        """It will not be written, as far as this engine knows."""
        for mark in self.marks:
            mark.cancel()


class Committer:
    """One task that writes batch after batch."""

    def __init__(
        self,
        store: Store,
        owner: str,
        leases: Callable[[Collection[int]], Sequence[Lease]],
        certain: Callable[[], bool],
        released: Callable[[Batch, list[Effect]], None],
        failed: Callable[[BaseException, list[Batch]], None],
    ) -> None:
        """``leases`` gives those of partitions; ``certain`` says whether they can be trusted without asking the store."""
        self._store = store
        self._owner = owner
        self._leases = leases
        self._certain = certain
        self._released = released
        self._failed = failed
        self.batch = Batch()
        """The one that is being filled."""
        self._ready = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to write."""
        self._task = asyncio.get_running_loop().create_task(self._write())

    def flush(self) -> None:
        """There is something in the batch; it is written as soon as the commit before it has ended."""
        if self.batch:
            self._idle.clear()
            self._ready.set()

    @property
    def idle(self) -> bool:
        """Whether nothing is left to write."""
        return self._idle.is_set()

    async def drained(self) -> None:
        """Returns when nothing is left to write."""
        await self._idle.wait()

    async def written(self) -> None:
        """Returns when all that is in the batch by now is durable.

        Raises:
            CancelledError: it failed.
        """
        if self._idle.is_set() and not self.batch:
            return
        mark = asyncio.get_running_loop().create_future()
        self.batch.marks.append(mark)
        self.flush()
        await mark

    async def stop(self) -> None:
        """Ends; what is in the batch is not written."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _write(self) -> None:
        while True:
            await self._ready.wait()
            self._ready.clear()
            while self.batch:
                batch, self.batch = self.batch, Batch()
                try:
                    receipt = await self._commit(batch)
                    effects = [effect for sealed in batch.effects for effect in sealed.open(receipt)]
                    self._released(batch, effects)
                except Exception as error:  # noqa: BLE001 - the engine decides what each kind of error means
                    failed, self.batch = [batch, self.batch], Batch()
                    self._failed(error, failed)
            self._idle.set()

    async def _commit(self, batch: Batch) -> CommitReceipt:
        done = {claim.activity_id for claim in batch.settled}
        commit = Commit(
            leases=self._leases(batch.partitions),
            turns=batch.records,
            outbox=[
                StoredMessage(message_id, message.instance_id, partition, encode_message(message))
                for message_id, (message, partition) in batch.outbox.items()
            ]
            + batch.requests,
            consumed=batch.consumed,
            owner=self._owner,
            offered=[activity for activity in batch.offered if activity.activity_id not in done],
            settled=batch.settled,
            withdrawn=batch.withdrawn,
        )
        for sealed in batch.effects:
            sealed.bind(commit)
        if batch.writes or not self._certain():
            return await self._store.commit(commit)
        # Only answers, to calls that changed nothing. They had to wait for the commits before them, which are durable now.
        return CommitReceipt(commit)
