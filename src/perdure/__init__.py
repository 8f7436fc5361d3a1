"""Perdure: durable functions without the cloud. ``import perdure as df``.

Names are loaded on first use, so that importing the package stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perdure.app import Blueprint, DFApp, DurableEntity, EntityOperationError, FunctionDefinitionError
    from perdure.client import (
        CleanEntityStorageResult,
        DurableClient,
        DurableOrchestrationStatus,
        EntityPage,
        EntityStateResponse,
        EntityStatus,
        InstancePage,
        PurgeHistoryResult,
    )
    from perdure.client.http import Client
    from perdure.client.http_answers import HostAnswerError, HostUnreachableError
    from perdure.client.http_blocking import BlockingHttpClient
    from perdure.core.code import NotDurableError
    from perdure.core.context import DurableOrchestrationContext
    from perdure.core.converter import DeserializationError, PayloadTooLargeError, SerializationError
    from perdure.core.critical_section import CriticalSection, CriticalSectionError, LockTask
    from perdure.core.entity import EntityNotRegisteredError, EntityWaitedError
    from perdure.core.entity_context import DurableEntityContext, NoEntityOperationError, entity_context
    from perdure.core.entity_id import EntityId, InvalidEntityIdError
    from perdure.core.errors import EngineInvariantError, PerdureError
    from perdure.core.failures import FailureDetails, TaskFailedError
    from perdure.core.functions import OrchestratorNotRegisteredError
    from perdure.core.ids import InvalidInstanceIdError, InvalidNameError
    from perdure.core.matching import NonDeterminismError
    from perdure.core.messages import ReusePolicy
    from perdure.core.retry import RetryOptions
    from perdure.core.status import OrchestrationRuntimeStatus
    from perdure.core.tasks import EventTask, Task, TaskCanceledError, TimerTask
    from perdure.engine.activities import ActivityContext, CancellationToken, activity_context
    from perdure.engine.errors import (
        CommitFailedError,
        EngineStoppedError,
        InstanceAlreadyExistsError,
        InstanceFinishedError,
        InstanceNotFoundError,
        InstanceRunningError,
    )
    from perdure.engine.settings import EngineSettings, RemoteSettings
    from perdure.host.asgi import asgi, lifespan
    from perdure.host.client_binding import DurableOrchestrationClient
    from perdure.hub import BlockingTaskHub, TaskHub
    from perdure.protocol.embedding import grpc_server
    from perdure.protocol.errors import PackagesMissingError, ServerSettingsError
    from perdure.protocol.settings import ProtocolSettings, TlsFiles
    from perdure.store.errors import (
        HubInUseError,
        SchemaTooNewError,
        StoreError,
        StoreUnavailableError,
        StoreUrlError,
        TransactionControlError,
        TransactionsUnsupportedError,
        UnusableConnectionError,
    )

_MODULES = {
    "ActivityContext": "engine.activities",
    "BlockingHttpClient": "client.http_blocking",
    "BlockingTaskHub": "hub",
    "Blueprint": "app",
    "CancellationToken": "engine.activities",
    "CleanEntityStorageResult": "client",
    "Client": "client.http",
    "CommitFailedError": "engine.errors",
    "CriticalSection": "core.critical_section",
    "CriticalSectionError": "core.critical_section",
    "DFApp": "app",
    "DeserializationError": "core.converter",
    "DurableClient": "client",
    "DurableEntity": "app",
    "DurableEntityContext": "core.entity_context",
    "DurableOrchestrationClient": "host.client_binding",
    "DurableOrchestrationContext": "core.context",
    "DurableOrchestrationStatus": "client",
    "EngineInvariantError": "core.errors",
    "EngineSettings": "engine.settings",
    "EngineStoppedError": "engine.errors",
    "EntityId": "core.entity_id",
    "EntityNotRegisteredError": "core.entity",
    "EntityOperationError": "app",
    "EntityPage": "client",
    "EntityStateResponse": "client",
    "EntityStatus": "client",
    "EntityWaitedError": "core.entity",
    "EventTask": "core.tasks",
    "FailureDetails": "core.failures",
    "FunctionDefinitionError": "app",
    "HostAnswerError": "client.http_answers",
    "HostUnreachableError": "client.http_answers",
    "HubInUseError": "store.errors",
    "InstanceAlreadyExistsError": "engine.errors",
    "InstanceFinishedError": "engine.errors",
    "InstanceNotFoundError": "engine.errors",
    "InstancePage": "client",
    "InstanceRunningError": "engine.errors",
    "InvalidEntityIdError": "core.entity_id",
    "InvalidInstanceIdError": "core.ids",
    "InvalidNameError": "core.ids",
    "LockTask": "core.critical_section",
    "NoEntityOperationError": "core.entity_context",
    "NonDeterminismError": "core.matching",
    "NotDurableError": "core.code",
    "OrchestrationRuntimeStatus": "core.status",
    "OrchestratorNotRegisteredError": "core.functions",
    "PackagesMissingError": "protocol.errors",
    "PayloadTooLargeError": "core.converter",
    "PerdureError": "core.errors",
    "ProtocolSettings": "protocol.settings",
    "PurgeHistoryResult": "client",
    "RemoteSettings": "engine.settings",
    "RetryOptions": "core.retry",
    "ReusePolicy": "core.messages",
    "SchemaTooNewError": "store.errors",
    "SerializationError": "core.converter",
    "ServerSettingsError": "protocol.errors",
    "StoreError": "store.errors",
    "StoreUnavailableError": "store.errors",
    "StoreUrlError": "store.errors",
    "Task": "core.tasks",
    "TaskCanceledError": "core.tasks",
    "TaskFailedError": "core.failures",
    "TaskHub": "hub",
    "TimerTask": "core.tasks",
    "TlsFiles": "protocol.settings",
    "TransactionControlError": "store.errors",
    "TransactionsUnsupportedError": "store.errors",
    "UnusableConnectionError": "store.errors",
    "activity_context": "engine.activities",
    "asgi": "host.asgi",
    "entity_context": "core.entity_context",
    "grpc_server": "protocol.embedding",
    "lifespan": "host.asgi",
}

__all__ = [
    "ActivityContext",
    "BlockingHttpClient",
    "BlockingTaskHub",
    "Blueprint",
    "CancellationToken",
    "CleanEntityStorageResult",
    "Client",
    "CommitFailedError",
    "CriticalSection",
    "CriticalSectionError",
    "DFApp",
    "DeserializationError",
    "DurableClient",
    "DurableEntity",
    "DurableEntityContext",
    "DurableOrchestrationClient",
    "DurableOrchestrationContext",
    "DurableOrchestrationStatus",
    "EngineInvariantError",
    "EngineSettings",
    "EngineStoppedError",
    "EntityId",
    "EntityNotRegisteredError",
    "EntityOperationError",
    "EntityPage",
    "EntityStateResponse",
    "EntityStatus",
    "EntityWaitedError",
    "EventTask",
    "FailureDetails",
    "FunctionDefinitionError",
    "HostAnswerError",
    "HostUnreachableError",
    "HubInUseError",
    "InstanceAlreadyExistsError",
    "InstanceFinishedError",
    "InstanceNotFoundError",
    "InstancePage",
    "InstanceRunningError",
    "InvalidEntityIdError",
    "InvalidInstanceIdError",
    "InvalidNameError",
    "LockTask",
    "NoEntityOperationError",
    "NonDeterminismError",
    "NotDurableError",
    "OrchestrationRuntimeStatus",
    "OrchestratorNotRegisteredError",
    "PackagesMissingError",
    "PayloadTooLargeError",
    "PerdureError",
    "ProtocolSettings",
    "PurgeHistoryResult",
    "RemoteSettings",
    "RetryOptions",
    "ReusePolicy",
    "SchemaTooNewError",
    "SerializationError",
    "ServerSettingsError",
    "StoreError",
    "StoreUnavailableError",
    "StoreUrlError",
    "Task",
    "TaskCanceledError",
    "TaskFailedError",
    "TaskHub",
    "TimerTask",
    "TlsFiles",
    "TransactionControlError",
    "TransactionsUnsupportedError",
    "UnusableConnectionError",
    "activity_context",
    "asgi",
    "entity_context",
    "grpc_server",
    "lifespan",
]


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'perdure' has no attribute {name!r}")
    value = getattr(import_module(f"perdure.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
