"""What clients get to see of an instance."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from perdure.core.entity_id import EntityId
from perdure.core.failures import FailureDetails
from perdure.core.status import TERMINAL_STATUSES, OrchestrationRuntimeStatus


class DurableOrchestrationStatus(msgspec.Struct, frozen=True):
    """One instance. Falsy if it does not exist (as in azure-functions-durable)."""

    instance_id: str
    name: str | None = None
    runtime_status: OrchestrationRuntimeStatus | None = None
    created_time: datetime | None = None
    last_updated_time: datetime | None = None
    input_: Any = None
    """The input, if it was asked for."""
    output: Any = None
    """The result of a completed instance, the reason of a terminated one, a description of the failure of a failed one."""
    custom_status: Any = None
    history: list[dict[str, Any]] | None = None
    """The history, if it was asked for."""
    version: str | None = None
    tags: dict[str, str] | None = None
    failure: FailureDetails | None = None
    """Of a failed instance: type, message, traceback and causes."""

    def __bool__(self) -> bool:
        return self.runtime_status is not None

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended."""
        return self.runtime_status in TERMINAL_STATUSES


@dataclass(frozen=True, slots=True)
class PurgeHistoryResult:
    """What a purge did."""

    instances_deleted: int


@dataclass(frozen=True, slots=True)
class InstancePage:
    """Part of a list of instances."""

    instances: list[DurableOrchestrationStatus]
    continuation_token: str | None
    """What the call for the next page takes; ``None`` on the last one. Only the client that made it can read it."""


@dataclass(frozen=True, slots=True)
class EntityStateResponse:
    """The state of an entity, if it exists."""

    entity_exists: bool
    entity_state: Any


@dataclass(frozen=True, slots=True)
class EntityStatus:
    """One entity, as a list shows it."""

    entity_id: EntityId
    last_operation_time: datetime
    """When it was last changed."""
    state: Any
    """``None`` where it wasn't asked for."""
    locked_by: str | None
    """The orchestration that has it in a critical section."""
    backlog: int
    """Operations that wait for the end of that critical section."""


@dataclass(frozen=True, slots=True)
class EntityPage:
    """Part of a list of entities."""

    entities: list[EntityStatus]
    continuation_token: str | None
    """What the call for the next page takes; ``None`` on the last one."""


@dataclass(frozen=True, slots=True)
class CleanEntityStorageResult:
    """What a clean-up did."""

    empty_entities_removed: int
    orphaned_locks_released: int
