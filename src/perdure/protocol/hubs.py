"""Which task hubs a server has, and the one that a call is for."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from perdure.core.messages import ReusePolicy
from perdure.engine.errors import EngineStoppedError
from perdure.hub import TaskHub
from perdure.protocol.errors import TaskHubFixedError, TooManyTaskHubsError, UnknownTaskHubError, shown
from perdure.protocol.hub_urls import DEFAULT_HUB, hub_key, url_of_hub
from perdure.store.contract import HubStore
from perdure.store.deleting import delete_store
from perdure.store.errors import HubMissingError
from perdure.store.opening import open_store


@dataclass(frozen=True, slots=True)
class ServedHub:
    """An open hub and the name that calls know it by (in small letters)."""

    name: str
    hub: TaskHub
    reuse_policy: ReusePolicy = ReusePolicy.RAISE
    """For starts that bring none: the SDKs' own servers refuse an id that is taken."""


class TaskHubs(Protocol):
    """The hubs of a server. Names ignore case; ``None`` stands for a call that names none."""

    async def get(self, name: str | None) -> ServedHub:
        """The hub of that name, open; made on first use where the server may.

        Raises:
            UnknownTaskHubError: there is none, and can't be.
            TooManyTaskHubsError: others would have to be closed first.
            StoreError: it can't be opened.
        """
        ...

    def opened(self, name: str | None) -> ServedHub | None:
        """The same where it takes no waiting."""
        ...

    async def create(self, name: str | None, *, recreate: bool) -> None:
        """Makes the hub if it doesn't exist. ``recreate``: deletes everything in it first.

        Raises:
            TaskHubFixedError: only whoever runs the server can.
            UnknownTaskHubError, TooManyTaskHubsError, StoreError: as ``get``.
        """
        ...

    async def delete(self, name: str | None) -> None:
        """Deletes the hub with everything in it. One that doesn't exist is fine.

        Raises:
            TaskHubFixedError, UnknownTaskHubError, StoreError: as ``create``.
        """
        ...

    async def close(self) -> None:
        """Drains and closes what this object has opened."""
        ...


class SingleHub:
    """One hub, which somebody else opens and closes: that of a functions host."""

    def __init__(self, name: str, hub: TaskHub, *, reuse_policy: ReusePolicy = ReusePolicy.RAISE) -> None:
        """``reuse_policy`` is for starts that bring none."""
        self._served = ServedHub(name.casefold(), hub, reuse_policy)

    async def get(self, name: str | None) -> ServedHub:
        """See ``TaskHubs.get``."""
        if name is not None and name.casefold() != self._served.name:
            raise UnknownTaskHubError(
                f"this server has the task hub '{self._served.name}' only, not {shown(name)}. Change the client's task hub."
            )
        return self._served

    def opened(self, name: str | None) -> ServedHub | None:
        """See ``TaskHubs.opened``."""
        return self._served if name is None or name.casefold() == self._served.name else None

    async def create(self, name: str | None, *, recreate: bool) -> None:
        """See ``TaskHubs.create``."""
        await self.get(name)
        if recreate:
            raise self._fixed()

    async def delete(self, name: str | None) -> None:
        """See ``TaskHubs.delete``."""
        await self.get(name)
        raise self._fixed()

    async def close(self) -> None:
        """Leaves the hub to whoever opened it."""

    def _fixed(self) -> TaskHubFixedError:
        return TaskHubFixedError(
            f"the task hub '{self._served.name}' belongs to the app of this host and can't be deleted through it. "
            "Stop the host and delete its store, or purge its instances."
        )


class StoredHubs:
    """Any number of hubs, one store each, opened on first use and kept open until ``close``.

    The hub ``default`` is the store at the URL itself; the others lie beside it (see ``hub_urls``).
    """

    def __init__(self, url: str, make: Callable[[HubStore], TaskHub], *, max_open: int) -> None:
        """``make`` constructs the hub of a store; it is started and closed here."""
        self._url = url
        self._make = make
        self._max_open = max_open
        self._open: OrderedDict[str, ServedHub] = OrderedDict()
        self._changing = asyncio.Lock()
        self._closed = False

    async def get(self, name: str | None) -> ServedHub:
        """See ``TaskHubs.get``. A call that names none is for ``default``."""
        served = self.opened(name)
        if served is not None:
            return served
        key = hub_key(name)
        async with self._changing:
            return self._open.get(key) or await self._start(key)

    def opened(self, name: str | None) -> ServedHub | None:
        """See ``TaskHubs.opened``."""
        return self._open.get(hub_key(name))

    async def find(self, name: str | None) -> ServedHub:
        """As ``get``, but makes no hub, so that a slip in a name doesn't pass for an empty one; ``None`` is ``default``.

        Raises:
            UnknownTaskHubError: there is none.
            TooManyTaskHubsError, StoreError: as ``get``.
        """
        key = hub_key(name)
        served = self._open.get(key)
        if served is not None:
            return served
        async with self._changing:
            served = self._open.get(key)
            try:
                # In memory, those that aren't open are gone.
                if served is None and not self._url.lower().startswith("memory:"):
                    served = await self._start(key, make=False)
            except HubMissingError:
                served = None
        if served is None:
            raise UnknownTaskHubError(
                f"there is no task hub '{key}'. Take the name of one that exists, or let a client or worker make it."
            )
        return served

    @property
    def work_at_workers(self) -> int:
        """Work items that the workers of all open hubs have."""
        return sum(served.hub.work_at_workers for served in self._open.values())

    async def create(self, name: str | None, *, recreate: bool) -> None:
        """See ``TaskHubs.create``."""
        if recreate:
            await self.delete(name)
        await self.get(DEFAULT_HUB if name is None else name)

    async def delete(self, name: str | None) -> None:
        """See ``TaskHubs.delete``."""
        key = hub_key(name)
        async with self._changing:
            served = self._open.get(key)
            if served is not None:
                await served.hub.close()  # while it can be found, so that its workers can answer
                self._open.pop(key, None)
            await delete_store(url_of_hub(self._url, key))

    async def close(self) -> None:
        """See ``TaskHubs.close``."""
        async with self._changing:
            self._closed = True
            await asyncio.gather(*(served.hub.close() for served in self._open.values()))
            self._open.clear()

    async def _start(self, key: str, *, make: bool = True) -> ServedHub:
        if self._closed:
            raise EngineStoppedError("the server is closing; its task hubs are closed")
        if len(self._open) >= self._max_open:
            raise TooManyTaskHubsError(
                f"{len(self._open)} task hubs are open, which is the limit (max_hubs). Delete one, or raise the limit."
            )
        hub = self._make(open_store(url_of_hub(self._url, key), make=make))
        await hub.start()
        served = self._open[key] = ServedHub(key, hub)
        return served
