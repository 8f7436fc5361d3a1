"""Messages that lie in the store: what another engine, another transaction, or an earlier life of this engine has left here."""

import asyncio
from collections.abc import Callable, Collection, Iterable

from perdure.engine.envelopes import Envelope, Origin, Reply
from perdure.engine.stored_bodies import decode_body
from perdure.store.contract import Store, StoredMessage

_PAGE = 500
_ALL = 50_000
"""How many are read at a time when partitions are taken: all of them have to be in memory before the first is handled."""
_ENOUGH = 2_000
"""Messages in memory beyond which no more are fetched, until these are handled."""


class Inbox:
    """Reads each stored message once. Those of one sender come in the order in which they were sent."""

    def __init__(
        self,
        store: Store,
        reply: Callable[[str], Reply] | None,
        readable: Callable[[], Collection[int]],
        post: Callable[[list[Envelope]], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """``post`` takes what was fetched; ``reply`` makes the reply of a request from its message id, where others may ask.

        ``readable``: the partitions whose messages may be fetched. Those of the others are all read at once, by ``everything``.
        """
        self._store = store
        self._reply = reply
        self._readable = readable
        self._post = post
        self._failed = failed
        self.held: set[str] = set()
        """Ids of the stored messages that are in memory, or will be stored with the batch that is being filled."""
        self._left: set[str] | None = None
        """Ids that were handled while a read is going on, which may find them still."""
        self._wanted: set[int] = set()
        self._reading = asyncio.Lock()
        """Held from the question to where the answer lies in the queue."""
        self._task: asyncio.Task[None] | None = None

    def want(self, partitions: Iterable[int]) -> None:
        """There may be something in these: reads on, as soon as there is room."""
        self._wanted.update(partitions)
        if self._wanted and self._task is None and len(self.held) < _ENOUGH:
            self._task = asyncio.get_running_loop().create_task(self._fetch())

    def handled(self, message_ids: Iterable[str]) -> None:
        """These are consumed, durably."""
        self.held.difference_update(message_ids)
        if self._left is not None:
            self._left.update(message_ids)
        if self._wanted:
            self.want(())

    def stop(self) -> None:
        """Forgets everything: what is held will be read again."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._wanted.clear()
        self.held.clear()

    async def everything(self, partitions: Iterable[int]) -> list[Envelope]:
        """All that these partitions have and that isn't in memory. What is fetched later comes behind it.

        Raises:
            StoreUnavailableError: the store can't be read.
        """
        asked = list(partitions)
        found: list[Envelope] = []
        async with self._reading:
            try:
                more = True
                while more:
                    page, more = await self._read(asked, _ALL)
                    found += page
            except BaseException:
                self.held.difference_update(envelope.message_id for envelope in found)  # nobody gets them
                raise
        return found

    async def _fetch(self) -> None:
        try:
            while len(self.held) < _ENOUGH:
                async with self._reading:
                    partitions = self._wanted.intersection(self._readable())
                    self._wanted.clear()  # what isn't readable is read, or wanted again, when it is
                    if not partitions:
                        return
                    page, more = await self._read(list(partitions), _PAGE)
                    self._post(page)
                if more:
                    self._wanted |= partitions
        except Exception as error:  # noqa: BLE001 - the engine decides what a failed store means
            self._failed(error)
        finally:
            if self._task is asyncio.current_task():
                self._task = None

    async def _read(self, partitions: list[int], limit: int) -> tuple[list[Envelope], bool]:
        """At most ``limit`` messages, and whether there may be more."""
        # No paging by id: of two messages of one sender the later might then be found before the earlier.
        left = self._left = set[str]()
        try:
            page = await self._store.inbox(partitions, list(self.held), limit)
        finally:
            self._left = None
        fresh = [stored for stored in page if stored.message_id not in self.held and stored.message_id not in left]
        self.held.update(stored.message_id for stored in fresh)
        return [self._envelope(stored) for stored in fresh], len(page) == limit

    def _envelope(self, stored: StoredMessage) -> Envelope:
        body = decode_body(stored.body)
        return Envelope(
            stored.instance_id,
            body.message,
            Origin.INSTANCE,
            reply=self._reply(stored.message_id) if body.wants_answer and self._reply is not None else None,
            message_id=stored.message_id,
            stored=True,
            purge=body.purge,
        )
