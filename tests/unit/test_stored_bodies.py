"""Stored messages: those that instances send each other, and what clients of other engines ask."""

import asyncio
from typing import Any

import pytest

from perdure.core.errors import EngineInvariantError
from perdure.core.events import (
    EntityOperationSignaled,
    EventRaised,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionTerminated,
    ParentLink,
    SubOrchestrationInstanceCompleted,
    TaskCompleted,
)
from perdure.core.messages import Message, ReusePolicy, decode_message, encode_message
from perdure.engine.envelopes import Envelope, Origin
from perdure.engine.stored_bodies import StoredBody, decode_body, encode_request

MESSAGES = [
    Message("i", TaskCompleted(3, '"done"'), "e", 2),
    Message("i", SubOrchestrationInstanceCompleted(1, "7"), "e", 1),
    Message("i", EventRaised("go", '{"a":[1,"ü"]}')),
    Message("i", ExecutionTerminated("enough", recursive=True)),
    Message("i", ExecutionRewound("again")),
    Message("@counter@a", EntityOperationSignaled("@counter@a", "add", 0, "1")),
    Message(
        "i",
        ExecutionStarted(name="f", execution_id="e", input="[1]", tags={"a": "b"}, parent=ParentLink("p", "e0", 1, 5)),
        reuse=ReusePolicy.REPLACE,
    ),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message.event).__name__)
def test_a_message_between_instances_is_read_as_it_was_sent(message: Message) -> None:
    body = decode_body(encode_message(message))
    assert body.message == message
    assert not body.wants_answer
    assert not body.purge


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message.event).__name__)
@pytest.mark.parametrize("asks", [True, False])
def test_a_request_is_read_as_it_was_asked(message: Message, asks: bool) -> None:
    async def main() -> None:
        reply: Any = asyncio.get_running_loop().create_future() if asks else None
        body = decode_body(encode_request(Envelope(message.instance_id, message, Origin.CLIENT, reply=reply)))
        assert body.message == message
        assert body.wants_answer is asks
        assert not body.purge

    asyncio.run(main())


def test_a_request_that_nobody_waits_for_can_be_read_as_a_message_too() -> None:
    message = MESSAGES[2]
    assert decode_message(encode_request(Envelope("i", message, Origin.CLIENT))) == message


def test_a_purge_is_no_message() -> None:
    body = decode_body(encode_request(Envelope("i", None, Origin.CLIENT, purge=True)))
    assert body == StoredBody("i", purge=True)
    assert body.message is None


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"instance_id":"i","event":{"type":"Unheard"}}', b"\xff"])
def test_what_isnt_a_message_is_a_bug_and_shown(data: bytes) -> None:
    with pytest.raises(EngineInvariantError) as caught:
        decode_body(data)
    assert repr(data) in str(caught.value)
