"""What every key of Azure's host.json means here. Keys that set something are named by the settings themselves."""

from collections.abc import Iterator, Mapping
from typing import Any

from perdure.host.json_file import KeyPath, as_object

_TURNS = "turns of orchestrations are never run side by side here; they are batched"
_STORAGE = "it tunes Azure Storage; the hub is where --store says"
_ENTITIES = "all operations that wait for an entity are one turn, and one that fails is undone"
_TRACING = "traces are set up with OpenTelemetry's own variables"
_EVENT_GRID = "events aren't sent to Event Grid"
_SCALE = "it belongs to Azure's scaling"
_NET = "it tunes the .NET host"

# A "*" stands for everything below.
NO_MEANING: Mapping[str, str] = {
    "version": "",
    "$schema": "",
    "isDefaultHostConfig": "",
    "aggregator.*": _NET,
    "concurrency.*": _SCALE,
    "configurationProfile": _NET,
    "customHandler.*": "custom handlers aren't run; functions are Python",
    "extensionBundle.*": "",  # in every app that func init made, so that a notice would only be noise
    "functions": "all functions of the app are loaded",
    "healthMonitor.*": _NET,
    "logging.applicationInsights.*": "nothing is sent to Application Insights",
    "logging.console.*": "the log goes to standard error",
    "logging.fileLoggingMode": "the log goes to standard error",
    "logging.logLevel.*": "only 'default' sets a level here",
    "managedDependency.*": "it is for PowerShell",
    "retry.*": "triggers aren't retried; use retries of activities",
    "sendCanceledInvocationsToWorker": _NET,
    "singleton.*": _NET,
    "telemetryMode": _TRACING,
    "watchDirectories": "--reload watches the whole folder",
    "watchFiles": "--reload watches the whole folder",
    "extensions.http.customHeaders.*": "set headers in a proxy in front",
    "extensions.http.dynamicThrottlesEnabled": _SCALE,
    "extensions.http.hsts.*": "TLS ends in a proxy in front",
    "extensions.http.maxConcurrentRequests": "requests wait only where something they need is full",
    "extensions.http.maxOutstandingRequests": "requests wait only where something they need is full",
    "extensions.durableTask.allowReplayingTerminalInstances": _STORAGE,
    "extensions.durableTask.entityMessageReorderWindowInMinutes": "messages keep their order by themselves",
    "extensions.durableTask.extendedSessionsEnabled": "instances always stay in memory while they are used",
    "extensions.durableTask.grpcHttpClientTimeout": "the 1.x client does not use gRPC",
    "extensions.durableTask.localRpcEndpointEnabled": "the endpoint is always there",
    "extensions.durableTask.maxConcurrentEntityFunctions": _ENTITIES,
    "extensions.durableTask.maxConcurrentOrchestratorFunctions": _TURNS,
    "extensions.durableTask.maxEntityOperationBatchSize": _ENTITIES,
    "extensions.durableTask.maxOrchestrationActions": "a turn may ask for any number of actions",
    "extensions.durableTask.maxQueuePollingInterval": "nothing is polled",
    "extensions.durableTask.notifications.*": _EVENT_GRID,
    "extensions.durableTask.rollbackEntityOperationsOnExceptions": _ENTITIES,
    "extensions.durableTask.storageProvider.*": _STORAGE,
    "extensions.durableTask.storeInputsInOrchestrationHistory": "inputs are always in the history",
    "extensions.durableTask.throwStatusExceptionsOnRaiseEvent": "events that nobody can get are always refused",
    "extensions.durableTask.tracing.*": _TRACING,
    "extensions.durableTask.useAppLease": "one process owns the hub",
    "extensions.durableTask.useGracefulShutdown": "the host always drains before it ends",
    "extensions.durableTask.versionFailureStrategy": "versions aren't matched; instances of every version run",
    "extensions.durableTask.versionMatchStrategy": "versions aren't matched; instances of every version run",
    # Settings of triggers that this host refuses anyway, so nobody needs to be told twice.
    **{f"extensions.{name}.*": "" for name in (
        "blobs", "cosmosDB", "dapr", "eventGrid", "eventHubs", "kafka", "mySql", "rabbitMQ", "sendGrid", "serviceBus", "signalR",
        "sql", "tables", "twilio", "warmup", "webPubSub",
    )},
}  # fmt: skip


def no_meaning(path: KeyPath) -> str | None:
    """Why a key has no meaning here ("" where there is nothing to tell); ``None`` if Azure has no such key either."""
    dotted = ".".join(path).casefold()
    for known, why in NO_MEANING.items():
        name = known.casefold()
        if dotted == name or (name.endswith(".*") and (dotted == name[:-2] or dotted.startswith(name[:-1]))):
            return why
    return None


def leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every value of a document that isn't an object, with its path."""
    children = as_object(value)
    if not children:
        yield path, value
        return
    for name, item in children.items():
        yield from leaves(item, (*path, name))
