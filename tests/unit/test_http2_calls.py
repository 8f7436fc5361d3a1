"""Calls of the real gRPC client, which is written by others: what arrives, and what comes back."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

pytest.importorskip("hpack")
pytest.importorskip("grpc")

import grpc

from perdure.protocol.http2 import frames
from perdure.protocol.http2.calls import Caller, Handlers
from perdure.protocol.http2.errors import RpcError
from perdure.protocol.http2.server import Http2Server
from tests.unit.http2_lab import data, lab, message

MB = 1 << 20


class Rpcs:
    """What the tests call."""

    def __init__(self) -> None:
        self.callers: list[Caller] = []
        self.hanging = False
        self.ended = asyncio.Event()

    def at_once(self, request: bytes, caller: Caller) -> bytes:
        self.callers.append(caller)
        return request

    async def later(self, request: bytes, _: Caller) -> bytes:
        await asyncio.sleep(0)
        return request

    def either(self, request: bytes, caller: Caller) -> bytes | Coroutine[Any, Any, bytes]:
        return request if request == b"now" else self.later(request, caller)

    def refuses(self, request: bytes, _: Caller) -> bytes:
        raise RpcError(7, request.decode())

    def fails(self, _: bytes, __: Caller) -> bytes:
        raise ValueError("secret")

    async def hangs(self, _: bytes, __: Caller) -> bytes:
        self.hanging = True
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            self.ended.set()

    async def counts(self, request: bytes, _: Caller) -> AsyncGenerator[bytes, None]:
        try:
            for number in range(int(request)):
                yield b"%d" % number
        finally:
            self.ended.set()

    async def pours(self, request: bytes, _: Caller) -> AsyncGenerator[bytes, None]:
        for _number in range(20):
            yield request
        raise RpcError(5, "dry")


@asynccontextmanager
async def calling(**settings: Any) -> AsyncIterator[tuple[Rpcs, Any, Http2Server]]:
    rpcs = Rpcs()
    unary = ("at_once", "later", "either", "refuses", "fails", "hangs")
    server = Http2Server(
        Handlers(
            {f"/{name}": getattr(rpcs, name) for name in unary},
            {f"/{name}": getattr(rpcs, name) for name in ("counts", "pours")},
        ),
        **{"max_message": 8 * MB, "max_calls": 1000, **settings},
    )
    port = await server.start("127.0.0.1", 0)
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=unlimited) as channel:
            yield rpcs, channel, server
    finally:
        await server.stop(timedelta())


@pytest.mark.parametrize("rpc", ["/at_once", "/later", "/either"])
@pytest.mark.parametrize("size", [0, 3, 16_384, 5 * MB])
async def test_messages_of_any_size_go_both_ways(rpc: str, size: int):
    async with calling() as (_, channel, _):
        sent = b"now"[:size] if size <= 3 else bytes(size)
        assert await channel.unary_unary(rpc)(sent) == sent


async def test_many_calls_at_once_over_one_connection():
    async with calling() as (_, channel, _):
        rpc = channel.unary_unary("/either")
        sent = [b"now" if number % 2 else b"%d" % number for number in range(300)]
        assert await asyncio.gather(*map(rpc, sent)) == sent


async def test_streams_come_whole_and_with_their_status():
    async with calling() as (rpcs, channel, _):
        got = [item async for item in channel.unary_stream("/counts")(b"1000")]
        assert got == [b"%d" % number for number in range(1000)]
        await asyncio.wait_for(rpcs.ended.wait(), 10)
        stream = channel.unary_stream("/pours")(bytes(MB))
        assert [len(await stream.read()) for _ in range(20)] == [MB] * 20
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stream.read()
        assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.NOT_FOUND, "dry")


async def test_metadata_arrive():
    async with calling() as (rpcs, channel, _):
        await channel.unary_unary("/at_once")(b"", metadata=(("taskhub", "Orders"), ("raw-bin", b"\0\xff")))
        said = dict(rpcs.callers[0].metadata)
        assert (said["taskhub"], said["raw-bin"]) == ("Orders", b"\0\xff")


async def test_errors_have_their_status_and_say_nothing_of_the_inside():
    async with calling() as (_, channel, _):
        for rpc, code, words in (
            ("/refuses", grpc.StatusCode.PERMISSION_DENIED, "100 % of größe, line\ntwo"),
            ("/fails", grpc.StatusCode.INTERNAL, "ValueError in the server; its log has the details"),
            ("/nothing", grpc.StatusCode.UNIMPLEMENTED, "this server has no rpc /nothing"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary(rpc)("100 % of größe, line\ntwo".encode())
            assert (refused.value.code(), refused.value.details()) == (code, words)


async def test_the_deadline_ends_the_handler():
    async with calling() as (rpcs, channel, _):
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await channel.unary_unary("/hangs")(b"", timeout=0.05)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(rpcs.ended.wait(), 10)


async def test_so_does_a_caller_who_goes():
    async with calling() as (rpcs, channel, _):
        stream = channel.unary_stream("/counts")(b"100000000")
        assert await stream.read() == b"0"
        assert not rpcs.ended.is_set()
        stream.cancel()
        await asyncio.wait_for(rpcs.ended.wait(), 10)


async def test_compressed_requests_are_read():
    async with calling() as (_, channel, _):
        for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            assert await channel.unary_unary("/later")(b"x" * 10_000, compression=compression) == b"x" * 10_000


async def test_messages_over_the_limit_are_refused_either_way():
    async with calling(max_message=MB) as (_, channel, _):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary("/later")(bytes(MB + 1))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await channel.unary_unary("/later")(bytes(MB)) == bytes(MB)


async def test_a_call_that_is_given_up_in_the_breath_in_which_it_is_made_leaves_nothing_behind():
    async with lab() as made, made.peer() as peer:
        for _ in range(50):
            begun = peer.begin("/wait")
            await peer.say(begun, data(peer.last, message(b"x" * 1000)), frames.reset(peer.last, 8))
        await peer.settle()
        assert not made.server._calls  # noqa: SLF001
        assert made.server._budget.left == 8 * MB  # noqa: SLF001
        assert made.waiting == 0


async def test_stopping_lets_those_end_who_can_and_tells_the_others():
    async with calling() as (rpcs, channel, server):
        hanging = channel.unary_unary("/hangs")(b"")
        assert await channel.unary_unary("/at_once")(b"first") == b"first"
        while not rpcs.hanging:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await server.stop(timedelta())
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await hanging
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert rpcs.ended.is_set()


async def test_the_blocking_client_and_its_threads():
    async with calling() as (_, _, server):
        address = server._server.sockets[0].getsockname()  # type: ignore[union-attr] # noqa: SLF001
        answers: list[bytes] = []

        def client() -> None:
            with grpc.insecure_channel(f"127.0.0.1:{address[1]}") as channel:
                rpc = channel.unary_unary("/either")
                threads = [threading.Thread(target=lambda: answers.append(rpc(b"now"))) for _ in range(20)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()

        await asyncio.to_thread(client)
        assert answers == [b"now"] * 20
