"""An entity whose code is in another process. Pure: values in, values out.

Operations wait, durably, until a worker answers for a batch of them. Locks stay the engine's business: they change only while no
operation that may run is waiting, so that the operations of a batch stay the first in line until it is answered.
"""

from collections.abc import Sequence

from perdure.core import features
from perdure.core.answer_checks import InvalidAnswerError, StaleAnswerError
from perdure.core.answers import EntityAnswer, OrchestrationSent, Ticket
from perdure.core.effects import OfferWork, Sealed
from perdure.core.entity import Entity
from perdure.core.entity_id import EntityId
from perdure.core.entity_waiting import Operation, sender_of
from perdure.core.errors import PerdureError
from perdure.core.events import (
    EntityAction,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationSignaled,
    EntityUnlockSent,
    ExecutionStarted,
)
from perdure.core.ids import check_instance_id
from perdure.core.messages import Message
from perdure.core.turn import Turn

MAX_BATCH = 500
"""Operations in one work item, which has to fit into a message."""
_MAX_BATCH_BYTES = 1_000_000
"""Bytes of such operations; one alone may be larger. Clients of gRPC take messages of 4 MB, and the state goes with them."""
_BYTES_AROUND = 300
"""Of an operation, besides its texts: ids, times and names of fields."""


class RemoteEntity(Entity):
    """One entity in memory. Single-threaded; dropped when its commit fails, read from the store when needed again."""

    __slots__ = ()

    @property
    def registered(self) -> bool:
        """A worker may have its function at any time."""
        return True

    @property
    def pending(self) -> int:  # type: ignore[override]
        """Whether a worker has to answer: that has to get going again after a restart."""
        return 1 if self.runnable(1) else 0

    @property
    def wake_at(self) -> int | None:
        """The earliest scheduled signal."""
        return self._scheduled[0].scheduled_time if self._scheduled else None

    @property
    def ticket(self) -> Ticket:
        """Of the answer that is due."""
        return "", self.created_at, self._decisions, 0

    @property
    def state_text(self) -> str | None:
        """JSON text; ``None``: it doesn't exist."""
        return self._state

    def runnable(self, limit: int) -> list[Operation]:
        """The first operations that may run now: no more than ``limit``, and no more than fit into a message."""
        found: list[Operation] = []
        room = _MAX_BATCH_BYTES
        lock = self._lock
        for event in self._waiting:
            if isinstance(event, EntityUnlockSent):
                break
            if isinstance(event, EntityLockRequested):
                if lock is None:
                    break
            elif lock is None or sender_of(event) == lock.owner:
                room -= _size(event)
                if found and room < 0:
                    break
                found.append(event)
                if len(found) == limit:
                    break
        return found

    # --- turns ----------------------------------------------------------------------------------------------------

    def decide(self, ticket: Ticket, at: int, offered: int, answer: EntityAnswer, now_us: int) -> Turn:
        """Applies a worker's answer to a batch of ``offered`` operations.

        Raises:
            StaleAnswerError: another answer is due, or none.
            InvalidAnswerError: it can't be applied.
        """
        del at  # entities see no time of their own
        if ticket != self.ticket:
            raise StaleAnswerError(f"the answer for entity '{self.instance_id}' is obsolete: it was answered before")
        count = len(answer.results)
        done = self.runnable(count)
        if not 0 < len(done) == count <= offered:
            raise InvalidAnswerError(f"the worker answered {count} of {offered} operations of entity '{self.instance_id}'")
        messages = self._messages(answer)
        turn = self._turn = Turn(now_us)
        self._effects = []
        self._now_us = now_us
        self._decisions += 1
        self._state = answer.state
        answered = set(map(id, done))
        self._waiting = type(self._waiting)(event for event in self._waiting if id(event) not in answered)
        for operation, result in zip(done, answer.results, strict=True):
            parent = operation.parent if isinstance(operation, EntityOperationCalled) else None
            if result.failure is not None:
                self._failed(operation, result.failure)
            elif parent is not None:
                self._answer(parent, EntityOperationCompleted(parent.task_id, result.result))
        turn.messages += messages
        self._take_waiting()
        self._close_turn(turn)
        return turn

    def _has_code(self) -> bool:
        return True

    def _close_turn(self, turn: Turn) -> None:
        self._save(turn)
        runnable = self.runnable(MAX_BATCH)
        if runnable:
            turn.asked = OfferWork(self.instance_id, self.ticket, len(runnable), self.name)
        turn.effects = Sealed(self._effects)

    def _messages(self, answer: EntityAnswer) -> Sequence[Message]:
        messages: list[Message] = []
        for sent in answer.sent:
            try:
                messages.append(self._message(sent))
            except PerdureError as error:
                problem = f"the answer of entity '{self.instance_id}' can't be: {type(sent).__name__}: {error}"
                raise InvalidAnswerError(problem) from error
        return messages

    def _message(self, sent: EntityOperationSignaled | OrchestrationSent) -> Message:
        if isinstance(sent, EntityOperationSignaled):
            target = str(EntityId.parse(sent.entity))
            signal = EntityOperationSignaled(
                target, sent.operation, input=sent.input, scheduled_time=sent.scheduled_time, sender=self.instance_id
            )
            return Message(target, signal)
        instance_id = sent.instance_id
        if instance_id is None:
            instance_id = self._make_id()
        else:
            check_instance_id(instance_id)
        started = ExecutionStarted(
            name=sent.name,
            execution_id=self._make_id(),
            input=sent.input,
            version=sent.version,
            start_at=sent.start_at,
            features=features.CURRENT,
            trace=sent.trace,
        )
        return Message(instance_id, started)

    # --- one message ----------------------------------------------------------------------------------------------

    def _take(self, event: EntityAction) -> None:
        self._waiting.append(event)
        if not isinstance(event, EntityOperationSignaled | EntityOperationCalled):
            self._take_waiting()

    def _take_again(self) -> None:
        self._take_waiting()  # all else goes on waiting anyway

    def _take_waiting(self) -> None:
        """Everything that needs no code: locks and releases whose turn it is."""
        while self._waiting and not self.runnable(1):
            if self._lock is None and isinstance(first := self._waiting[0], EntityLockRequested):
                self._waiting.popleft()
                self._grant(first)
                continue
            release = next((event for event in self._waiting if isinstance(event, EntityUnlockSent)), None)
            if release is None:
                return
            self._waiting.remove(release)
            self._settle(release)


def _size(operation: Operation) -> int:
    """No less than its bytes on the wire."""
    texts = (operation.operation, operation.input or "")
    return _BYTES_AROUND + sum(len(text) if text.isascii() else 4 * len(text) for text in texts)
