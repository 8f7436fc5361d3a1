"""History events with the names, numbers and fields that the Functions host sends to azure-functions-durable 1.x."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from perdure.core.events import (
    AnyEvent,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    EntityOperationSignaled,
    EventRaised,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCanceled,
    TimerCreated,
    TimerFired,
)
from perdure.core.times import from_us
from perdure.host.azure.errors import failure_reason


def history_fields(events: Iterable[AnyEvent]) -> Iterator[dict[str, Any]]:
    """The JSON objects of a history. Times are those of their turns."""
    at, names, fire_times, first = "", dict[int, str](), dict[int, str](), True
    for event in events:
        if isinstance(event, OrchestratorStarted):
            if not first:
                yield _fields(13, at)
            first, at = False, _time(event.at)
            yield _fields(12, at)
        elif isinstance(event, TaskScheduled | SubOrchestrationInstanceCreated):
            names[event.task_id] = event.name
            yield _scheduled(event, at)
        elif isinstance(event, TimerCreated):
            fire_times[event.task_id] = _time(event.fire_at)
            yield _fields(10, at, event.task_id, FireAt=fire_times[event.task_id])
        elif isinstance(event, TimerFired):
            yield _fields(11, at, TimerId=event.task_id, FireAt=fire_times.get(event.task_id))
        elif isinstance(event, TaskFailed | SubOrchestrationInstanceFailed):
            yield _failed(event, names.get(event.task_id, ""), at)
        elif isinstance(event, EntityOperationCalled | EntityOperationSignaled):
            yield _fields(14, at, event.task_id, InstanceId=event.entity, Name="op", Input=_request(event))
        elif not isinstance(event, TimerCanceled):
            yield _other(event, at)


def _scheduled(event: TaskScheduled | SubOrchestrationInstanceCreated, at: str) -> dict[str, Any]:
    if isinstance(event, TaskScheduled):
        return _fields(4, at, event.task_id, Name=event.name, Version=None, Input=event.input)
    return _fields(7, at, event.task_id, Name=event.name, Version=event.version, InstanceId=event.instance_id, Input=event.input)


def _request(event: EntityOperationCalled | EntityOperationSignaled) -> str:
    request = {"id": str(event.task_id), "op": event.operation, "input": event.input}
    return json.dumps(request if isinstance(event, EntityOperationCalled) else {**request, "signal": True})


def _failed(event: TaskFailed | SubOrchestrationInstanceFailed, name: str, at: str) -> dict[str, Any]:
    is_task = isinstance(event, TaskFailed)
    reason = failure_reason("activity" if is_task else "sub-orchestration", name, event.failure)
    return _fields(6 if is_task else 9, at, TaskScheduledId=event.task_id, Reason=reason, Details="null")


def _other(event: AnyEvent, at: str) -> dict[str, Any]:
    match event:
        case ExecutionStarted():
            parent = {"InstanceId": event.parent.instance_id} if event.parent else None
            return _fields(0, at, Name=event.name, Version=event.version, Input=event.input, ParentInstance=parent)
        case TaskCompleted():
            return _fields(5, at, TaskScheduledId=event.task_id, Result=event.result)
        case SubOrchestrationInstanceCompleted():
            return _fields(8, at, TaskScheduledId=event.task_id, Result=event.result)
        case EventRaised():
            return _fields(15, at, Name=event.name, Input=event.input)
        case EntityOperationCompleted():
            return _fields(15, at, Name=str(event.task_id), Input=json.dumps({"result": event.result}))
        case EntityOperationFailed():
            answer = {"result": json.dumps(event.failure.message), "exceptionType": event.failure.type}
            return _fields(15, at, Name=str(event.task_id), Input=json.dumps(answer))
        case ExecutionSuspended():
            return _fields(19, at, Reason=event.reason)
        case ExecutionResumed():
            return _fields(20, at, Reason=event.reason)
        case ExecutionTerminated():
            return _fields(3, at, Input=event.reason)
        case ExecutionRewound():
            return _fields(21, at, Reason=event.reason)
        case ExecutionCompleted():
            return _fields(1, at, OrchestrationStatus=event.status, Result=event.result)
        case _:
            return _fields(17, at, Data=type(event).__name__)


def _fields(kind: int, at: str, event_id: int = -1, **more: Any) -> dict[str, Any]:
    return {"EventType": kind, "EventId": event_id, "IsPlayed": True, "Timestamp": at, **more}


def _time(us: int) -> str:
    return from_us(us).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
