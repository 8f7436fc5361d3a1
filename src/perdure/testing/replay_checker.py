"""A store that doesn't believe the engine: what was stored must add up to what the engine has in memory, commit by commit."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from perdure.core.effects import CommitReceipt
from perdure.core.entity_saved import fold_entity
from perdure.core.entity_waiting import waits_for_code
from perdure.core.events import EntityStateSaved
from perdure.core.state import InstanceState, fold_segments
from perdure.store.contract import (
    Commit,
    HubInfo,
    HubStore,
    InstanceQuery,
    InstanceRecord,
    Lease,
    Segment,
    Sharing,
    StoredInstance,
    StoredMessage,
    Transactions,
)

LiveState = Callable[[str], InstanceState | EntityStateSaved | None]


class ReplayMismatchError(AssertionError):
    """A commit is durable that doesn't say what the engine believes: after a restart the instance would be another one."""


class ReplayChecker:
    """``inner``, and after each commit: the fold of the stored bytes, and the row, equal the live state of all it touched.

    Sits outermost, around the other decorators, because the engine may be ahead again as soon as ``commit`` waits::

        checker = ReplayChecker(store)
        hub = TaskHub(app, checker)
        checker.watch(hub.live_state)
    """

    def __init__(self, inner: HubStore) -> None:
        self._inner = inner
        self._live: LiveState = lambda _: None
        self.checked = 0
        """How many instances were compared, so that a test can see that it tests something."""
        self.mismatches: list[ReplayMismatchError] = []

    @property
    def sharing(self) -> Sharing | None:
        """See ``HubStore.sharing``."""
        return self._inner.sharing

    @property
    def transactions(self) -> Transactions | None:
        """See ``HubStore.transactions``."""
        return self._inner.transactions

    def watch(self, live: LiveState) -> None:
        """Compares with what ``live`` gives for an instance id from now on."""
        self._live = live

    async def commit(self, commit: Commit) -> CommitReceipt:
        """See ``Store.commit``.

        Raises:
            ReplayMismatchError: the bytes in the store and the engine's memory differ.
        """
        expected: dict[str, dict[str, Any] | EntityStateSaved] = {}
        for turn in commit.turns:
            state = self._live(turn.instance_id)
            if state is not None:
                expected[turn.instance_id] = state if isinstance(state, EntityStateSaved) else _facts(state)
        receipt = await self._inner.commit(commit)
        for instance_id, live in expected.items():
            try:
                if isinstance(live, EntityStateSaved):
                    await self._check_entity(instance_id, live)
                else:
                    await self._check(instance_id, live)
            except ReplayMismatchError as mismatch:
                self.mismatches.append(mismatch)
                raise
            self.checked += 1
        return receipt

    async def _check(self, instance_id: str, live: dict[str, Any]) -> None:
        record = await self._inner.get(instance_id)
        state = fold_segments(segment.events for segment in await self._inner.history(instance_id))
        stored = _facts(state)
        if record is None:
            raise ReplayMismatchError(f"instance '{instance_id}' is in memory but not in the store")
        row = record.row
        shown = {
            "status": row.status,
            "pending": row.pending,
            "wake_at": row.wake_at,
            "generation": row.generation,
            "execution_id": row.execution_id,
            "name": row.name,
        }
        started = state.started
        implied = {
            "status": str(state.status),
            "pending": state.outstanding,
            "wake_at": state.wake_at,
            "generation": started.generation if started is not None else None,
            "execution_id": started.execution_id if started is not None else None,
            "name": started.name if started is not None else None,
        }
        for what, first, second in (("memory and history", live, stored), ("row and history", shown, implied)):
            if first != second:
                different = {key: (first[key], second[key]) for key in first if first[key] != second[key]}
                raise ReplayMismatchError(f"instance '{instance_id}': {what} differ: {different}")

    async def _check_entity(self, instance_id: str, live: EntityStateSaved) -> None:
        """An entity is one value, and one without content isn't there at all."""
        record = await self._inner.get(instance_id)
        segments = [segment.events for segment in await self._inner.history(instance_id)]
        stored = fold_entity(instance_id, segments)
        if stored != live:
            raise ReplayMismatchError(f"entity '{instance_id}': memory says {live}, the store {stored}")
        if not (record is not None) == bool(segments) == (live != EntityStateSaved()):
            raise ReplayMismatchError(f"entity '{instance_id}': its row and its state don't come and go together")
        due = [signal.scheduled_time for signal in live.scheduled if signal.scheduled_time is not None]
        if record is not None and not waits_for_code(live.lock, live.waiting) and record.row.wake_at != min(due, default=None):
            raise ReplayMismatchError(f"entity '{instance_id}': the row says {record.row.wake_at}, its signals {due}")

    async def open(self) -> HubInfo:
        """See ``Store.open``."""
        return await self._inner.open()

    async def close(self) -> None:
        """See ``Store.close``."""
        await self._inner.close()

    async def now(self) -> int:
        """See ``Store.now``."""
        return await self._inner.now()

    async def acquire(self, owner: str, partitions: Sequence[int], duration: int) -> Sequence[Lease]:
        """See ``Store.acquire``."""
        return await self._inner.acquire(owner, partitions, duration)

    async def release(self, leases: Sequence[Lease]) -> None:
        """See ``Store.release``."""
        await self._inner.release(leases)

    async def load(self, instance_ids: Sequence[str]) -> dict[str, StoredInstance]:
        """See ``Store.load``."""
        return await self._inner.load(instance_ids)

    async def inbox(self, partitions: Sequence[int], known: Collection[str], limit: int) -> Sequence[StoredMessage]:
        """See ``Store.inbox``."""
        return await self._inner.inbox(partitions, known, limit)

    async def with_pending(self, partitions: Sequence[int], after: str, limit: int) -> Sequence[str]:
        """See ``Store.with_pending``."""
        return await self._inner.with_pending(partitions, after, limit)

    async def due(self, partitions: Sequence[int], after: tuple[int, str], limit: int) -> Sequence[tuple[int, str]]:
        """See ``Store.due``."""
        return await self._inner.due(partitions, after, limit)

    async def get(self, instance_id: str, *, with_payloads: bool = False) -> InstanceRecord | None:
        """See ``Queries.get``."""
        return await self._inner.get(instance_id, with_payloads=with_payloads)

    async def list(self, query: InstanceQuery) -> Sequence[InstanceRecord]:
        """See ``Queries.list``."""
        return await self._inner.list(query)

    async def count(self) -> dict[str, int]:
        """See ``Queries.count``."""
        return await self._inner.count()

    async def history(self, instance_id: str) -> Sequence[Segment]:
        """See ``Queries.history``."""
        return await self._inner.history(instance_id)


def _facts(state: InstanceState) -> dict[str, Any]:
    # The time of the last turn is left out: a turn without events leaves no trace in history, and needs none.
    return {
        "started": state.started,
        "completed": state.completed,
        "status": state.status,
        "begun": state.begun,
        "open_work": dict(state.open_work),
        "next_task_id": state.next_task_id,
        "pending": state.pending,
        "wake_at": state.wake_at,
    }
