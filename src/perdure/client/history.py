"""History as clients of Durable Functions know it: scheduling events folded into their completions, names in PascalCase.

The projection follows ``ConvertOrchestrationStateToStatus`` of the Durable Functions extension.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.core.codec import decode_segment
from perdure.core.converter import readable
from perdure.core.events import (
    AnyEvent,
    EntityLockGranted,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    EntityOperationSignaled,
    EntityUnlockSent,
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    OrchestratorDecided,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TerminationSent,
    TimerCanceled,
    TimerCreated,
    TimerFired,
)
from perdure.core.failures import FailureDetails
from perdure.core.times import from_us
from perdure.store.contract import Segment

_Opening = TaskScheduled | SubOrchestrationInstanceCreated | TimerCreated | EntityOperationCalled | EntityLockRequested


def project(segments: Sequence[Segment], *, show_input: bool, show_output: bool) -> list[dict[str, Any]]:
    """The entries of a history, oldest first. Work that is still open has no entry, as in Durable Functions."""
    entries: list[dict[str, Any]] = []
    opened: dict[int, tuple[str, _Opening]] = {}
    for segment in segments:
        time = ""
        for event in decode_segment(segment.events):
            if isinstance(event, OrchestratorStarted):
                time = from_us(event.at).isoformat().replace("+00:00", "Z")
            elif isinstance(event, _Opening):
                opened[event.task_id] = (time, event)
            elif not isinstance(event, TimerCanceled | OrchestratorDecided):
                entries.append(
                    {"EventType": type(event).__name__, "Timestamp": time} | _fields(event, opened, show_input, show_output)
                )
    return entries


def _fields(
    event: AnyEvent,
    opened: dict[int, tuple[str, _Opening]],
    show_input: bool,
    show_output: bool,
) -> dict[str, Any]:
    match event:
        case ExecutionStarted():
            return {"FunctionName": event.name} | _payload("Input", event.input, show_input)
        case TaskCompleted() | SubOrchestrationInstanceCompleted():
            return _scheduling(opened, event.task_id, show_input) | _payload("Result", event.result, show_output)
        case TaskFailed() | SubOrchestrationInstanceFailed():
            return _scheduling(opened, event.task_id, show_input) | _failure(event.failure)
        case TimerFired():
            _, timer = opened.pop(event.task_id)
            return (
                {"FireAt": from_us(timer.fire_at).isoformat().replace("+00:00", "Z")} if isinstance(timer, TimerCreated) else {}
            )
        case EntityOperationCompleted():
            return _scheduling(opened, event.task_id, show_input) | _payload("Result", event.result, show_output)
        case EntityOperationFailed():
            return _scheduling(opened, event.task_id, show_input) | _failure(event.failure)
        case EntityOperationSignaled():
            return {"EntityId": event.entity, "Operation": event.operation} | _payload("Input", event.input, show_input)
        case EventSent():
            return {"InstanceId": event.instance_id, "Name": event.name} | _payload("Input", event.input, show_input)
        case TerminationSent():
            return {"InstanceId": event.instance_id}
        case EntityLockGranted():
            opened.pop(event.task_id, None)
            return {"LockSet": list(event.lock_set)}
        case EntityUnlockSent():
            return {"EntityId": event.entity}
        case EventRaised():
            return {"Name": event.name} | _payload("Input", event.input, show_input)
        case ExecutionSuspended() | ExecutionResumed() | ExecutionTerminated() | ExecutionRewound():
            return {"Reason": event.reason}
        case ExecutionCompleted():
            ended: dict[str, Any] = {"OrchestrationStatus": event.status}
            return ended | (_failure(event.failure) if event.failure else _payload("Result", event.result, show_output))
        case _:
            return {}


def _scheduling(
    opened: dict[int, tuple[str, _Opening]],
    task_id: int,
    show_input: bool,
) -> dict[str, Any]:
    time, action = opened.pop(task_id)
    if isinstance(action, TimerCreated | EntityLockRequested):
        return {}
    if isinstance(action, EntityOperationCalled):
        called = {"ScheduledTime": time, "EntityId": action.entity, "Operation": action.operation}
        return called | _payload("Input", action.input, show_input)
    return {"ScheduledTime": time, "FunctionName": action.name} | _payload("Input", action.input, show_input)


def _payload(key: str, text: str | None, shown: bool) -> dict[str, Any]:
    return {key: readable(text) if text is not None else None} if shown else {}


def _failure(failure: FailureDetails) -> dict[str, Any]:
    return {"Reason": failure.message, "Details": failure.traceback, "FailureDetails": msgspec.to_builtins(failure)}
