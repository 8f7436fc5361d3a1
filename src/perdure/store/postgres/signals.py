"""Nudges: short texts from any store of the hub to all of them, by LISTEN and NOTIFY."""

import asyncio
from collections.abc import Callable
from typing import Any

from perdure.store.contract import MAX_NUDGE_BYTES
from perdure.store.errors import StoreError
from perdure.store.postgres.session import WITHOUT_FLUSH, Connection, Counters, Session
from perdure.store.postgres.target import Target
from perdure.store.refusals import not_open, nudge_too_long

_CHECK_SECONDS = 30.0
_FIRST_RETRY_SECONDS = 0.1
_LAST_RETRY_SECONDS = 5.0
Heard = Callable[[str | None], None]


class Signals:
    """A connection that listens, made anew after every loss, and that sends too.

    It never waits for the disk: the server holds a lock over all notifications of the database while a transaction that has
    some is committed.
    """

    def __init__(self, name: str, target: Target, counters: Counters) -> None:
        self._name = name
        self._target = target
        self._session = Session(target, counters, WITHOUT_FLUSH)
        self._heard: list[Heard] = []
        self._keeping: asyncio.Task[None] | None = None
        self._texts: list[tuple[str, asyncio.Future[None]]] = []
        self._sending: asyncio.Task[None] | None = None
        self._using = asyncio.Lock()
        self._lost = asyncio.Event()

    def add(self, heard: Heard) -> None:
        """``heard`` gets all texts after the next ``open``."""
        self._heard.append(heard)

    async def open(self) -> None:
        """Listens from now on, if anybody wants to hear."""
        if self._heard:
            await self._listen()
        self._keeping = asyncio.get_running_loop().create_task(self._keep_listening())

    async def close(self) -> None:
        """Sends what is waiting, then ends the connection."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait([keeping])
        if self._sending is not None:
            await asyncio.wait([self._sending])
        await self._session.close()

    def send(self, text: str) -> asyncio.Future[None]:
        """Sends to all who listen. What is called while others are being sent goes along in one round trip.

        Raises:
            StoreUnavailableError: not open.
            EngineInvariantError: the text is too long.
        """
        if self._keeping is None:
            raise not_open(self._name)
        size = len(text.encode())
        if size > MAX_NUDGE_BYTES:
            raise nudge_too_long(size)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._texts.append((text, future))
        if self._sending is None:
            self._sending = loop.create_task(self._send())
        return future

    async def _send(self) -> None:
        try:
            while self._texts:
                batch, self._texts = self._texts, []
                error: BaseException | None = None
                try:
                    async with self._using:
                        await self._session.fetch(
                            "SELECT pg_notify($1, text) FROM unnest($2::text[]) AS text",
                            self._target.channel,
                            [text for text, _ in batch],
                        )
                except StoreError as raised:
                    error = raised
                for _, future in batch:
                    if future.done():
                        continue
                    if error is None:
                        future.set_result(None)
                    else:
                        future.set_exception(error)
        finally:
            self._sending = None

    async def _listen(self) -> None:
        async with self._using:
            await self._session.use(self._add_listener)

    async def _add_listener(self, connection: Connection) -> None:
        self._lost.clear()
        connection.add_termination_listener(lambda _: self._lost.set())
        await connection.add_listener(self._target.channel, self._pass_on)

    def _pass_on(self, _connection: object, _pid: int, _channel: str, text: Any) -> None:
        if self._keeping is not None:
            self._tell(str(text))

    def _tell(self, text: str | None) -> None:
        for heard in self._heard:
            heard(text)

    async def _keep_listening(self) -> None:
        retry = _FIRST_RETRY_SECONDS
        while self._heard:
            if not self._lost.is_set():
                await self._wait_for_loss()
                continue
            try:
                await self._listen()
            except StoreError:
                await asyncio.sleep(retry)
                retry = min(retry * 2, _LAST_RETRY_SECONDS)
            else:
                retry = _FIRST_RETRY_SECONDS
                self._tell(None)

    async def _wait_for_loss(self) -> None:
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await self._lost.wait()
        except TimeoutError:
            # A network that swallows everything loses a connection without telling anybody.
            try:
                async with self._using:
                    await self._session.fetch("SELECT 1")
            except StoreError:
                self._lost.set()
