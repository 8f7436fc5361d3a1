"""What lies in the engine's queue."""

from enum import Enum
from typing import Protocol

import msgspec

from perdure.core.answers import EntityAnswer, OrchestratorAnswer, Ticket
from perdure.core.messages import Message
from perdure.store.contract import Claim


class Reply(Protocol):
    """Where an answer goes: a future of this process, or another engine."""

    def done(self) -> bool:
        """Whether nobody waits any more."""
        ...

    def set_result(self, result: None, /) -> None:
        """It has succeeded."""
        ...

    def set_exception(self, exception: Exception, /) -> None:
        """It has failed."""
        ...


class Origin(Enum):
    """Where an envelope comes from, which decides what a failed commit means for it."""

    CLIENT = "client"
    """A caller waits for the answer and gets the error."""
    ACTIVITY = "activity"
    """The outcome of work that was done: it is delivered again after recovery."""
    INSTANCE = "instance"
    """Another instance's turn: it is derived again, or read again from the store."""
    WORKER = "worker"
    """A worker's answer: void, and asked for again, since what it was asked may not have become durable."""
    TIMER = "timer"
    """A wake-up: the timer index finds it again."""


class WorkerAnswer(msgspec.Struct, frozen=True, eq=False):
    """What a worker has decided for an instance, and what it had been asked."""

    ticket: Ticket
    at: int
    """The time that the code saw (microseconds)."""
    offered: int
    """How many events or operations it got."""
    answer: OrchestratorAnswer | EntityAnswer


class Envelope(msgspec.Struct, eq=False):
    """A message with what the engine needs to know about it. No message means: only look whether a timer is due."""

    instance_id: str
    message: Message | None
    origin: Origin
    reply: Reply | None = None
    message_id: str = ""
    """Of messages between instances: unique in the hub."""
    stored: bool = False
    """Whether the message lies in the store (or will, with the batch that is being filled)."""
    fresh: bool = False
    """The instance id was just made up, so nothing can be stored under it."""
    purge: bool = False
    """Not a message: delete the instance."""
    claim: Claim | None = None
    """Of an activity that came from the shared queue: its outcome ends the offer."""
    decided: WorkerAnswer | None = None
    """Not a message: a worker's answer."""

    def answer(self, error: Exception | None) -> None:
        """Tells the caller, if there is one and it still waits."""
        reply = self.reply
        if reply is not None and not reply.done():
            if error is None:
                reply.set_result(None)
            else:
                reply.set_exception(error)
