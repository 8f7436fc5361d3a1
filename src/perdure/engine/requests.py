"""Calls of clients that concern the instances of another engine: they go through its inbox, and it answers with a nudge."""

import asyncio
import os
from collections.abc import Callable, Iterable
from itertools import count

import msgspec

from perdure.core.entity_id import is_entity
from perdure.core.errors import PerdureError
from perdure.core.events import ExecutionStarted, ExecutionTerminated
from perdure.core.messages import ReusePolicy
from perdure.core.status import TERMINAL_STATUSES
from perdure.engine.envelopes import Envelope
from perdure.engine.errors import (
    CommitFailedError,
    InstanceAlreadyExistsError,
    InstanceFinishedError,
    InstanceNotFoundError,
    InstanceRunningError,
    NobodyAnswersError,
)
from perdure.engine.nudges import Answered, Hint, answered
from perdure.engine.stored_bodies import encode_request
from perdure.store.contract import Queries, Sharing, StoredMessage

_ERRORS: dict[str, type[PerdureError]] = {
    error.code: error
    for error in (
        CommitFailedError,
        InstanceAlreadyExistsError,
        InstanceFinishedError,
        InstanceNotFoundError,
        InstanceRunningError,
    )
}


class AnswerByNudge:
    """The reply of a request that another engine has stored here."""

    __slots__ = ("_add", "_message_id")

    def __init__(self, message_id: str, add: Callable[[Hint], None]) -> None:
        self._message_id = message_id
        self._add = add

    def done(self) -> bool:
        """Nobody here knows whether the other side still waits."""
        return False

    def set_result(self, result: None, /) -> None:
        """It has succeeded."""
        self._add(answered(self._message_id, None))

    def set_exception(self, exception: Exception, /) -> None:
        """It has failed."""
        error = exception if isinstance(exception, PerdureError) else CommitFailedError(str(exception))
        self._add(answered(self._message_id, error.code, error.message))


class _Pending(msgspec.Struct):
    envelope: Envelope
    asked_at: float
    stored: bool = False
    """Durable: not earlier does its absence say that it has been handled."""
    looked: bool = False
    """The message was gone already when somebody looked, but the answer may still be on its way."""


class Requests:
    """Those that wait for another engine. Each gets an answer: by nudge, from what the store says, or that nobody answers."""

    def __init__(self, owner: str, sharing: Sharing, queries: Queries, patience: float) -> None:
        """``patience``: seconds that a request may lie in the inbox of an engine before its caller is told."""
        self._prefix = f"{owner}/{os.urandom(4).hex()}"
        self._sharing = sharing
        self._queries = queries
        self._patience = patience
        self._numbers = count()
        self._pending: dict[str, _Pending] = {}

    def store(self, envelope: Envelope, partition: int) -> StoredMessage:
        """The request as a message for the inbox of ``partition``. Later ones have greater ids, so they are handled in order."""
        message_id = f"{self._prefix}/{next(self._numbers):012d}"
        if envelope.reply is not None:
            self._pending[message_id] = _Pending(envelope, asyncio.get_running_loop().time())
        return StoredMessage(message_id, envelope.instance_id, partition, encode_request(envelope))

    def stored(self, message_ids: Iterable[str]) -> None:
        """The requests are durable."""
        for message_id in message_ids:
            if (pending := self._pending.get(message_id)) is not None:
                pending.stored = True

    def answered(self, answer: Answered) -> None:
        """An engine has answered somebody."""
        pending = self._pending.pop(answer.message_id, None)
        if pending is None:
            return
        if answer.code is None:
            pending.envelope.answer(None)
            return
        pending.envelope.answer(_ERRORS.get(answer.code, CommitFailedError)(answer.text))

    def forget(self, envelopes: Iterable[Envelope]) -> None:
        """These were not stored, or their callers have been told that it isn't known."""
        forgotten = {id(envelope) for envelope in envelopes}
        self._pending = {key: one for key, one in self._pending.items() if id(one.envelope) not in forgotten}

    def fail(self, error: Exception) -> None:
        """Nobody will hear the answers."""
        pending, self._pending = self._pending, {}
        for one in pending.values():
            one.envelope.answer(error)

    async def look(self) -> None:
        """Finds out about those whose answer may have been lost: is the message consumed, and what has it done?

        Raises:
            StoreUnavailableError: the store can't be asked.
        """
        now = asyncio.get_running_loop().time()
        for message_id in [key for key, pending in self._pending.items() if _done(pending.envelope)]:
            del self._pending[message_id]
        asked = [key for key, pending in self._pending.items() if pending.stored]
        if not asked:
            return
        waiting = await self._sharing.still_stored(asked)
        for message_id in asked:
            pending = self._pending.get(message_id)
            if pending is None:
                continue
            if message_id not in waiting:
                if pending.looked:
                    verdict = await self._judge(pending.envelope)  # which may fail; then the next look comes back to it
                    pending.envelope.answer(verdict)
                    self._pending.pop(message_id, None)
                pending.looked = True
            elif now - pending.asked_at > self._patience:
                del self._pending[message_id]
                pending.envelope.answer(
                    NobodyAnswersError(
                        f"the request for instance '{pending.envelope.instance_id}' is stored and will be handled, but no engine "
                        f"has done so in {self._patience:g} s. Is one running that owns partitions ('perdure store status')?"
                    )
                )

    async def _judge(self, envelope: Envelope) -> Exception | None:
        """What a handled request has come to, as far as the instance shows it."""
        if is_entity(envelope.instance_id):
            return None  # whatever an entity gets it takes, and it may have no state afterwards
        record = await self._queries.get(envelope.instance_id)
        event = envelope.message.event if envelope.message is not None else None
        if envelope.purge:
            return None if record is None else InstanceRunningError(f"instance '{envelope.instance_id}' was not purged")
        if isinstance(event, ExecutionStarted):
            any_will_do = envelope.message is not None and envelope.message.reuse is ReusePolicy.RETURN_EXISTING
            if record is not None and (any_will_do or record.row.execution_id == event.execution_id):
                return None
            return CommitFailedError(f"whether instance '{envelope.instance_id}' was started by this call isn't known")
        if record is None:
            return InstanceNotFoundError(f"there is no instance '{envelope.instance_id}'")
        return (
            None
            if record.row.status not in TERMINAL_STATUSES or isinstance(event, ExecutionTerminated)
            else CommitFailedError(f"instance '{envelope.instance_id}' has ended; whether this call came before that isn't known")
        )


def _done(envelope: Envelope) -> bool:
    return envelope.reply is None or envelope.reply.done()
