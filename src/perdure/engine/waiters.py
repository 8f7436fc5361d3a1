"""Callers who wait for an instance to begin or to end. No polling: the instance wakes them."""

import asyncio
from collections.abc import Iterable

from perdure.store.contract import InstanceRecord


class Waiters:
    """Futures by instance id."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[InstanceRecord | None]]] = {}
        self._beginning: dict[str, list[asyncio.Future[InstanceRecord | None]]] = {}

    def wait(self, instance_id: str) -> "asyncio.Future[InstanceRecord | None]":
        """A future of the instance's final record (with its last segment), once that is durable. Cancel it to stop waiting.

        ``None`` says that the end may have been missed: ask the store, and wait again if need be.
        """
        future: asyncio.Future[InstanceRecord | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(instance_id, []).append(future)
        return future

    def wait_for_begin(self, instance_id: str) -> "asyncio.Future[InstanceRecord | None]":
        """The same for its begin; the future says ``None`` then too: ask the store."""
        future: asyncio.Future[InstanceRecord | None] = asyncio.get_running_loop().create_future()
        self._beginning.setdefault(instance_id, []).append(future)
        return future

    @property
    def for_begin(self) -> bool:
        """Whether anybody waits for a begin at all."""
        return bool(self._beginning)

    def forget(self, instance_id: str, future: "asyncio.Future[InstanceRecord | None]") -> None:
        """The caller waits no longer."""
        for waiters in (self._waiting, self._beginning):
            waiting = waiters.get(instance_id)
            if waiting is not None and future in waiting:
                waiting.remove(future)
                if not waiting:
                    del waiters[instance_id]

    def begun(self, instance_id: str) -> None:
        """Wakes those who wait for the instance to begin."""
        for future in self._beginning.pop(instance_id, ()):
            if not future.done():
                future.set_result(None)

    def ended(self, instance_id: str, record: InstanceRecord) -> None:
        """Wakes all. They get the record from here, which saves each of them a query."""
        for future in self._waiting.pop(instance_id, ()):
            if not future.done():
                future.set_result(record)

    @property
    def instance_ids(self) -> list[str]:
        """Whose begin or end somebody waits for."""
        return [*self._waiting, *self._beginning]

    def look_again(self, instance_ids: Iterable[str]) -> None:
        """News of these may have been missed: whoever waits may wait for what has happened, or for what never will."""
        for instance_id in instance_ids:
            for future in (*self._waiting.pop(instance_id, ()), *self._beginning.pop(instance_id, ())):
                if not future.done():
                    future.set_result(None)

    def fail(self, error: Exception) -> None:
        """Tells all that the engine has stopped."""
        for future in self._take_all():
            if not future.done():
                future.set_exception(error)

    def _take_all(self) -> list["asyncio.Future[InstanceRecord | None]"]:
        lists = [*self._waiting.values(), *self._beginning.values()]
        self._waiting, self._beginning = {}, {}
        return [future for futures in lists for future in futures]
