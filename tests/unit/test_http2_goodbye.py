"""How a server goes: every call that was on its way gets an answer, and only then its connections end."""

import asyncio
import struct
from datetime import timedelta

import pytest

pytest.importorskip("hpack")

from perdure.protocol.http2 import frames
from perdure.protocol.http2 import server as server_module
from perdure.protocol.http2.frames import Kind
from tests.unit.http2_lab import Peer, data, lab, message

UNAVAILABLE = 14


async def _last_stream(peer: Peer) -> int:
    return struct.unpack_from("!I", (await peer.until(Kind.GOAWAY)).payload)[0]


async def test_what_was_on_its_way_is_answered_and_nothing_is_named_lost():
    async with lab() as made, made.peer() as peer:
        stopping = asyncio.create_task(made.server.stop(timedelta()))
        assert await _last_stream(peer) == frames.MAX_WINDOW
        asked = await peer.until(Kind.PING)
        await peer.say(peer.begin(), data(1, message(b"late")))
        assert await peer.status() == (UNAVAILABLE, "the server is going", b"")
        assert not stopping.done()
        await peer.say(frames.ping(asked.payload, ack=True))
        assert await _last_stream(peer) == peer.last
        assert await peer.next() is None
        await stopping


async def test_calls_that_are_under_way_have_their_time():
    async with lab() as made, made.peer() as peer:
        await peer.say(peer.begin("/wait"), data(1, message(b"")))
        await peer.settle()
        stopping = asyncio.create_task(made.server.stop(timedelta(seconds=0.2)))
        await peer.say(frames.ping((await peer.until(Kind.PING)).payload, ack=True))
        assert (await peer.status())[0] == UNAVAILABLE
        await stopping
        assert made.given_up == 1


async def test_a_peer_that_says_nothing_holds_nobody_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server_module, "_GOODBYE", 0.05)
    async with lab() as made, made.peer(greeted=False) as mute, made.peer() as peer:
        stopping = asyncio.create_task(made.server.stop(timedelta()))
        await peer.say(frames.ping((await peer.until(Kind.PING)).payload, ack=True))
        await asyncio.wait_for(stopping, 20)
        assert await mute.farewell() == (0, "")


async def test_a_peer_that_leaves_meanwhile_holds_nobody_up():
    async with lab() as made, made.peer() as peer:
        stopping = asyncio.create_task(made.server.stop(timedelta()))
        await peer.until(Kind.PING)
        peer.writer.close()
        await asyncio.wait_for(stopping, 20)


async def test_nobody_new_is_let_in():
    async with lab() as made, made.peer() as peer:
        stopping = asyncio.create_task(made.server.stop(timedelta()))
        asked = await peer.until(Kind.PING)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", made.port)
        await peer.say(frames.ping(asked.payload, ack=True))
        await stopping
