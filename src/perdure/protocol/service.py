"""From calls to functions: every rpc of the service goes through here, which lets callers in, finds the hub and words errors.

An rpc is a function of a ``Call`` and its request; the tables of the modules beside this one have them by name. Rpcs that
no table has answer UNIMPLEMENTED.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any

from durabletask.internal import orchestrator_service_pb2 as pb
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from perdure.client.raw import RawClient
from perdure.protocol.access import Gate, UnauthenticatedError
from perdure.protocol.errors import InvalidRequestError
from perdure.protocol.http2.calls import Caller, Handlers, StreamingHandler, UnaryHandler
from perdure.protocol.http2.errors import RpcError
from perdure.protocol.http2.headers import Metadata
from perdure.protocol.hubs import ServedHub, TaskHubs
from perdure.protocol.item_sizes import ItemSizes
from perdure.protocol.settings import ProtocolSettings
from perdure.protocol.status_codes import StatusCode, status_of
from perdure.protocol.worker_streams import WorkerStreams

SERVICE = pb.DESCRIPTOR.services_by_name["TaskHubSidecarService"]
_HUB = "task hub"

_log = logging.getLogger("perdure.protocol")


class Call:
    """One call: whom it is for, and what it may use."""

    def __init__(
        self,
        hubs: TaskHubs,
        hub_name: str | None,
        settings: ProtocolSettings,
        peer: str,
        workers: WorkerStreams,
        item_sizes: ItemSizes,
    ) -> None:
        self.hubs = hubs
        self.hub_name = hub_name
        """As the caller gave it; ``None`` where it gave none."""
        self.settings = settings
        self.workers = workers
        """The streams of those that are connected through this server."""
        self.peer = peer
        """Where the call comes from."""
        self.item_sizes = item_sizes

    async def served(self) -> ServedHub:
        """The hub that the call is for.

        Raises:
            UnknownTaskHubError, TooManyTaskHubsError, StoreError: as ``TaskHubs.get``.
        """
        return self.opened() or await self.hubs.get(self.hub_name)

    def opened(self) -> ServedHub | None:
        """The same where it takes no waiting."""
        return self.hubs.opened(self.hub_name)

    async def client(self) -> RawClient:
        """Its client, with the errors of ``served``."""
        return (await self.served()).hub.raw_client


Unary = Callable[[Call, Any], Awaitable[Message]]
Immediate = Callable[[ServedHub, Any], Message]
"""Of an rpc that waits for nothing but its hub."""
Streaming = Callable[[Call, Any], AsyncGenerator[Message, None] | AsyncGenerator[bytes, None]]
"""Of messages, or of what they are when serialized."""


class Service:
    """Makes handlers of the rpcs in ``unary`` and ``streaming``."""

    def __init__(
        self,
        hubs: TaskHubs,
        settings: ProtocolSettings,
        *,
        unary: Mapping[str, Unary],
        immediate: Mapping[str, Immediate],
        streaming: Mapping[str, Streaming],
    ) -> None:
        self._hubs = hubs
        self._settings = settings
        self._unary = unary
        self._immediate = immediate
        self._streaming = streaming
        self._gate = Gate(settings.tokens)
        self._workers = WorkerStreams()
        self._item_sizes = ItemSizes(settings.max_message_bytes)

    def let_workers_go(self) -> None:
        """Ends the streams of all workers."""
        self._workers.let_go()

    def handlers(self) -> Handlers:
        """What a server is given."""
        return Handlers(
            {_path(name): self._answer(name, rpc) for name, rpc in self._unary.items()}
            | {_path(name): self._answer_at_once(name, rpc) for name, rpc in self._immediate.items()},
            {_path(name): self._answer_stream(name, rpc) for name, rpc in self._streaming.items()},
            self._admit,
            # The SDKs' workers give up on an answer that is refused; its item would be kept until its lease ends.
            frozenset(_path(name) for name in (*self._unary, *self._immediate) if name.startswith(("Complete", "Abandon"))),
        )

    def _admit(self, metadata: Metadata) -> RpcError | None:
        try:
            self._gate.check(metadata)
        except UnauthenticatedError as error:
            return RpcError(StatusCode.UNAUTHENTICATED, str(error))
        return None

    def _answer(self, name: str, rpc: Unary) -> UnaryHandler:
        request_class = _request_class(name)

        async def answer(data: bytes, caller: Caller) -> bytes:
            try:
                call = self._begin(caller, streaming=False)
                response = await rpc(call, _parsed(request_class, data))
                return response.SerializeToString()
            except Exception as error:
                raise _refusal(name, error) from error

        return answer

    def _answer_at_once(self, name: str, rpc: Immediate) -> UnaryHandler:
        request_class = _request_class(name)

        def answer(data: bytes, caller: Caller) -> bytes | Coroutine[Any, Any, bytes]:
            try:
                call = self._begin(caller, streaming=False)
                request = _parsed(request_class, data)
                served = call.opened()
                return later(call, request) if served is None else rpc(served, request).SerializeToString()
            except Exception as error:
                raise _refusal(name, error) from error

        async def later(call: Call, request: Message) -> bytes:
            try:
                return rpc(await call.served(), request).SerializeToString()
            except Exception as error:
                raise _refusal(name, error) from error

        return answer

    def _answer_stream(self, name: str, rpc: Streaming) -> StreamingHandler:
        request_class = _request_class(name)

        async def answer(data: bytes, caller: Caller) -> AsyncGenerator[bytes, None]:
            try:
                call = self._begin(caller, streaming=True)
                # Closed with this one, and not when somebody collects it: what a worker had is offered again at once.
                async with aclosing(rpc(call, _parsed(request_class, data))) as responses:
                    async for response in responses:
                        yield response if isinstance(response, bytes) else response.SerializeToString()
            except Exception as error:
                raise _refusal(name, error) from error

        return answer

    def _begin(self, caller: Caller, *, streaming: bool) -> Call:
        hub = next((value for key, value in caller.metadata if key == "taskhub"), None)
        name = hub.decode("utf-8", "replace") if isinstance(hub, bytes) else hub
        hub_name = _of_connection(caller.memory, name or None, streaming=streaming)
        return Call(self._hubs, hub_name, self._settings, caller.peer, self._workers, self._item_sizes)


def _of_connection(memory: dict[str, str], name: str | None, *, streaming: bool) -> str | None:
    """The hub of a call. The async Python client names it in all calls but streams, which come over the same connection."""
    if name is None:
        return memory.get(_HUB) if streaming else None
    memory[_HUB] = name
    return name


def _refusal(name: str, error: Exception) -> RpcError:
    code, message = status_of(error)
    if code is StatusCode.INTERNAL:
        _log.error("the rpc %s has failed", name, exc_info=error)
    return RpcError(code, message)


def _path(name: str) -> str:
    return f"/{SERVICE.full_name}/{name}"


def _request_class(name: str) -> type[Message]:
    return GetMessageClass(SERVICE.methods_by_name[name].input_type)


def _parsed(request_class: type[Message], data: bytes) -> Message:
    try:
        return request_class.FromString(data)
    except DecodeError as error:
        raise InvalidRequestError(f"the request is no {request_class.DESCRIPTOR.name}: {error}") from None
