"""The client of a host over HTTP for code without ``async``."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from perdure.client.http_answers import Answer
from perdure.client.http_operations import HttpOperations, Operation, Pause
from perdure.client.http_transport import DEFAULT_TIMEOUT, FAILURES, arguments, open_blocking, read, unreachable
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


class BlockingHttpClient:
    """``Client`` for code without ``async``."""

    def __init__(
        self,
        url: str,
        *,
        code: str | None = None,
        task_hub: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        transport: "httpx.BaseTransport | None" = None,
    ) -> None:
        """See ``Client``."""
        self._operations = HttpOperations(url, code=code, task_hub=task_hub)
        self._http = open_blocking(timeout, transport)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start_new(
        self,
        orchestration_function_name: str | Callable[..., Any],
        instance_id: str | None = None,
        client_input: Any = None,
        version: str | None = None,
        *,
        connection: object | None = None,
    ) -> str:
        """See ``DurableClient.start_new``. There is no way to take part in a transaction over HTTP: ``connection`` is refused."""
        return self._run(self._operations.start_new(orchestration_function_name, instance_id, client_input, version, connection))

    def get_status(
        self, instance_id: str, show_history: bool = False, show_history_output: bool = False, show_input: bool = False
    ) -> DurableOrchestrationStatus:
        """See ``DurableClient.get_status``."""
        return self._run(self._operations.get_status(instance_id, show_history, show_history_output, show_input))

    def get_status_all(self) -> list[DurableOrchestrationStatus]:
        """See ``DurableClient.get_status_all``."""
        return self.get_status_by()

    def get_status_by(
        self,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Sequence[OrchestrationRuntimeStatus] | None = None,
        instance_id_prefix: str | None = None,
        *,
        names: Sequence[str] = (),
    ) -> list[DurableOrchestrationStatus]:
        """See ``DurableClient.get_status_by``."""
        return self._run(
            self._operations.get_status_by(created_time_from, created_time_to, runtime_status, instance_id_prefix, names)
        )

    def list_page(
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
        return self._run(self._operations.list_page(*filters, page_size, continuation_token, show_input))

    def wait_for_completion(
        self, instance_id: str, timeout: float | timedelta | None = None, *, show_input: bool = False
    ) -> DurableOrchestrationStatus:
        """See ``Client.wait_for_completion``."""
        return self._run(self._operations.wait_for_completion(instance_id, timeout, show_input))

    def raise_event(self, instance_id: str, event_name: str, event_data: Any = None) -> None:
        """See ``DurableClient.raise_event``."""
        self._run(self._operations.raise_event(instance_id, event_name, event_data))

    def terminate(self, instance_id: str, reason: str | None = None, *, recursive: bool = False) -> None:
        """See ``DurableClient.terminate``."""
        self._run(self._operations.steer("terminate", instance_id, reason, recursive=recursive))

    def suspend(self, instance_id: str, reason: str | None = None) -> None:
        """See ``DurableClient.suspend``."""
        self._run(self._operations.steer("suspend", instance_id, reason))

    def resume(self, instance_id: str, reason: str | None = None) -> None:
        """See ``DurableClient.resume``."""
        self._run(self._operations.steer("resume", instance_id, reason))

    def rewind(self, instance_id: str, reason: str | None = None) -> None:
        """See ``DurableClient.rewind``."""
        self._run(self._operations.steer("rewind", instance_id, reason))

    def restart(self, instance_id: str, restart_with_new_instance_id: bool = True) -> str:
        """See ``DurableClient.restart``."""
        return self._run(self._operations.restart(instance_id, restart_with_new_instance_id))

    def purge_instance_history(self, instance_id: str) -> PurgeHistoryResult:
        """See ``DurableClient.purge_instance_history``."""
        return self._run(self._operations.purge_instance_history(instance_id))

    def purge_instance_history_by(
        self,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Sequence[OrchestrationRuntimeStatus] | None = None,
    ) -> PurgeHistoryResult:
        """See ``DurableClient.purge_instance_history_by``."""
        return self._run(self._operations.purge_instance_history_by(created_time_from, created_time_to, runtime_status))

    def signal_entity(
        self,
        entityId: EntityId | str,  # noqa: N803 - as in azure-functions-durable
        operation_name: str,
        operation_input: Any = None,
    ) -> None:
        """See ``DurableClient.signal_entity``."""
        self._run(self._operations.signal_entity(entityId, operation_name, operation_input))

    def read_entity_state(
        self,
        entityId: EntityId | str,  # noqa: N803 - as in azure-functions-durable
        expected_type: Any = None,
    ) -> EntityStateResponse:
        """See ``DurableClient.read_entity_state``."""
        return self._run(self._operations.read_entity_state(entityId, expected_type))

    def list_entities(
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
        return self._run(self._operations.list_entities(name, *times, fetch_state, page_size, continuation_token))

    def create_http_management_payload(self, instance_id: str) -> dict[str, str]:
        """See ``Client.create_http_management_payload``."""
        return self._operations.links.management_payload(instance_id)

    def _run(self, operation: Operation[T]) -> T:
        answer: Answer | None = None
        while True:
            try:
                step = operation.send(answer)
            except StopIteration as end:
                return end.value
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                answer = None
            else:
                try:
                    response = self._http.request(**arguments(self._operations, step))
                except FAILURES as error:
                    raise unreachable(self._operations, error) from error
                answer = read(response)
