"""Peers that break the rules of HTTP/2, or keep to them with bad intentions: they are told off, and nobody else notices."""

import asyncio
import gzip
import struct
import tracemalloc
from collections.abc import Callable

import pytest

pytest.importorskip("hpack")

from perdure.protocol.http2 import frames
from perdure.protocol.http2.errors import (
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
)
from perdure.protocol.http2.frames import Kind
from tests.unit.http2_lab import END_HEADERS, PADDED, Peer, data, frame, lab, message

MB = 1 << 20


def number(value: int) -> bytes:
    return struct.pack("!I", value)


def setting(key: int, value: int) -> bytes:
    return struct.pack("!HI", key, value)


# --- rules that are broken --------------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[Callable[[Peer], bytes], int]] = {
    "data of no stream": (lambda _: data(0, b"x"), PROTOCOL_ERROR),
    "data of a stream that hasn't begun": (lambda _: data(7, b"x"), PROTOCOL_ERROR),
    "data behind the end": (lambda peer: peer.begin("/wait", end=False) + data(1, message(b"")) + data(1, b"x"), STREAM_CLOSED),
    "a stream of the server's": (lambda peer: frames.headers(2, peer.block(), end=True, max_frame=16384), PROTOCOL_ERROR),
    "headers of no stream": (lambda peer: frames.headers(0, peer.block(), end=True, max_frame=16384), PROTOCOL_ERROR),
    "a continuation of nothing": (lambda _: frame(Kind.CONTINUATION, b"x", stream=1), PROTOCOL_ERROR),
    "a ping between headers": (
        lambda peer: frame(Kind.HEADERS, peer.block(), stream=1) + frames.ping(bytes(8), ack=False),
        PROTOCOL_ERROR,
    ),
    "the continuation of another stream": (
        lambda peer: frame(Kind.HEADERS, peer.block(), stream=1) + frame(Kind.CONTINUATION, b"", stream=3),
        PROTOCOL_ERROR,
    ),
    "headers twice": (lambda peer: peer.begin() + frames.headers(1, peer.block(), end=False, max_frame=16384), PROTOCOL_ERROR),
    "a promise": (lambda _: frame(Kind.PUSH_PROMISE, bytes(4), stream=1), PROTOCOL_ERROR),
    "a window that grows by nothing": (lambda _: frame(Kind.WINDOW_UPDATE, bytes(4)), PROTOCOL_ERROR),
    "a window that is too large": (lambda _: frame(Kind.WINDOW_UPDATE, number(2**31 - 1)), FLOW_CONTROL_ERROR),
    "a short window update": (lambda _: frame(Kind.WINDOW_UPDATE, bytes(3)), FRAME_SIZE_ERROR),
    "a short ping": (lambda _: frame(Kind.PING, bytes(7)), FRAME_SIZE_ERROR),
    "half a setting": (lambda _: frame(Kind.SETTINGS, bytes(5)), FRAME_SIZE_ERROR),
    "a window of streams that is too large": (lambda _: frame(Kind.SETTINGS, setting(4, 2**31)), FLOW_CONTROL_ERROR),
    "frames that are too small": (lambda _: frame(Kind.SETTINGS, setting(5, 100)), PROTOCOL_ERROR),
    "the end of a stream that hasn't begun": (lambda _: frame(Kind.RST_STREAM, bytes(4), stream=9), PROTOCOL_ERROR),
    "a frame that is too large": (lambda _: frames.head(16_385, Kind.DATA, 0, 1), FRAME_SIZE_ERROR),
    "more padding than there is": (
        lambda peer: peer.begin() + frame(Kind.DATA, b"\x09abc", flags=PADDED, stream=1),
        PROTOCOL_ERROR,
    ),
    "padding of nothing": (lambda peer: peer.begin() + frame(Kind.DATA, b"", flags=PADDED, stream=1), PROTOCOL_ERROR),
    "headers that are none": (lambda _: frame(Kind.HEADERS, b"\xff\xff\xff", flags=END_HEADERS, stream=1), COMPRESSION_ERROR),
    "headers that point nowhere": (lambda _: frame(Kind.HEADERS, b"\xfe", flags=END_HEADERS, stream=1), COMPRESSION_ERROR),
    "a huge table of headers": (
        lambda _: frame(Kind.HEADERS, b"\x3f\xe1\xff\x7f", flags=END_HEADERS, stream=1),
        COMPRESSION_ERROR,
    ),
    "many headers": (
        lambda peer: frames.headers(
            1, peer.block("/echo", *((f"name-{n}", "x" * 100) for n in range(900))), end=True, max_frame=16384
        ),
        ENHANCE_YOUR_CALM,
    ),
}


@pytest.mark.parametrize("rule", BROKEN)
async def test_who_breaks_a_rule_is_told_which_and_let_go(rule: str):
    says, code = BROKEN[rule]
    async with lab() as it, it.peer() as peer:
        await peer.say(says(peer))
        farewell = await peer.farewell()
        assert farewell is not None
        assert (farewell[0], farewell[1] != "") == (code, True)
        assert await it.serves()


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00", bytes(100), frames.PREFACE[:10] + b"x" * 30]
)
async def test_what_is_not_http2_at_all_is_told_so(said: bytes):
    async with lab() as it, it.peer(greeted=False) as peer:
        await peer.say(said)
        assert await peer.farewell() == (PROTOCOL_ERROR, "this is a gRPC server; it speaks HTTP/2 only")
        assert await it.serves()


async def test_a_stream_whose_window_grows_too_large_is_the_only_one_that_ends():
    async with lab() as it, it.peer() as peer:
        await peer.say(peer.begin("/wait"), data(1, message(b"")), peer.begin())
        await peer.say(frame(Kind.WINDOW_UPDATE, number(2**31 - 1), stream=1))
        assert (await peer.until(Kind.RST_STREAM, 1)).payload == number(FLOW_CONTROL_ERROR)
        await peer.say(data(3, message(b"still here")))
        assert await peer.status(3) == (0, "", message(b"still here"))
        assert it.waiting == 0


async def test_frames_of_streams_that_are_over_and_of_unknown_kinds_are_ignored():
    async with lab() as it, it.peer() as peer:
        await peer.say(peer.begin(), data(1, message(b"")))
        assert (await peer.status())[0] == 0
        await peer.say(
            data(1, b"late"),
            frame(Kind.RST_STREAM, number(8), stream=1),
            frame(Kind.WINDOW_UPDATE, number(5), stream=1),
            frame(Kind.PRIORITY, bytes(5), stream=5),
            frame(77, b"what is this", stream=1),
            peer.begin(),
            data(3, message(b"a")),
        )
        assert await peer.status() == (0, "", message(b"a"))


async def test_bytes_may_come_one_by_one():
    async with lab() as it, it.peer(greeted=False) as peer:
        for byte in frames.PREFACE + frames.settings({}) + peer.begin() + data(1, message(b"slow"))[:-1]:
            await peer.say(bytes([byte]))
        assert await it.serves()
        await peer.say(b"w")
        assert await peer.status() == (0, "", message(b"slow"))


# --- calls that are none ----------------------------------------------------------------------------------------------

NO_CALLS: dict[str, tuple[str, tuple[tuple[str, str], ...], bytes, int, str]] = {
    "nothing": ("/echo", (), b"", 13, "no request"),
    "half a prefix": ("/echo", (), b"\x00\x00", 13, "no request"),
    "too short": ("/echo", (), message(b"abc")[:-1], 12, "exactly one"),
    "two": ("/echo", (), message(b"a") + message(b"b"), 12, "exactly one"),
    "compressed by nobody": ("/echo", (), message(b"abc", compressed=1), 12, "gzip"),
    "compressed by whom?": ("/echo", (("grpc-encoding", "snappy"),), message(b"abc", compressed=1), 12, "gzip"),
    "not really compressed": ("/echo", (("grpc-encoding", "gzip"),), message(b"abc", compressed=1), 13, "decompressed"),
    "a bomb": ("/echo", (("grpc-encoding", "gzip"),), message(gzip.compress(bytes(100 * MB)), compressed=1), 8, "larger"),
    "too large": ("/echo", (), message(bytes(MB + 1)), 8, "larger"),
    "unknown": ("/nobody", (), message(b""), 12, "no rpc /nobody"),
    "a web page": ("/echo", (("content-type", "text/html"),), message(b""), -415, ""),
}


@pytest.mark.parametrize("name", NO_CALLS)
async def test_a_call_that_is_none_gets_a_status_and_the_next_one_an_answer(name: str):
    path, headers, body, status, reason = NO_CALLS[name]
    async with lab() as it, it.peer() as peer:
        await peer.say(peer.begin(path, headers=headers))
        for start in range(0, len(body) or 1, 16_384):
            await peer.say(data(1, body[start : start + 16_384], end=start + 16_384 >= len(body)))
        got, said, _ = await peer.status()
        assert (got, reason in said) == (status, True), said
        await peer.say(peer.begin(), data(3, message(b"next")))
        assert await peer.status() == (0, "", message(b"next"))


@pytest.mark.parametrize("timeout", ["", "x", "-1S", "1Y", "9" * 60 + "H", "S"])
async def test_a_deadline_that_is_none_is_ignored(timeout: str):
    async with lab() as it, it.peer() as peer:
        await peer.say(peer.begin(headers=(("grpc-timeout", timeout),)), data(1, message(b"a")))
        assert await peer.status() == (0, "", message(b"a"))


# --- bad intentions ---------------------------------------------------------------------------------------------------


async def test_headers_without_end_are_cut_off():
    async with lab() as it, it.peer() as peer:
        await peer.say(frame(Kind.HEADERS, bytes(100), stream=1))
        for _ in range(10):
            await peer.say(frame(Kind.CONTINUATION, bytes(16_000), stream=1))
        farewell = await peer.farewell()
        assert farewell is None or farewell[0] == ENHANCE_YOUR_CALM
        assert await it.serves()


FLOODS = {"settings": frame(Kind.SETTINGS, setting(4, 70_000)), "pings": frames.ping(bytes(8), ack=False)}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_peer_that_asks_and_does_not_listen_is_dropped(flood: str):
    async with lab() as it, it.peer() as peer:

        async def talk() -> None:
            for _ in range(4000):
                await peer.say(FLOODS[flood] * 1000)

        with pytest.raises(ConnectionError):
            await talk()
        assert await it.serves()


async def test_calls_that_are_begun_and_given_up_all_the_time_end_the_connection():
    async with lab() as it, it.peer() as peer:
        for _ in range(3000):
            if peer.writer.is_closing():
                break
            peer.writer.write(peer.begin("/wait", end=False) + data(peer.last, message(b"")))
            peer.writer.write(frame(Kind.RST_STREAM, number(8), stream=peer.last))
        farewell = await peer.farewell()
        assert farewell is None or farewell[0] == ENHANCE_YOUR_CALM
        assert it.waiting == 0
        assert it.given_up < 3000
        assert await it.serves()


async def test_the_same_by_way_of_windows():
    async with lab() as it, it.peer() as peer:
        for _ in range(3000):
            if peer.writer.is_closing():
                break
            peer.writer.write(peer.begin("/wait", end=False) + data(peer.last, message(b"")))
            peer.writer.write(frame(Kind.WINDOW_UPDATE, number(2**31 - 1), stream=peer.last))
        farewell = await peer.farewell()
        assert farewell is None or farewell[0] == ENHANCE_YOUR_CALM
        assert it.waiting == 0
        assert await it.serves()


async def test_waits_that_are_given_up_after_a_while_are_nothing_bad(monkeypatch: pytest.MonkeyPatch):
    """A client whose deadlines pass resets its streams, for hours."""
    async with lab() as it, it.peer() as peer:
        loop = asyncio.get_running_loop()
        passed = 0.0
        now = loop.time
        monkeypatch.setattr(loop, "time", lambda: now() + passed)
        for _ in range(30):
            begun = [peer.begin("/wait") + data(peer.last, message(b"")) for _ in range(100)]
            first = peer.last - 198
            await peer.say(*begun, frames.ping(bytes(8), ack=False))
            await peer.until(Kind.PING)
            passed += 5
            await peer.say(*(frame(Kind.RST_STREAM, number(8), stream=first + 2 * n) for n in range(100)))
        await peer.say(peer.begin(), data(peer.last, message(b"fine")))
        assert await peer.status() == (0, "", message(b"fine"))


async def test_half_open_calls_are_limited_and_go_with_their_connection():
    async with lab() as it:
        async with it.peer() as peer:
            await peer.say(*(peer.begin("/echo") for _ in range(1500)))
            await peer.say(frames.ping(bytes(8), ack=False))
            refused = 0
            while (seen := await peer.next()) is not None and seen.kind != Kind.PING:
                refused += seen.kind == Kind.RST_STREAM and seen.payload == number(REFUSED_STREAM)
            assert refused == 500
            assert await it.serves()
        await _until(lambda: not it.server._calls)  # noqa: SLF001
        assert await it.serves()


async def test_whoever_is_not_let_in_keeps_no_place_and_no_memory():
    async with lab(max_calls=3) as it, it.peer() as peer:
        for _ in range(10):
            await peer.say(peer.begin("/wait", headers=(("let", "out"),)))
            assert (await peer.status())[:2] == (16, "no")
        await peer.say(data(1, bytes(10_000), end=False))
        await peer.settle()
        assert not it.server._calls  # noqa: SLF001
        assert await it.serves()


async def test_what_is_no_call_of_grpc_keeps_no_place():
    async with lab(max_calls=3) as it, it.peer() as peer:
        for _ in range(10):
            await peer.say(peer.begin("/echo", headers=(("content-type", "text/html"),)))
            assert (await peer.status())[0] == -415
        assert await it.serves()


async def test_a_request_that_never_ends_is_answered_some_time(monkeypatch: pytest.MonkeyPatch):
    async with lab() as it, it.peer() as peer:
        await peer.say(peer.begin("/wait"), data(1, message(b"")), peer.begin("/echo"))
        await peer.settle()
        it.server._look_around()  # noqa: SLF001
        monkeypatch.setattr("perdure.protocol.http2.server._REQUEST_PATIENCE", 0.0)
        it.server._look_around()  # noqa: SLF001
        status, said, _ = await peer.status()
        assert (status, "has not come to its end" in said) == (4, True)
        assert it.waiting == 1


async def test_requests_in_memory_are_limited_over_all_connections():
    async with lab() as it:
        async with it.peer() as peer:
            chunk = bytes(16_000)
            statuses: list[int] = []
            for _ in range(12):
                await peer.say(peer.begin("/echo"))
                for _ in range(60):
                    await peer.say(data(peer.last, chunk, end=False))
            await peer.say(frames.ping(bytes(8), ack=False))
            while (seen := await peer.next()) is not None and seen.kind != Kind.PING:
                if seen.kind == Kind.HEADERS:
                    statuses.append(seen.stream)
            assert len(statuses) >= 3
        await _until(lambda: not it.server._calls)  # noqa: SLF001
        assert await it.serves()


async def test_a_stream_is_sent_no_faster_than_it_is_read():
    async with lab() as it, it.peer() as peer:
        await peer.say(peer.begin("/stream"), data(1, message(b"")))
        await peer.settle()
        first = it.sent
        assert first * it.size < 200_000
        await peer.settle()
        assert it.sent == first
        await peer.say(frame(Kind.WINDOW_UPDATE, number(10_000), stream=1), frame(Kind.WINDOW_UPDATE, number(10_000)))
        await _until(lambda: it.sent > first)
        assert await it.serves()


async def test_large_answers_to_a_peer_that_does_not_read_are_limited():
    async with lab() as it, it.peer(settings={4: 0}) as peer:
        it.size = MB
        tracemalloc.start()
        try:
            for _ in range(500):
                await peer.say(peer.begin("/large"), data(peer.last, message(b"")))
            await peer.settle()
            assert tracemalloc.get_traced_memory()[0] < 60 * MB
        finally:
            tracemalloc.stop()
        assert await it.serves()


async def test_a_large_answer_reaches_a_peer_that_also_talks():
    """What waits for the network isn't held against the peer."""
    async with lab(max_message=64 * MB) as it, it.peer(settings={4: 2**31 - 1}) as peer:
        it.size = 40 * MB
        await peer.say(frame(Kind.WINDOW_UPDATE, number(2**30)), peer.begin("/large"), data(1, message(b"")))
        for _ in range(5):
            await peer.say(frames.ping(bytes(8), ack=False))
            await asyncio.sleep(0)
        status, _, answer = await peer.status()
        assert (status, len(answer)) == (0, 40 * MB + 5)


async def test_many_answers_reach_a_peer_that_also_talks():
    async with lab(max_message=64 * MB) as it, it.peer(settings={4: 2**31 - 1}) as peer:
        it.size = 100_000
        await peer.say(*(peer.begin("/large") + data(peer.last, message(b"")) for _ in range(200)))
        await peer.say(frame(Kind.WINDOW_UPDATE, number(2**30)))
        for _ in range(5):
            await peer.say(frames.ping(bytes(8), ack=False))
            await asyncio.sleep(0)
        received = 0
        while received < 200 * (it.size + 5):
            received += len((await peer.until(Kind.DATA)).payload)


async def test_connections_that_say_nothing_cost_nothing():
    async with lab() as it:
        peers = [await asyncio.open_connection("127.0.0.1", it.port) for _ in range(300)]
        assert await it.serves()
        for _, writer in peers:
            writer.close()
        await _until(lambda: len(it.server._connections) <= 1)  # noqa: SLF001


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)
