"""Histories on the wire: the turns of an instance as the events that SDK workers replay.

The protocol wants of each turn: ``orchestratorStarted``, what arrived, one event per action, ``orchestratorCompleted``, and
``executionCompleted`` behind all others. The id of an action's event is the action's; all other events have -1.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar
from uuid import NAMESPACE_OID, uuid5

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
    HistoryEvent,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from perdure.protocol.failures import failure_value
from perdure.protocol.states import execution_id_value
from perdure.protocol.wire import WIRE_STATUS, pb, text_value, timestamp, trace_value

NO_ID = -1


class HistoryWriter:
    """Writes the turns of one execution, in order. Keep it to write later turns without going through the earlier ones again."""

    def __init__(self, instance_id: str, *, for_workers: bool) -> None:
        """``for_workers`` leaves out rewinds: the engine has undone the failed turn already, which a worker would want to do."""
        self._instance_id = instance_id
        self._left_out: type[HistoryEvent] | None = ExecutionRewound if for_workers else None
        self._at = 0
        self._moment = timestamp(0)
        self._arrived: dict[int, tuple[AnyEvent, pb.HistoryEvent]] = {}
        """What ``arrivals`` has written last, by the identity of the event."""
        self._execution = ""
        self._generation = 0
        self._timers: dict[int, int] = {}
        self._calls: dict[int, str] = {}
        """Request ids of calls of entities."""

    def turns(self, events: Sequence[AnyEvent]) -> list[pb.HistoryEvent]:
        """Whole turns, each begun by its ``OrchestratorStarted``, as ``WorkHistory.past`` has them."""
        written: list[pb.HistoryEvent] = []
        end: pb.HistoryEvent | None = None
        for event in events:
            if isinstance(event, OrchestratorStarted):
                if written:
                    written.append(self._made(NO_ID, orchestratorCompleted={}))
                self._turn(event.at)
                written.append(self._made(NO_ID, orchestratorStarted={}))
            elif isinstance(event, ExecutionCompleted):
                end = self._execution_completed(event)
            else:
                self._write(event, written)
        if written:
            written.append(self._made(NO_ID, orchestratorCompleted={}))
        if end is not None:
            written.append(end)
        return written

    def arrivals(self, at: int, events: Sequence[AnyEvent]) -> list[pb.HistoryEvent]:
        """What has arrived since the last turn, as the beginning of one; it comes again among the turns later."""
        self._turn(at)
        written = [self._made(NO_ID, orchestratorStarted={})]
        for event in events:
            self._write(event, written, arrives=True)
        return written

    def _turn(self, at: int) -> None:
        if at != self._at:
            self._at = at
            self._moment = timestamp(at)
            self._arrived = {}

    def _write(self, event: AnyEvent, written: list[pb.HistoryEvent], *, arrives: bool = False) -> None:
        known = self._arrived.get(id(event))
        if known is not None:
            written.append(known[1])
            return
        kind = event.__class__
        write = self._WRITERS.get(kind)
        # Some the protocol doesn't know, such as a timer that was given up.
        if write is not None and kind is not self._left_out:
            message = write(self, event)
            written.append(message)
            if arrives:
                self._arrived[id(event)] = (event, message)

    def _request_id(self, event: EntityOperationCalled | EntityOperationSignaled) -> str:
        """By which an operation and its outcome belong together: the caller's own, or one that is the same each time."""
        own = event.request_id if isinstance(event, EntityOperationCalled) else None
        return own or str(uuid5(NAMESPACE_OID, f"{self._execution}:{self._generation}:{event.task_id}"))

    def _made(self, event_id: int, **event: Any) -> pb.HistoryEvent:
        return pb.HistoryEvent(eventId=event_id, timestamp=self._moment, **event)

    # --- what arrives ---------------------------------------------------------------------------------------------

    def _execution_started(self, event: ExecutionStarted) -> pb.HistoryEvent:
        self._execution, self._generation = event.execution_id, event.generation
        parent = event.parent
        return self._made(
            NO_ID,
            executionStarted=pb.ExecutionStartedEvent(
                name=event.name,
                version=text_value(event.version),
                input=text_value(event.input),
                orchestrationInstance=_instance(self._instance_id, event.execution_id, event.generation),
                parentInstance=None
                if parent is None
                else pb.ParentInstanceInfo(
                    taskScheduledId=parent.task_id,
                    orchestrationInstance=_instance(parent.instance_id, parent.execution_id, parent.generation),
                ),
                scheduledStartTimestamp=None if event.start_at is None else timestamp(event.start_at),
                parentTraceContext=trace_value(event.trace),
                tags=event.tags or None,
            ),
        )

    def _task_completed(self, event: TaskCompleted) -> pb.HistoryEvent:
        return self._made(NO_ID, taskCompleted={"taskScheduledId": event.task_id, "result": text_value(event.result)})

    def _task_failed(self, event: TaskFailed) -> pb.HistoryEvent:
        failed = pb.TaskFailedEvent(taskScheduledId=event.task_id, failureDetails=failure_value(event.failure))
        return self._made(NO_ID, taskFailed=failed)

    def _child_completed(self, event: SubOrchestrationInstanceCompleted) -> pb.HistoryEvent:
        completed = pb.SubOrchestrationInstanceCompletedEvent(taskScheduledId=event.task_id, result=text_value(event.result))
        return self._made(NO_ID, subOrchestrationInstanceCompleted=completed)

    def _child_failed(self, event: SubOrchestrationInstanceFailed) -> pb.HistoryEvent:
        failed = pb.SubOrchestrationInstanceFailedEvent(
            taskScheduledId=event.task_id, failureDetails=failure_value(event.failure)
        )
        return self._made(NO_ID, subOrchestrationInstanceFailed=failed)

    def _timer_fired(self, event: TimerFired) -> pb.HistoryEvent:
        fire_at = timestamp(self._timers.get(event.task_id, self._at))
        return self._made(NO_ID, timerFired=pb.TimerFiredEvent(timerId=event.task_id, fireAt=fire_at))

    def _event_raised(self, event: EventRaised) -> pb.HistoryEvent:
        return self._made(NO_ID, eventRaised=pb.EventRaisedEvent(name=event.name, input=text_value(event.input)))

    def _suspended(self, event: ExecutionSuspended) -> pb.HistoryEvent:
        return self._made(NO_ID, executionSuspended=pb.ExecutionSuspendedEvent(input=text_value(event.reason)))

    def _resumed(self, event: ExecutionResumed) -> pb.HistoryEvent:
        return self._made(NO_ID, executionResumed=pb.ExecutionResumedEvent(input=text_value(event.reason)))

    def _terminated(self, event: ExecutionTerminated) -> pb.HistoryEvent:
        output = event.reason if event.output is None else event.output
        terminated = pb.ExecutionTerminatedEvent(input=text_value(output), recurse=event.recursive)
        return self._made(NO_ID, executionTerminated=terminated)

    def _rewound(self, event: ExecutionRewound) -> pb.HistoryEvent:
        return self._made(NO_ID, executionRewound=pb.ExecutionRewoundEvent(reason=text_value(event.reason)))

    def _entity_completed(self, event: EntityOperationCompleted) -> pb.HistoryEvent:
        completed = pb.EntityOperationCompletedEvent(
            requestId=self._calls.get(event.task_id, ""), output=text_value(event.result)
        )
        return self._made(NO_ID, entityOperationCompleted=completed)

    def _entity_failed(self, event: EntityOperationFailed) -> pb.HistoryEvent:
        failed = pb.EntityOperationFailedEvent(
            requestId=self._calls.get(event.task_id, ""), failureDetails=failure_value(event.failure)
        )
        return self._made(NO_ID, entityOperationFailed=failed)

    def _lock_granted(self, event: EntityLockGranted) -> pb.HistoryEvent:
        granted = pb.EntityLockGrantedEvent(criticalSectionId=event.critical_section_id)
        return self._made(NO_ID, entityLockGranted=granted)

    # --- what the code asked for ----------------------------------------------------------------------------------

    def _task_scheduled(self, event: TaskScheduled) -> pb.HistoryEvent:
        return self._made(
            event.task_id,
            taskScheduled={
                "name": event.name,
                "version": text_value(event.version),
                "input": text_value(event.input),
                "parentTraceContext": trace_value(event.trace),
                "tags": event.tags or None,
            },
        )

    def _timer_created(self, event: TimerCreated) -> pb.HistoryEvent:
        self._timers[event.task_id] = event.fire_at
        return self._made(event.task_id, timerCreated=pb.TimerCreatedEvent(fireAt=timestamp(event.fire_at)))

    def _child_created(self, event: SubOrchestrationInstanceCreated) -> pb.HistoryEvent:
        return self._made(
            event.task_id,
            subOrchestrationInstanceCreated=pb.SubOrchestrationInstanceCreatedEvent(
                instanceId=event.instance_id,
                name=event.name,
                version=text_value(event.version),
                input=text_value(event.input),
                parentTraceContext=trace_value(event.trace),
                tags=event.tags or None,
            ),
        )

    def _event_sent(self, event: EventSent) -> pb.HistoryEvent:
        sent = pb.EventSentEvent(instanceId=event.instance_id, name=event.name, input=text_value(event.input))
        return self._made(event.task_id, eventSent=sent)

    def _signaled(self, event: EntityOperationSignaled) -> pb.HistoryEvent:
        return self._made(
            event.task_id,
            entityOperationSignaled=pb.EntityOperationSignaledEvent(
                requestId=self._request_id(event),
                operation=event.operation,
                scheduledTime=None if event.scheduled_time is None else timestamp(event.scheduled_time),
                input=text_value(event.input),
                targetInstanceId=text_value(event.entity),
            ),
        )

    def _called(self, event: EntityOperationCalled) -> pb.HistoryEvent:
        request_id = self._calls[event.task_id] = self._request_id(event)
        return self._made(
            event.task_id,
            entityOperationCalled=pb.EntityOperationCalledEvent(
                requestId=request_id,
                operation=event.operation,
                input=text_value(event.input),
                parentInstanceId=text_value(self._instance_id),
                parentExecutionId=text_value(execution_id_value(self._execution, self._generation)),
                targetInstanceId=text_value(event.entity),
            ),
        )

    def _lock_requested(self, event: EntityLockRequested) -> pb.HistoryEvent:
        requested = pb.EntityLockRequestedEvent(
            criticalSectionId=event.critical_section_id,
            lockSet=event.lock_set,
            position=event.position,
            parentInstanceId=text_value(self._instance_id),
        )
        return self._made(event.task_id, entityLockRequested=requested)

    def _unlock_sent(self, event: EntityUnlockSent) -> pb.HistoryEvent:
        sent = pb.EntityUnlockSentEvent(
            criticalSectionId=event.critical_section_id,
            parentInstanceId=text_value(self._instance_id),
            targetInstanceId=text_value(event.entity),
        )
        return self._made(event.task_id, entityUnlockSent=sent)

    def _execution_completed(self, event: ExecutionCompleted) -> pb.HistoryEvent:
        completed = pb.ExecutionCompletedEvent(
            orchestrationStatus=WIRE_STATUS[event.status],
            result=text_value(event.result),
            failureDetails=None if event.failure is None else failure_value(event.failure),
        )
        return self._made(NO_ID, executionCompleted=completed)

    _WRITERS: ClassVar[dict[type[HistoryEvent], Callable[[Any, Any], pb.HistoryEvent]]] = {
        ExecutionStarted: _execution_started,
        TaskCompleted: _task_completed,
        TaskFailed: _task_failed,
        SubOrchestrationInstanceCompleted: _child_completed,
        SubOrchestrationInstanceFailed: _child_failed,
        TimerFired: _timer_fired,
        EventRaised: _event_raised,
        ExecutionSuspended: _suspended,
        ExecutionResumed: _resumed,
        ExecutionTerminated: _terminated,
        ExecutionRewound: _rewound,
        EntityOperationCompleted: _entity_completed,
        EntityOperationFailed: _entity_failed,
        EntityLockGranted: _lock_granted,
        TaskScheduled: _task_scheduled,
        TimerCreated: _timer_created,
        SubOrchestrationInstanceCreated: _child_created,
        EventSent: _event_sent,
        EntityOperationSignaled: _signaled,
        EntityOperationCalled: _called,
        EntityLockRequested: _lock_requested,
        EntityUnlockSent: _unlock_sent,
    }


def _instance(instance_id: str, execution_id: str, generation: int) -> pb.OrchestrationInstance:
    return pb.OrchestrationInstance(instanceId=instance_id, executionId=text_value(execution_id_value(execution_id, generation)))
