"""Answers leave in one piece, in order, and no later than the end of the step that wrote them."""

import asyncio
from typing import Any

import pytest

from perdure.host.corked import CorkedTransport


class Transport:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.paused = False

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self) -> None:
        self.sent.append(b"closed")

    def is_closing(self) -> bool:
        return b"closed" in self.sent

    def pause_reading(self) -> None:
        self.paused = True


@pytest.fixture
def plain() -> Transport:
    return Transport()


async def corked(plain: Any) -> CorkedTransport:
    return CorkedTransport(plain)


async def test_what_one_step_writes_is_sent_together_after_it(plain: Transport) -> None:
    transport = await corked(plain)
    transport.write(b"head ")
    transport.write(b"body")
    assert plain.sent == []
    await asyncio.sleep(0)
    assert plain.sent == [b"head body"]
    transport.write(b"next")
    await asyncio.sleep(0)
    assert plain.sent == [b"head body", b"next"]


async def test_much_is_not_held_back(plain: Transport) -> None:
    transport = await corked(plain)
    transport.write(b"head")
    transport.write(bytes(70_000))
    assert plain.sent == [b"head" + bytes(70_000)]
    transport.write(b"tail")
    await asyncio.sleep(0)
    assert plain.sent[1:] == [b"tail"]


async def test_closing_sends_first_and_once(plain: Transport) -> None:
    transport = await corked(plain)
    transport.write(b"last words")
    transport.close()
    assert plain.sent == [b"last words", b"closed"]
    assert transport.is_closing()
    await asyncio.sleep(0)
    assert plain.sent == [b"last words", b"closed"]


async def test_everything_else_is_the_transports(plain: Transport) -> None:
    (await corked(plain)).pause_reading()
    assert plain.paused
