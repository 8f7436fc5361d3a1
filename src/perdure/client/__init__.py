"""Clients: start, ask and steer orchestrations."""

from perdure.client.local import DurableClient
from perdure.client.models import DurableOrchestrationStatus, InstancePage, PurgeHistoryResult

__all__ = ["DurableClient", "DurableOrchestrationStatus", "InstancePage", "PurgeHistoryResult"]
