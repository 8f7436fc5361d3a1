"""The async client of a host over HTTP."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from perdure.client.http_answers import Answer
from perdure.client.http_operations import HttpOperations, Operation, Pause
from perdure.client.http_transport import DEFAULT_TIMEOUT, FAILURES, arguments, open_async, read, unreachable
from perdure.client.models import (
    DurableOrchestrationStatus,
    EntityPage,
    EntityStateResponse,
    InstancePage,
    PurgeHistoryResult,
)
from perdure.core.entity_id import EntityId
from perdure.core.status import OrchestrationRuntimeStatus

if TYPE_CHECKING:
    import httpx  # only there, so that its absence is explained where it is needed

T = TypeVar("T")


class Client:
    """A client of a Perdure (or Durable Functions) host: the methods of ``DurableClient``, as far as the HTTP API has them.

    ::

        async with Client("http://localhost:7071", code=KEY) as client:
            instance_id = await client.start_new("hello", client_input="Tokyo")
            status = await client.wait_for_completion(instance_id, timeout=30)

    Every method raises the errors of its namesake; and ``HostUnreachableError`` if no host answers, ``HostAnswerError`` if
    it refuses the key or the hub. ``version``, ``tags`` and ``failure`` of a status aren't part of the API and stay empty.
    """

    def __init__(
        self,
        url: str,
        *,
        code: str | None = None,
        task_hub: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        transport: "httpx.AsyncBaseTransport | None" = None,
    ) -> None:
        """Opens nothing yet.

        Args:
            url: where the host is: what comes before ``/runtime/webhooks``.
            code: a key: ``durabletask`` or the master key of the host's keys file.
            task_hub: a host of another hub refuses.
            timeout: the longest wait for one answer, in seconds.
            transport: what to use instead of the network.
        """
        self._operations = HttpOperations(url, code=code, task_hub=task_hub)
        self._http = open_async(timeout, transport)

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def start_new(
        self,
        orchestration_function_name: str | Callable[..., Any],
        instance_id: str | None = None,
        client_input: Any = None,
        version: str | None = None,
        *,
        connection: object | None = None,
    ) -> str:
        """See ``DurableClient.start_new``. There is no way to take part in a transaction over HTTP: ``connection`` is refused."""
        return await self._run(
            self._operations.start_new(orchestration_function_name, instance_id, client_input, version, connection)
        )

    async def get_status(
        self, instance_id: str, show_history: bool = False, show_history_output: bool = False, show_input: bool = False
    ) -> DurableOrchestrationStatus:
        """See ``DurableClient.get_status``."""
        return await self._run(self._operations.get_status(instance_id, show_history, show_history_output, show_input))

    async def get_status_all(self) -> list[DurableOrchestrationStatus]:
        """See ``DurableClient.get_status_all``."""
        return await self.get_status_by()

    async def get_status_by(
        self,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Sequence[OrchestrationRuntimeStatus] | None = None,
        instance_id_prefix: str | None = None,
        *,
        names: Sequence[str] = (),
    ) -> list[DurableOrchestrationStatus]:
        """See ``DurableClient.get_status_by``."""
        return await self._run(
            self._operations.get_status_by(created_time_from, created_time_to, runtime_status, instance_id_prefix, names)
        )

    async def list_page(
        self,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Sequence[OrchestrationRuntimeStatus] | None = None,
        instance_id_prefix: str | None = None,
        *,
        names: Sequence[str] = (),
        page_size: int = 100,
        continuation_token: str | None = None,
        show_input: bool = False,
    ) -> InstancePage:
        """See ``DurableClient.list_page``."""
        filters = created_time_from, created_time_to, runtime_status, instance_id_prefix, names
        return await self._run(self._operations.list_page(*filters, page_size, continuation_token, show_input))

    async def wait_for_completion(
        self, instance_id: str, timeout: float | timedelta | None = None, *, show_input: bool = False
    ) -> DurableOrchestrationStatus:
        """See ``DurableClient.wait_for_completion``. Polls: soon at first, then ever later."""
        return await self._run(self._operations.wait_for_completion(instance_id, timeout, show_input))

    async def raise_event(self, instance_id: str, event_name: str, event_data: Any = None) -> None:
        """See ``DurableClient.raise_event``."""
        await self._run(self._operations.raise_event(instance_id, event_name, event_data))

    async def terminate(self, instance_id: str, reason: str | None = None, *, recursive: bool = False) -> None:
        """See ``DurableClient.terminate``."""
        await self._run(self._operations.steer("terminate", instance_id, reason, recursive=recursive))

    async def suspend(self, instance_id: str, reason: str | None = None) -> None:
        """See ``DurableClient.suspend``."""
        await self._run(self._operations.steer("suspend", instance_id, reason))

    async def resume(self, instance_id: str, reason: str | None = None) -> None:
        """See ``DurableClient.resume``."""
        await self._run(self._operations.steer("resume", instance_id, reason))

    async def rewind(self, instance_id: str, reason: str | None = None) -> None:
        """See ``DurableClient.rewind``."""
        await self._run(self._operations.steer("rewind", instance_id, reason))

    async def restart(self, instance_id: str, restart_with_new_instance_id: bool = True) -> str:
        """See ``DurableClient.restart``."""
        return await self._run(self._operations.restart(instance_id, restart_with_new_instance_id))

    async def purge_instance_history(self, instance_id: str) -> PurgeHistoryResult:
        """See ``DurableClient.purge_instance_history``."""
        return await self._run(self._operations.purge_instance_history(instance_id))

    async def purge_instance_history_by(
        self,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Sequence[OrchestrationRuntimeStatus] | None = None,
    ) -> PurgeHistoryResult:
        """See ``DurableClient.purge_instance_history_by``."""
        return await self._run(self._operations.purge_instance_history_by(created_time_from, created_time_to, runtime_status))

    async def signal_entity(
        self,
        entityId: EntityId | str,  # noqa: N803 - as in azure-functions-durable
        operation_name: str,
        operation_input: Any = None,
    ) -> None:
        """See ``DurableClient.signal_entity``."""
        await self._run(self._operations.signal_entity(entityId, operation_name, operation_input))

    async def read_entity_state(
        self,
        entityId: EntityId | str,  # noqa: N803 - as in azure-functions-durable
        expected_type: Any = None,
    ) -> EntityStateResponse:
        """See ``DurableClient.read_entity_state``."""
        return await self._run(self._operations.read_entity_state(entityId, expected_type))

    async def list_entities(
        self,
        name: str | None = None,
        *,
        last_operation_from: datetime | None = None,
        last_operation_to: datetime | None = None,
        fetch_state: bool = False,
        page_size: int = 100,
        continuation_token: str | None = None,
    ) -> EntityPage:
        """See ``DurableClient.list_entities``."""
        times = last_operation_from, last_operation_to
        return await self._run(self._operations.list_entities(name, *times, fetch_state, page_size, continuation_token))

    def create_http_management_payload(self, instance_id: str) -> dict[str, str]:
        """The URLs that steer an instance, by the names that Durable Functions gives them. They carry this client's key."""
        return self._operations.links.management_payload(instance_id)

    async def _run(self, operation: Operation[T]) -> T:
        answer: Answer | None = None
        while True:
            try:
                step = operation.send(answer)
            except StopIteration as end:
                return end.value
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                answer = None
            else:
                try:
                    response = await self._http.request(**arguments(self._operations, step))
                except FAILURES as error:
                    raise unreachable(self._operations, error) from error
                answer = read(response)
