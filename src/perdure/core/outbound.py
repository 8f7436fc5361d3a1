"""What the actions of an orchestration mean outside of it: activities to run, messages to children, entities and callers."""

import msgspec

from perdure.core.converter import readable
from perdure.core.effects import DispatchActivity
from perdure.core.errors import PerdureError
from perdure.core.events import (
    EntityAction,
    EntityLockGranted,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationSignaled,
    EntityUnlockSent,
    ExecutionCompleted,
    ExecutionStarted,
    ParentLink,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskScheduled,
)
from perdure.core.failures import FailureDetails
from perdure.core.ids import child_execution_id
from perdure.core.messages import Message
from perdure.core.state import InstanceState
from perdure.core.status import OrchestrationRuntimeStatus


class OrchestrationTerminatedError(PerdureError):
    """A sub-orchestration was terminated; its caller sees this type in the failure."""

    code = "PD1106"


def start_child(instance_id: str, started: ExecutionStarted, action: SubOrchestrationInstanceCreated) -> Message:
    """The start of a sub-orchestration."""
    return Message(
        action.instance_id,
        ExecutionStarted(
            name=action.name,
            execution_id=child_execution_id(started.execution_id, started.generation, action.task_id, action.attempt),
            input=action.input,
            version=action.version,
            tags=started.tags | action.tags if action.tags else started.tags,
            parent=ParentLink(instance_id, started.execution_id, started.generation, action.task_id),
            features=started.features,
            trace=action.trace,
        ),
    )


def dispatch(instance_id: str, state: InstanceState, started: ExecutionStarted, action: TaskScheduled) -> DispatchActivity:
    """The effect of a scheduled activity. All attempts of one call share the idempotency key, whoever repeats it."""
    origin = action.task_id if action.origin is None else action.origin
    return DispatchActivity(
        instance_id,
        started.execution_id,
        started.generation,
        action.task_id,
        action.name,
        action.input,
        action.attempt,
        f"{started.execution_id}-{started.generation}-{origin}",
        action.version,
        action.tags,
        action.trace,
        state.elsewhere,
    )


def message_to_entity(instance_id: str, started: ExecutionStarted, action: EntityAction) -> Message:
    """What an entity gets to know of an action of an orchestration."""
    if isinstance(action, EntityOperationSignaled):
        return Message(action.entity, msgspec.structs.replace(action, sender=instance_id))
    if isinstance(action, EntityUnlockSent):
        return Message(action.entity, action)
    parent = ParentLink(instance_id, started.execution_id, started.generation, action.task_id)
    target = action.entity if isinstance(action, EntityOperationCalled) else action.lock_set[0]
    return Message(target, msgspec.structs.replace(action, parent=parent))


def releases(section: EntityLockRequested | EntityLockGranted) -> list[Message]:
    """Gives back all entities of a critical section: at once if it was granted, else behind the request, wherever that is."""
    if isinstance(section, EntityLockGranted):
        return [Message(entity, EntityUnlockSent(entity, section.critical_section_id)) for entity in section.lock_set]
    first, *following = section.lock_set
    return [Message(first, EntityUnlockSent(first, section.critical_section_id, following=tuple(following)))]


def message_to_parent(started: ExecutionStarted, end: ExecutionCompleted) -> Message | None:
    """How the orchestration that called this one learns of its end; ``None`` where there is none."""
    parent = started.parent
    if parent is None:
        return None
    failure = end.failure
    if end.status == OrchestrationRuntimeStatus.Terminated:
        reason = "no reason given" if end.result is None else readable(end.result)
        failure = FailureDetails("perdure.OrchestrationTerminatedError", f"the instance was terminated: {reason}")
    event = (
        SubOrchestrationInstanceCompleted(parent.task_id, end.result)
        if failure is None
        else SubOrchestrationInstanceFailed(parent.task_id, failure)
    )
    return Message(parent.instance_id, event, parent.execution_id, parent.generation)


def open_activities(instance_id: str, state: InstanceState) -> list[DispatchActivity]:
    """What has to be dispatched (again) after a crash: scheduled activities without a completion."""
    if state.started is None or state.completed is not None or not state.pending:
        return []
    started = state.started
    return [dispatch(instance_id, state, started, work) for work in state.open_work.values() if isinstance(work, TaskScheduled)]
