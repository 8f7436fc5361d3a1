"""Callers who wait for an instance to end. No polling: the end of the instance wakes them."""

import asyncio


class Waiters:
    """Futures by instance id."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def wait(self, instance_id: str) -> "asyncio.Future[None]":
        """A future that is done when the instance has ended, durably. Cancel it to stop waiting."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(instance_id, []).append(future)
        return future

    def forget(self, instance_id: str, future: "asyncio.Future[None]") -> None:
        """The caller waits no longer."""
        waiting = self._waiting.get(instance_id)
        if waiting is not None and future in waiting:
            waiting.remove(future)
            if not waiting:
                del self._waiting[instance_id]

    def ended(self, instance_id: str) -> None:
        """Wakes all."""
        for future in self._waiting.pop(instance_id, ()):
            if not future.done():
                future.set_result(None)

    def fail(self, error: Exception) -> None:
        """Tells all that the engine has stopped."""
        waiting, self._waiting = self._waiting, {}
        for futures in waiting.values():
            for future in futures:
                if not future.done():
                    future.set_exception(error)
