"""The bodies of stored messages: what instances send each other, and the requests of clients of other engines."""

import msgspec

from perdure.core.errors import EngineInvariantError
from perdure.core.events import EntityAction, IncomingEvent
from perdure.core.messages import Message, ReusePolicy
from perdure.engine.envelopes import Envelope


class StoredBody(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The fields of a ``Message``, as ``encode_message`` writes them, and what a request has besides."""

    instance_id: str
    event: IncomingEvent | EntityAction | None = None
    execution_id: str | None = None
    generation: int = 0
    reuse: ReusePolicy = ReusePolicy.ONLY_IF_TERMINAL
    replaceable: tuple[str, ...] | None = None
    wants_answer: bool = False
    """Whether the engine that stored it waits to hear what became of it."""
    purge: bool = False

    @property
    def message(self) -> Message | None:
        """The message, if it is one."""
        if self.event is None:
            return None
        return Message(self.instance_id, self.event, self.execution_id, self.generation, self.reuse, self.replaceable)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(StoredBody).decode


def encode_request(envelope: Envelope) -> bytes:
    """The stored form of what a client asks."""
    message, answer = envelope.message, envelope.reply is not None
    if message is None:
        return _encode(StoredBody(envelope.instance_id, wants_answer=answer, purge=envelope.purge))
    return _encode(
        StoredBody(
            message.instance_id,
            message.event,
            message.execution_id,
            message.generation,
            message.reuse,
            message.replaceable,
            answer,
        )
    )


def decode_body(data: bytes) -> StoredBody:
    """What a stored message says.

    Raises:
        EngineInvariantError: the bytes aren't a message.
    """
    try:
        return _decode(data)
    except msgspec.MsgspecError as error:
        raise EngineInvariantError(f"a stored message can't be read ({error}): {data[:120]!r}") from error
