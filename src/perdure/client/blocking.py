"""The client for code without ``async``: each method runs its namesake on the engine's thread and waits."""

from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from perdure.client.local import DurableClient
from perdure.client.models import (
    CleanEntityStorageResult,
    DurableOrchestrationStatus,
    EntityPage,
    EntityStateResponse,
    InstancePage,
    PurgeHistoryResult,
)
from perdure.core.entity_id import EntityId
from perdure.core.messages import ReusePolicy
from perdure.core.status import OrchestrationRuntimeStatus

T = TypeVar("T")


class Run(Protocol):
    """Runs a coroutine elsewhere and returns its result."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T:
        """The result; what the coroutine raises is raised."""
        ...


class BlockingClient:
    """See ``DurableClient`` for what each method does and raises."""

    def __init__(self, client: DurableClient, run: Run) -> None:
        self._client = client
        self._run = run

    def start_new(
        self,
        orchestration_function_name: str | Callable[..., Any],
        instance_id: str | None = None,
        client_input: Any = None,
        version: str | None = None,
        *,
        start_at: datetime | timedelta | None = None,
        tags: dict[str, str] | None = None,
        reuse_policy: ReusePolicy | None = None,
        connection: object | None = None,
    ) -> str:
        """See ``DurableClient.start_new``. ``connection`` is used in this thread: an ``sqlite3`` or a ``psycopg`` one."""
        if connection is not None:
            starts = self._client.starts
            message = starts.message(
                orchestration_function_name,
                instance_id,
                client_input,
                version,
                start_at=start_at,
                tags=tags,
                reuse_policy=reuse_policy,
            )
            starts.enlist(message, connection)
            return message.instance_id
        return self._run(
            self._client.start_new(
                orchestration_function_name,
                instance_id,
                client_input,
                version,
                start_at=start_at,
                tags=tags,
                reuse_policy=reuse_policy,
            )
        )

    def get_status(
        self, instance_id: str, show_history: bool = False, show_history_output: bool = False, show_input: bool = False
    ) -> DurableOrchestrationStatus:
        """See ``DurableClient.get_status``."""
        return self._run(self._client.get_status(instance_id, show_history, show_history_output, show_input))

    def get_status_all(self) -> list[DurableOrchestrationStatus]:
        """See ``DurableClient.get_status_all``."""
        return self._run(self._client.get_status_all())

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
            self._client.get_status_by(created_time_from, created_time_to, runtime_status, instance_id_prefix, names=names)
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
        return self._run(
            self._client.list_page(
                created_time_from,
                created_time_to,
                runtime_status,
                instance_id_prefix,
                names=names,
                page_size=page_size,
                continuation_token=continuation_token,
                show_input=show_input,
            )
        )

    def count(self) -> dict[OrchestrationRuntimeStatus, int]:
        """See ``DurableClient.count``."""
        return self._run(self._client.count())

    def wait_for_completion(
        self, instance_id: str, timeout: float | timedelta | None = None, *, show_input: bool = False
    ) -> DurableOrchestrationStatus:
        """See ``DurableClient.wait_for_completion``."""
        return self._run(self._client.wait_for_completion(instance_id, timeout, show_input=show_input))

    def raise_event(self, instance_id: str, event_name: str, event_data: Any = None) -> None:
        """See ``DurableClient.raise_event``."""
        self._run(self._client.raise_event(instance_id, event_name, event_data))

    def terminate(self, instance_id: str, reason: str | None = None, *, recursive: bool = False) -> None:
        """See ``DurableClient.terminate``."""
        self._run(self._client.terminate(instance_id, reason, recursive=recursive))

    def suspend(self, instance_id: str, reason: str | None = None) -> None:
        """See ``DurableClient.suspend``."""
        self._run(self._client.suspend(instance_id, reason))

    def resume(self, instance_id: str, reason: str | None = None) -> None:
        """See ``DurableClient.resume``."""
        self._run(self._client.resume(instance_id, reason))

    def rewind(self, instance_id: str, reason: str | None = None) -> None:
        """See ``DurableClient.rewind``."""
        self._run(self._client.rewind(instance_id, reason))

    def restart(self, instance_id: str, restart_with_new_instance_id: bool = True) -> str:
        """See ``DurableClient.restart``."""
        return self._run(self._client.restart(instance_id, restart_with_new_instance_id))

    def purge_instance_history(self, instance_id: str) -> PurgeHistoryResult:
        """See ``DurableClient.purge_instance_history``."""
        return self._run(self._client.purge_instance_history(instance_id))

    def purge_instance_history_by(
        self,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Sequence[OrchestrationRuntimeStatus] | None = None,
    ) -> PurgeHistoryResult:
        """See ``DurableClient.purge_instance_history_by``."""
        return self._run(self._client.purge_instance_history_by(created_time_from, created_time_to, runtime_status))

    def signal_entity(
        self,
        entityId: EntityId | str,  # noqa: N803 - as in azure-functions-durable
        operation_name: str,
        operation_input: Any = None,
        *,
        signal_time: datetime | timedelta | None = None,
    ) -> None:
        """See ``DurableClient.signal_entity``."""
        self._run(self._client.signal_entity(entityId, operation_name, operation_input, signal_time=signal_time))

    def read_entity_state(
        self,
        entityId: EntityId | str,  # noqa: N803 - as in azure-functions-durable
        expected_type: Any = None,
    ) -> EntityStateResponse:
        """See ``DurableClient.read_entity_state``."""
        return self._run(self._client.read_entity_state(entityId, expected_type))

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
        return self._run(
            self._client.list_entities(
                name,
                last_operation_from=last_operation_from,
                last_operation_to=last_operation_to,
                fetch_state=fetch_state,
                page_size=page_size,
                continuation_token=continuation_token,
            )
        )

    def clean_entity_storage(
        self, remove_empty_entities: bool = True, release_orphaned_locks: bool = True
    ) -> CleanEntityStorageResult:
        """See ``DurableClient.clean_entity_storage``."""
        return self._run(self._client.clean_entity_storage(remove_empty_entities, release_orphaned_locks))
