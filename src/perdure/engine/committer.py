"""Group commit: collects what turns decided, writes it in one transaction, releases the effects when that is durable.

While one commit is being written the loop goes on and fills the next batch (pipelining), on top of sessions that are
ahead of the store. If a commit fails, everything after it is void: the engine drops it all and recovers.
"""

import asyncio
from collections.abc import Callable, Sequence

from perdure.core.effects import CommitReceipt, Effect, Sealed
from perdure.core.messages import Message, encode_message
from perdure.engine.envelopes import Envelope
from perdure.engine.sessions import Session
from perdure.store.contract import Commit, InstanceRecord, Lease, Store, StoredMessage, TurnRecord


class Batch:
    """The turns of one future commit, and whom to tell about it."""

    __slots__ = (
        "answers",
        "consumed",
        "effects",
        "ended",
        "outbox",
        "outcomes",
        "partitions",
        "records",
        "reposts",
        "sessions",
        "wakes",
    )

    def __init__(self) -> None:
        self.records: list[TurnRecord] = []
        self.effects: list[Sealed[Sequence[Effect]]] = []
        self.sessions: list[Session] = []
        self.partitions: set[int] = set()
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

    def __bool__(self) -> bool:
        return bool(self.records or self.outbox or self.consumed or self.answers or self.wakes or self.reposts)

    def fail(self, error: Exception) -> None:
        """Tells every caller in the batch."""
        for envelope, _ in self.answers:
            envelope.answer(error)


class Committer:
    """One task that writes batch after batch."""

    def __init__(
        self,
        store: Store,
        leases: Callable[[], Sequence[Lease]],
        released: Callable[[Batch, list[Effect]], None],
        failed: Callable[[BaseException, list[Batch]], None],
    ) -> None:
        self._store = store
        self._leases = leases
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
        commit = Commit(
            leases=[lease for lease in self._leases() if lease.partition in batch.partitions],
            turns=batch.records,
            outbox=[
                StoredMessage(message_id, message.instance_id, partition, encode_message(message))
                for message_id, (message, partition) in batch.outbox.items()
            ],
            consumed=batch.consumed,
        )
        for sealed in batch.effects:
            sealed.bind(commit)
        if commit.turns or commit.outbox or commit.consumed:
            return await self._store.commit(commit)
        # Only answers, to calls that changed nothing. They had to wait for the commits before them, which are durable now.
        return CommitReceipt(commit)
