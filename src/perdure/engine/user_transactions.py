"""Transactions that users write in: starts that become durable with a user's rows, and rows with an activity's completion."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection

from perdure.core.effects import DispatchActivity
from perdure.core.events import ExecutionStarted, TaskFailed
from perdure.core.failures import FailureDetails
from perdure.core.messages import Message, encode_message
from perdure.engine.activities import Settlement, Settling
from perdure.engine.nudges import MessagesStored, encode_nudges
from perdure.engine.recovery import outcome_id
from perdure.store.contract import Fence, StoredMessage, Transactions
from perdure.store.errors import LeaseLostError, StoreUnavailableError

_PAUSE = 1.0
_REMEMBERED = 10_000


class UserTransactions:
    """This engine's side of them."""

    def __init__(
        self,
        transactions: Transactions,
        *,
        partition: Callable[[str], int],
        fence: Callable[[DispatchActivity], Fence | None],
        done: Callable[[DispatchActivity, Settlement], None],
        want: Callable[[Collection[int]], None],
        failed: Callable[[BaseException], None],
        shared: bool,
    ) -> None:
        """``partition`` (of an instance) and ``fence`` (of an activity) are called in any thread.

        ``done`` is called for each settled activity; ``want`` when there may be something in the inboxes of partitions, whoever
        owns them. ``shared``: other engines may take activities over.
        """
        self._transactions = transactions
        self._partition = partition
        self._fence = fence
        self._done = done
        self._want = want
        self._failed = failed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open: set[int] = set()
        """Partitions for which something was written in a transaction that may not have ended."""
        self._watching: asyncio.Task[None] | None = None
        self._enlisted: OrderedDict[str, str] = OrderedDict()
        """The messages of starts whose callers may wait for them, by instance id."""
        self._telling: set[asyncio.Task[None]] = set()
        """Failures that are being written."""
        self.settling = Settling(
            transactions=transactions,
            fence=fence,
            stored=self._outcome,
            settled=self._on_settled,
            failed=self._on_failed if shared else None,
        )

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on messages can be enlisted."""
        self._loop = loop

    def stop(self) -> None:
        """Looks after nothing more: what is committed from now on, the next engine finds."""
        self._loop = None
        if self._watching is not None:
            self._watching.cancel()

    async def told(self) -> None:
        """Returns when no failure is on its way into the store."""
        while self._telling:
            await asyncio.wait(self._telling)

    def enlist(self, message: Message, connection: object) -> None:
        """Writes the start in the transaction on ``connection``. Any thread; blocks.

        Raises:
            UnusableConnectionError: see ``Transactions.enlist``.
        """
        stored = self._start(message)
        if not self._transactions.enlist(connection, stored, _nudge(stored)) and self._loop is not None:
            self._loop.call_soon_threadsafe(self._watch, stored.partition)

    async def enlist_async(self, message: Message, connection: object) -> None:
        """The same for connections that belong to the event loop."""
        stored = self._start(message)
        if not await self._transactions.enlist_async(connection, stored, _nudge(stored)) and self._loop is not None:
            self._watch(stored.partition)

    async def is_coming(self, instance_id: str) -> bool:
        """Whether a start that was enlisted here is committed, and will be looked at by the owner of the instance."""
        message_id = self._enlisted.get(instance_id)
        return message_id is not None and await self._transactions.waits(message_id)

    def _start(self, message: Message) -> StoredMessage:
        started = message.event
        assert isinstance(started, ExecutionStarted)
        message_id = self._enlisted[message.instance_id] = f"{started.execution_id}/start"
        if len(self._enlisted) > _REMEMBERED:
            self._enlisted.popitem(last=False)
        return self._stored(message_id, message)

    def _outcome(self, message: Message) -> StoredMessage:
        return self._stored(outcome_id(message), message)

    def _stored(self, message_id: str, message: Message) -> StoredMessage:
        return StoredMessage(message_id, message.instance_id, self._partition(message.instance_id), encode_message(message))

    def _on_settled(self, work: DispatchActivity, settlement: Settlement) -> None:
        self._done(work, settlement)
        self._conclude(work, settlement)

    def _conclude(self, work: DispatchActivity, settlement: Settlement) -> None:
        if settlement.unknown is not None:
            self._failed(settlement.unknown)  # recovery finds out, and dispatches it again if it isn't stored
        elif not settlement.refused:
            self._want((self._partition(work.instance_id),))

    def _on_failed(self, work: DispatchActivity, failure: FailureDetails) -> None:
        """Whoever has taken the activity over may commit it meanwhile, and then this failure must not be told."""
        fence = self._fence(work)
        if fence is not None:
            self._done(work, Settlement())
            event = TaskFailed(work.task_id, failure)
            message = self._outcome(Message(work.instance_id, event, work.execution_id, work.generation))
            task = asyncio.get_running_loop().create_task(self._tell(work, message, fence))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _tell(self, work: DispatchActivity, message: StoredMessage, fence: Fence) -> None:
        settlement = Settlement()
        try:
            async with self._transactions.begin_async() as transaction:
                await transaction.commit(message, fence)
        except LeaseLostError:
            settlement = Settlement(refused=True)
        except StoreUnavailableError as error:
            settlement = Settlement(unknown=error)
        except Exception as error:  # noqa: BLE001 - the engine decides what it means
            self._failed(error)
            return
        self._conclude(work, settlement)

    def _watch(self, partition: int) -> None:
        self._open.add(partition)
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        """Nothing tells when such a transaction ends. While one is open, and only then, this task asks."""
        try:
            while self._open:
                partitions = frozenset(self._open)
                self._open.clear()
                try:
                    await self._transactions.ended()
                except StoreUnavailableError:
                    self._open |= partitions
                    await asyncio.sleep(_PAUSE)  # the engine itself will meet the failure, and deal with it
                else:
                    self._want(partitions)
        except Exception as error:  # noqa: BLE001 - the engine decides what it means
            self._failed(error)
        finally:
            self._watching = None


def _nudge(message: StoredMessage) -> str:
    return encode_nudges([MessagesStored(message.partition)])[0]
