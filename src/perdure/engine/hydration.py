"""Hydration: reads instances that messages wait for and takes their code through the past, beside the partition loop."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from perdure.core.effects import DispatchActivity
from perdure.core.hydrated import Hydrated
from perdure.core.status import TERMINAL_STATUSES
from perdure.engine.hooks import EngineHooks
from perdure.engine.replaying import replay
from perdure.engine.sessions import Session
from perdure.engine.watchdog import Watchdog
from perdure.store.contract import HubStore, InstanceRow, Segment, StoredInstance

_LOAD_AT_ONCE = 50


class Ended(msgspec.Struct, frozen=True):
    """An instance that has ended: its row, and its history where that was asked for."""

    row: InstanceRow
    segments: tuple[Segment, ...] | None = None


Found = Session | Ended | None
"""What the store has of an instance: live code, an end, or nothing."""


class Hydrator:
    """Loads instances one after the other and hands each to ``ready``."""

    def __init__(
        self,
        store: HubStore,
        make: Callable[[str, int, str, Iterable[bytes]], Hydrated],
        hooks: EngineHooks,
        watchdog: Watchdog,
        *,
        hydrated: Callable[[str, list[DispatchActivity]], None],
        ready: Callable[[str, Found], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._make = make
        self._hooks = hooks
        self._watchdog = watchdog
        self._hydrated = hydrated
        self._ready = ready
        self._failed = failed
        self._wanted: deque[str] = deque()
        self._revisited: deque[InstanceRow] = deque()
        self._task: asyncio.Task[None] | None = None

    def want(self, instance_id: str) -> None:
        """Loads the instance, soon."""
        self._wanted.append(instance_id)
        self._go_on()

    def revisit(self, row: InstanceRow) -> None:
        """Reads the history of an instance that has ended, which ``want`` leaves out."""
        self._revisited.append(row)
        self._go_on()

    def stop(self) -> None:
        """Forgets what is wanted."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._wanted.clear()
        self._revisited.clear()

    def _go_on(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._load())

    async def _load(self) -> None:
        try:
            while self._wanted or self._revisited:
                wanted = [self._wanted.popleft() for _ in range(min(len(self._wanted), _LOAD_AT_ONCE))]
                found = await self._store.load(wanted) if wanted else {}
                for instance_id in wanted:
                    self._ready(instance_id, self._found(instance_id, found.get(instance_id)))
                    await asyncio.sleep(0)  # a long replay shouldn't be followed by another one at once
                if self._revisited:
                    row = self._revisited.popleft()
                    self._ready(row.instance_id, Ended(row, tuple(await self._store.history(row.instance_id))))
        except Exception as error:  # noqa: BLE001 - the engine decides what it means
            self._failed(error)
        finally:
            if self._task is asyncio.current_task():
                self._task = None

    def _found(self, instance_id: str, stored: StoredInstance | None) -> Found:
        if stored is None:
            return None
        row = stored.row
        if row.status in TERMINAL_STATUSES:
            return Ended(row)
        past = (segment.events for segment in stored.segments)
        session = Session(self._make(instance_id, row.created_at, row.name, past), row.partition, row.wake_at)
        self.replay(session, stored.segments, row.custom_status)
        if not session.instance.registered:
            self._hooks.orchestrator_missing(instance_id, row.name)
        self._hydrated(instance_id, session.instance.open_activities())
        return session

    def replay(self, session: Session, segments: Sequence[Segment], custom_status: str | None) -> None:
        """Takes a new session through ``segments``, watched and silent."""
        self._watchdog.turns += 1
        self._watchdog.current = session
        with replay():
            session.instance.replay([(segment.seq, segment.events) for segment in segments], custom_status)
        self._watchdog.current = None
