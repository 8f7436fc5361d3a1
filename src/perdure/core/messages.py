"""Messages: events on their way to an instance."""

from enum import StrEnum

import msgspec

from perdure.core.errors import EngineInvariantError
from perdure.core.events import EntityAction, IncomingEvent
from perdure.core.status import TERMINAL_STATUSES


class ReusePolicy(StrEnum):
    """What starting an instance means when its id is taken."""

    ONLY_IF_TERMINAL = "only-if-terminal"
    """Replace an instance that has ended, refuse one that hasn't: the default of Durable Functions."""
    RAISE = "raise"
    """Refuse whatever is there."""
    RETURN_EXISTING = "return-existing"
    """Leave what is there, and succeed."""
    REPLACE = "replace"
    """Terminate what is running, then start."""


class Message(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An event with its recipient.

    A completion names the execution and generation that asked for it: another one drops it. Events from clients name none.
    """

    instance_id: str
    event: IncomingEvent | EntityAction
    """What entities get is what orchestrations ask for."""
    execution_id: str | None = None
    generation: int = 0
    reuse: ReusePolicy = ReusePolicy.ONLY_IF_TERMINAL
    """Only for ``ExecutionStarted``."""
    replaceable: tuple[str, ...] | None = None
    """Only for ``ExecutionStarted``: the statuses of an instance that it may replace, where ``reuse`` doesn't tell it."""

    def replaces(self, status: str) -> bool:
        """Whether this start may take the place of an instance with that status."""
        if self.replaceable is not None:
            return status in self.replaceable
        if self.reuse is ReusePolicy.ONLY_IF_TERMINAL:
            return status in TERMINAL_STATUSES
        return self.reuse is ReusePolicy.REPLACE


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Message).decode


def encode_message(message: Message) -> bytes:
    """The stored form of a message."""
    return _encode(message)


def decode_message(data: bytes) -> Message:
    """A message from its stored form.

    Raises:
        EngineInvariantError: the bytes aren't a message.
    """
    try:
        return _decode(data)
    except msgspec.MsgspecError as error:
        raise EngineInvariantError(f"a stored message can't be read ({error}): {data[:120]!r}") from error
