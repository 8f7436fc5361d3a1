"""A Durable Task server in this process, and calls to it as plain as they are on the wire."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from durabletask.internal import orchestrator_service_pb2 as pb
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue

import perdure as df
from perdure.hub import TaskHub
from perdure.protocol.hubs import SingleHub, StoredHubs, TaskHubs
from perdure.protocol.nothing import NothingHere
from perdure.protocol.server import ProtocolServer
from perdure.protocol.service import SERVICE
from perdure.protocol.settings import ProtocolSettings

Metadata = Sequence[tuple[str, str | bytes]]


def text(value: str) -> StringValue:
    return StringValue(value=value)


class Caller:
    """Calls rpcs by name."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata = ()) -> None:
        self._channel = channel
        self.metadata = metadata

    async def __call__(self, rpc: str, request: Message | bytes, *, metadata: Metadata | None = None, timeout: float = 30) -> Any:
        """The response; of a stream, all of them."""
        method = SERVICE.methods_by_name[rpc]
        response = getattr(pb, method.output_type.name, None)
        path = f"/{SERVICE.full_name}/{rpc}"
        data = request if isinstance(request, bytes) else request.SerializeToString()
        given = self.metadata if metadata is None else metadata
        deserializer = None if response is None else response.FromString
        if method.server_streaming:
            stream = self._channel.unary_stream(path, response_deserializer=deserializer)
            return [chunk async for chunk in stream(data, metadata=given, timeout=timeout)]
        return await self._channel.unary_unary(path, response_deserializer=deserializer)(data, metadata=given, timeout=timeout)

    async def stream(self, rpc: str, request: Message, *, metadata: Metadata = ()) -> AsyncIterator[Any]:
        """The responses of a stream, one by one."""
        response = getattr(pb, SERVICE.methods_by_name[rpc].output_type.name)
        method = self._channel.unary_stream(f"/{SERVICE.full_name}/{rpc}", response_deserializer=response.FromString)
        async for chunk in method(request.SerializeToString(), metadata=metadata, timeout=60):
            yield chunk

    async def refusal(
        self, rpc: str, request: Message | bytes, *, metadata: Metadata | None = None, timeout: float = 30
    ) -> tuple[str, str]:
        """The status code and message of a call that must not succeed."""
        code, message = await self.outcome(rpc, request, metadata=metadata, timeout=timeout)
        assert code != "OK", f"{rpc} was answered with {message}"
        return code, message

    async def outcome(
        self, rpc: str, request: Message | bytes, *, metadata: Metadata | None = None, timeout: float = 30
    ) -> tuple[str, str]:
        """The status code and message of a call, or OK and its response."""
        try:
            return "OK", repr(await self(rpc, request, metadata=metadata, timeout=timeout))
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""

    async def state(self, instance_id: str) -> Any:
        """What GetInstance says, with payloads."""
        response = await self("GetInstance", pb.GetInstanceRequest(instanceId=instance_id, getInputsAndOutputs=True))
        return response.orchestrationState if response.exists else None


@asynccontextmanager
async def server(hubs: TaskHubs, **settings: Any) -> AsyncIterator[ProtocolServer]:
    served = ProtocolServer(hubs, ProtocolSettings(port=0, **settings))
    await served.start()
    try:
        yield served
    finally:
        await served.stop()


@asynccontextmanager
async def calling(hubs: TaskHubs, *, metadata: Metadata = (), **settings: Any) -> AsyncIterator[Caller]:
    async with server(hubs, **settings) as served, grpc.aio.insecure_channel(served.address) as channel:
        yield Caller(channel, metadata)


@asynccontextmanager
async def app_served(app: df.DFApp, **settings: Any) -> AsyncIterator[Caller]:
    """The hub of an app, as a functions host serves it."""
    async with TaskHub(app, "memory://") as hub, calling(SingleHub("default", hub), **settings) as caller:
        yield caller


def stored_hubs(url: str = "memory://", *, max_open: int = 10, remote: bool = False) -> StoredHubs:
    """Hubs that have no code: whatever is started stays Pending. ``remote``: as if workers had it."""
    settings = df.EngineSettings(remote=df.RemoteSettings()) if remote else df.EngineSettings(passive=True)
    return StoredHubs(url, lambda store: TaskHub(NothingHere(), store, settings=settings), max_open=max_open)


def sqlite_hubs(folder: Path) -> StoredHubs:
    return stored_hubs(f"sqlite:///{folder / 'hub.db'}")
