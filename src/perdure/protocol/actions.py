"""What a worker decided for an orchestration, in Perdure's terms: its actions as the events that record them.

The worker is not trusted: what can't be read is refused with the name of the action. Whether it can be so is for the core to say.
"""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from perdure.core.answers import Continuation, OrchestratorAnswer
from perdure.core.entity_id import is_entity
from perdure.core.events import (
    Action,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationSignaled,
    EntityUnlockSent,
    EventRaised,
    EventSent,
    ExecutionCompleted,
    SubOrchestrationInstanceCreated,
    TaskScheduled,
    TerminationSent,
    TimerCreated,
    WorkerSpan,
)
from perdure.core.status import OrchestrationRuntimeStatus
from perdure.protocol.errors import InvalidDecisionError, InvalidRequestError, shown
from perdure.protocol.failures import failure_of
from perdure.protocol.wire import column_of, moment_of, pb, required, statuses_of, text_of, trace_of


def read_answer(response: pb.OrchestratorResponse) -> OrchestratorAnswer:
    """The answer of a worker to the work item of an orchestration.

    Raises:
        InvalidDecisionError: a part of it can't be carried out.
    """
    reader = _Reader(response.instanceId)
    for action in response.actions:
        reader.read(action)
    # The first of the events on the wire, orchestratorStarted, isn't one of the engine's.
    seen = max(response.numEventsProcessed.value - 1, 0) if response.HasField("numEventsProcessed") else None
    try:
        custom_status, span = column_of(response, "customStatus"), _span(response.orchestrationTraceContext)
    except InvalidRequestError as error:
        raise InvalidDecisionError(f"the answer for instance '{response.instanceId}': {error.message}") from None
    return OrchestratorAnswer(tuple(reader.actions), custom_status, reader.continuation, seen, span)


def _span(context: pb.OrchestrationTraceContext) -> WorkerSpan | None:
    if not context.spanID.value:
        return None
    return WorkerSpan(context.spanID.value, moment_of(context, "spanStartTime"))


class _Reader:
    def __init__(self, instance_id: str) -> None:
        self._instance_id = instance_id
        self.actions: list[Action] = []
        self.continuation: Continuation | None = None

    def read(self, action: pb.OrchestratorAction) -> None:
        kind = action.WhichOneof("orchestratorActionType")
        read = _READERS.get(kind or "")
        if read is None:
            raise InvalidDecisionError(
                f"action {action.id} for instance '{self._instance_id}' is of a kind that this server doesn't know"
                f"{f' ({kind})' if kind else ''}. Use a release of Perdure that is as new as the SDK."
            )
        try:
            read(self, action.id, getattr(action, kind or ""))
        except InvalidRequestError as error:
            raise InvalidDecisionError(
                f"action {action.id} ({kind}) for instance '{self._instance_id}': {error.message}"
            ) from None

    def _add(self, action: Action) -> None:
        self.actions.append(action)

    def schedule_task(self, task_id: int, asked: pb.ScheduleTaskAction) -> None:
        self._add(
            TaskScheduled(
                task_id,
                required(asked.name, "name"),
                text_of(asked, "input"),
                version=column_of(asked, "version"),
                tags=dict(asked.tags),
                trace=trace_of(asked),
            )
        )

    def create_timer(self, task_id: int, asked: pb.CreateTimerAction) -> None:
        fire_at = moment_of(asked, "fireAt")
        if fire_at is None:
            raise InvalidRequestError("'fireAt' is missing. Give it.")
        self._add(TimerCreated(task_id, fire_at))

    def create_child(self, task_id: int, asked: pb.CreateSubOrchestrationAction) -> None:
        self._add(
            SubOrchestrationInstanceCreated(
                task_id,
                required(asked.name, "name"),
                asked.instanceId or uuid4().hex,  # recorded, so that it needn't be the same each time
                text_of(asked, "input"),
                column_of(asked, "version"),
                dict(asked.tags),
                trace_of(asked),
            )
        )

    def send_event(self, task_id: int, asked: pb.SendEventAction) -> None:
        target = required(asked.instance.instanceId, "instance")
        if is_entity(target):
            raise InvalidRequestError(f"an event can't be sent to {shown(target)}. Give the id of an orchestration.")
        self._add(EventSent(task_id, target, required(asked.name, "name"), text_of(asked, "data")))

    def terminate(self, task_id: int, asked: pb.TerminateOrchestrationAction) -> None:
        if is_entity(required(asked.instanceId, "instanceId")):
            raise InvalidRequestError(f"{shown(asked.instanceId)} can't be terminated. Give the id of an orchestration.")
        self._add(TerminationSent(asked.instanceId, task_id, text_of(asked, "reason"), asked.recurse))

    def send_entity_message(self, task_id: int, asked: pb.SendEntityMessageAction) -> None:
        kind = asked.WhichOneof("EntityMessageType")
        match kind:
            case "entityOperationSignaled":
                signaled = asked.entityOperationSignaled
                self._add(
                    EntityOperationSignaled(
                        signaled.targetInstanceId.value,
                        signaled.operation,
                        task_id,
                        text_of(signaled, "input"),
                        moment_of(signaled, "scheduledTime"),
                    )
                )
            case "entityOperationCalled":
                called = asked.entityOperationCalled
                self._add(
                    EntityOperationCalled(
                        called.targetInstanceId.value,
                        called.operation,
                        task_id,
                        text_of(called, "input"),
                        request_id=called.requestId or None,
                    )
                )
            case "entityLockRequested":
                requested = asked.entityLockRequested
                self._add(EntityLockRequested(task_id, requested.criticalSectionId, tuple(requested.lockSet)))
            case "entityUnlockSent":
                sent = asked.entityUnlockSent
                self._add(EntityUnlockSent(sent.targetInstanceId.value, sent.criticalSectionId, task_id))
            case _:
                raise InvalidRequestError("it holds no message to an entity. Use a release of Perdure that is as new as the SDK.")

    def complete(self, task_id: int, asked: pb.CompleteOrchestrationAction) -> None:
        (status,) = statuses_of([asked.orchestrationStatus], "orchestrationStatus")
        if status is OrchestrationRuntimeStatus.ContinuedAsNew:
            if self.continuation is not None:
                raise InvalidRequestError("the orchestration continues as new with an earlier action already.")
            self.continuation = Continuation(
                text_of(asked, "result"),
                column_of(asked, "newVersion"),
                tuple(_carried(event) for event in asked.carryoverEvents),
            )
            return
        failure = failure_of(asked.failureDetails) if asked.HasField("failureDetails") else None
        if status is not OrchestrationRuntimeStatus.Failed:
            failure = None
        elif failure is None:
            failure = failure_of(pb.TaskFailureDetails(errorType="Unknown", errorMessage="the worker gave no details"))
        self._add(ExecutionCompleted(str(status), text_of(asked, "result"), failure))


def _carried(event: pb.HistoryEvent) -> EventRaised:
    if event.WhichOneof("eventType") != "eventRaised":
        raise InvalidRequestError(
            f"'carryoverEvents' has a {event.WhichOneof('eventType')}; only external events can be carried over."
        )
    return EventRaised(event.eventRaised.name, text_of(event.eventRaised, "input"))


_READERS: Mapping[str, Callable[[_Reader, int, Any], None]] = {
    "scheduleTask": _Reader.schedule_task,
    "createTimer": _Reader.create_timer,
    "createSubOrchestration": _Reader.create_child,
    "sendEvent": _Reader.send_event,
    "terminateOrchestration": _Reader.terminate,
    "sendEntityMessage": _Reader.send_entity_message,
    "completeOrchestration": _Reader.complete,
}
"""``rewindOrchestration`` is missing: Perdure undoes the failed turn itself, and asks no worker for a new history."""
