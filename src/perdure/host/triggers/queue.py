"""Queue triggers and outputs: each message is handled at least once; one that keeps failing ends in the poison queue."""

import asyncio
import base64
import binascii
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import httpx
import msgspec
from azure.functions import QueueMessage
from azure.functions.queue import QueueMessage as ReceivedQueueMessage

from perdure.host.model import Output, QueueTrigger, TriggeredFunction
from perdure.host.triggers.app_settings import expand
from perdure.host.triggers.errors import FunctionResultError, QueueServiceError
from perdure.host.triggers.invoke import Invoker, log_failure
from perdure.host.triggers.storage_queue import QueueAccount, ReceivedMessage, StorageQueue

_FIRST_PAUSE = 0.1
_log = logging.getLogger("perdure.functions")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOptions:
    """What the host's configuration says about queues; names and defaults are those of ``extensions.queues`` in host.json."""

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    max_polling_interval: timedelta = timedelta(minutes=1)
    visibility_timeout: timedelta = timedelta(0)
    """How long a message rests after a failure."""
    base64: bool = True
    """Whether message texts are Base64; what can't be decoded is taken as it is."""
    hold: timedelta = timedelta(minutes=1)
    """How long a message is hidden from others while it is handled; renewed at half of it, so a dead host delays it by this."""


class Queues:
    """The queues of one app: implements ``invoke.QueueSender``, and makes the listeners of its triggers."""

    def __init__(self, options: QueueOptions, settings: Mapping[str, str]) -> None:
        self._options = options
        self._settings = settings
        self._http: httpx.AsyncClient | None = None
        self._known: dict[tuple[str, str], StorageQueue] = {}

    async def send(self, output: Output, value: object, function: TriggeredFunction) -> None:
        """Puts a value on its queue; a list or tuple as one message for each item.

        Raises:
            QueueConnectionError, MissingAppSettingError: there is no such connection.
            QueueServiceError: the service refused, or can't be reached.
            FunctionResultError: the value is no message.
        """
        queue = self._queue(output.queue_name, output.connection, function)
        for item in cast("Iterable[object]", value) if isinstance(value, list | tuple) else (value,):
            await queue.put(self._encoded(_content(item, output, function)))

    def listener(self, function: TriggeredFunction, trigger: QueueTrigger, invoker: Invoker) -> "QueueListener":
        """What handles the messages for a function, once it is started.

        Raises:
            QueueConnectionError, MissingAppSettingError: there is no such connection.
        """
        queue = self._queue(trigger.queue_name, trigger.connection, function)
        poison = self._queue(f"{queue.name}-poison", trigger.connection, function)
        return QueueListener(function, trigger, invoker, queue, poison, self._options)

    async def close(self) -> None:
        """Closes the connections."""
        if self._http is not None:
            await self._http.aclose()

    def _queue(self, name: str, connection: str, function: TriggeredFunction) -> StorageQueue:
        where = f"function '{function.name}' ({function.place})"
        name = expand(name, self._settings, where)
        queue = self._known.get((name, connection))
        if queue is None:
            account = QueueAccount.of_connection(connection, self._settings, where)
            if self._http is None:
                self._http = httpx.AsyncClient(timeout=30)
            queue = self._known[(name, connection)] = StorageQueue(self._http, account, name)
        return queue

    def _encoded(self, content: bytes) -> str:
        return base64.b64encode(content).decode() if self._options.base64 else content.decode()


class QueueListener:
    """Takes the messages of one queue while it is started, a bounded number at a time."""

    def __init__(
        self,
        function: TriggeredFunction,
        trigger: QueueTrigger,
        invoker: Invoker,
        queue: StorageQueue,
        poison: StorageQueue,
        options: QueueOptions,
    ) -> None:
        self._function = function
        self._trigger = trigger
        self._invoker = invoker
        self._queue = queue
        self._poison = poison
        self._options = options
        self._running: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._poll: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to listen."""
        self._poll = asyncio.get_running_loop().create_task(self._listen())

    async def stop(self, grace: timedelta) -> None:
        """Takes no more messages, and gives those that are being handled that long. What is left is handled again later."""
        if self._poll is None:
            return
        self._poll.cancel()
        await asyncio.gather(self._poll, return_exceptions=True)
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=grace.total_seconds())
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _listen(self) -> None:
        pause = _FIRST_PAUSE
        failing = False
        while True:
            while len(self._running) > self._options.new_batch_threshold:
                self._room.clear()
                await self._room.wait()
            try:
                messages = await self._queue.receive(self._options.batch_size, self._options.hold)
            except QueueServiceError as error:
                if not failing:
                    _log.warning("function '%s' gets no messages for now: %s", self._function.name, error)
                failing = True
                messages = []
            else:
                if failing:
                    _log.info("function '%s' gets messages again from queue '%s'", self._function.name, self._queue.name)
                failing = False
            for message in messages:
                task = asyncio.get_running_loop().create_task(self._handle(message))
                self._running.add(task)
                task.add_done_callback(self._handled)
            if messages:
                pause = _FIRST_PAUSE
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._options.max_polling_interval.total_seconds())

    def _handled(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._room.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a message of queue '%s' could not be settled, so it comes back: %s", self._queue.name, error)

    async def _handle(self, message: ReceivedMessage) -> None:
        hold = _Hold(self._queue, message, self._options.hold)
        if message.dequeue_count > self._options.max_dequeue_count:
            await self._give_up(message, hold)  # it never got as far as to fail: it ended the host each time
            return
        renewing = asyncio.get_running_loop().create_task(hold.renew())
        failed = False
        try:
            await self._invoker.call(self._function, {self._trigger.parameter: self._shown(message)})
        except Exception as error:  # noqa: BLE001 - user code
            log_failure(self._function, error)
            failed = True
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
        if not failed:
            if not await self._queue.delete(message.id, hold.receipt):
                _log.warning("a message of queue '%s' was handled, but was taken by another meanwhile", self._queue.name)
        elif message.dequeue_count >= self._options.max_dequeue_count:
            await self._give_up(message, hold)
        else:
            await self._queue.hide(message.id, hold.receipt, self._options.visibility_timeout)

    async def _give_up(self, message: ReceivedMessage, hold: "_Hold") -> None:
        await self._poison.put(message.text)
        await self._queue.delete(message.id, hold.receipt)
        _log.error(
            "message %s of queue '%s' was tried %d times by function '%s' and now is in queue '%s'",
            message.id,
            self._queue.name,
            self._options.max_dequeue_count,
            self._function.name,
            self._poison.name,
        )

    def _shown(self, message: ReceivedMessage) -> ReceivedQueueMessage:
        return ReceivedQueueMessage(
            id=message.id,
            body=_decoded(message.text) if self._options.base64 else message.text,
            dequeue_count=message.dequeue_count,
            expiration_time=message.expires,
            insertion_time=message.inserted,
            time_next_visible=message.time_next_visible,
            pop_receipt=message.pop_receipt,
        )


class _Hold:
    """Keeps a message hidden from others. The receipt changes with every renewal."""

    def __init__(self, queue: StorageQueue, message: ReceivedMessage, length: timedelta) -> None:
        self._queue = queue
        self._id = message.id
        self._length = length
        self.receipt = message.pop_receipt

    async def renew(self) -> None:
        """Until cancelled, or until the message is lost. A cancel waits for the answer, or the new receipt would be lost."""
        while True:
            await asyncio.sleep(self._length.total_seconds() / 2)
            renewal = asyncio.get_running_loop().create_task(self._renew_once())
            try:
                await asyncio.shield(renewal)
            except asyncio.CancelledError:
                await renewal
                raise

    async def _renew_once(self) -> None:
        try:
            self.receipt = await self._queue.hide(self._id, self.receipt, self._length) or self.receipt
        except QueueServiceError as error:
            _log.warning("the hold on a message of queue '%s' could not be renewed: %s", self._queue.name, error)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return text.encode()


def _content(item: Any, output: Output, function: TriggeredFunction) -> bytes:
    match item:
        case str():
            return item.encode()
        case bytes():
            return item
        case QueueMessage():
            return item.get_body()
        case dict():
            return msgspec.json.encode(item)
        case _:
            raise FunctionResultError(
                f"function '{function.name}' ({function.place}) gave a {type(item).__name__} to queue '{output.queue_name}'. "
                "Give a str, bytes, func.QueueMessage or dict, or a list of them."
            )
