"""Hydrated instances, least recently used first, within bounds of number, bytes and idle time (rule 6)."""

from collections import OrderedDict

import msgspec

from perdure.core.hydrated import Hydrated
from perdure.engine.replaying import replay


class Session(msgspec.Struct, eq=False):
    """One hydrated instance. While turns are uncommitted it is ahead of the store and stays."""

    instance: Hydrated
    partition: int
    armed: int | None = None
    """The wake-up that the timer index knows of."""
    uncommitted: int = 0
    last_used: int = 0
    size: int = 0

    def close(self) -> None:
        """Dehydrates."""
        if not self.instance.ended:
            with replay():
                self.instance.close()


class Sessions:
    """The cache. Times are microseconds of the engine's clock."""

    def __init__(self, max_count: int, max_bytes: int, idle_us: int) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._idle_us = idle_us
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def bytes(self) -> int:
        """Estimated memory."""
        return self._bytes

    @property
    def ids(self) -> list[str]:
        """The instances in memory."""
        return list(self._sessions)

    def get(self, instance_id: str) -> Session | None:
        """The session, if it is hot."""
        return self._sessions.get(instance_id)

    def add(self, instance_id: str, session: Session) -> None:
        """Takes a new session in; one of the same id must be gone."""
        self._sessions[instance_id] = session
        session.size = session.instance.size
        self._bytes += session.size

    def used(self, instance_id: str, session: Session, now_us: int) -> None:
        """The session had a turn."""
        session.last_used = now_us
        size = session.instance.size
        self._bytes += size - session.size
        session.size = size
        self._sessions.move_to_end(instance_id)

    def drop(self, instance_id: str) -> None:
        """Dehydrates one."""
        session = self._sessions.pop(instance_id, None)
        if session is not None:
            self._bytes -= session.size
            session.close()

    def drop_all(self) -> None:
        """Dehydrates all, whatever their state: they may be ahead of the store."""
        for instance_id in list(self._sessions):
            self.drop(instance_id)

    def evict(self, now_us: int) -> None:
        """Dehydrates from the least recently used on until all bounds hold."""
        oldest_allowed = now_us - self._idle_us
        pinned = 0
        while len(self._sessions) > pinned:
            instance_id, session = next(iter(self._sessions.items()))
            over = len(self._sessions) > self._max_count or self._bytes > self._max_bytes
            if not over and session.last_used > oldest_allowed:
                return
            if session.uncommitted:
                self._sessions.move_to_end(instance_id)
                pinned += 1
                if pinned > 16:
                    return  # mostly busy sessions: the next commit tries again
            else:
                self.drop(instance_id)
