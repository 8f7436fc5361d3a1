"""Clients: start, ask and steer orchestrations; signal and read entities."""

from perdure.client.local import DurableClient
from perdure.client.models import (
    CleanEntityStorageResult,
    DurableOrchestrationStatus,
    EntityPage,
    EntityStateResponse,
    EntityStatus,
    InstancePage,
    PurgeHistoryResult,
)

__all__ = [
    "CleanEntityStorageResult",
    "DurableClient",
    "DurableOrchestrationStatus",
    "EntityPage",
    "EntityStateResponse",
    "EntityStatus",
    "InstancePage",
    "PurgeHistoryResult",
]
