"""History events: the immutable facts of an orchestration's past. The names are those of the Durable Task Framework.

A turn is recorded as ``OrchestratorStarted``, then the events that arrived, then one event per action of the user's
code, in the order in which the code asked. So an action *is* the event that records it: there is no second set of
classes, and a replayed action is compared with its recorded twin field by field (decision 0004).
"""

import msgspec

from perdure.core.failures import FailureDetails


class HistoryEvent(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, tag_field="type"):
    """Base of all events. JSON objects with a ``type`` field; fields that hold their default are left out."""


class ParentLink(msgspec.Struct, frozen=True, gc=False):
    """Who waits for a sub-orchestration, and for which of its tasks."""

    instance_id: str
    execution_id: str
    generation: int
    task_id: int


class OrchestratorStarted(HistoryEvent, frozen=True, gc=False):
    """A turn begins. ``at`` is the time that the code sees until the next turn (microseconds)."""

    at: int
    idle: bool = False
    """The orchestrator wasn't registered: the events were recorded, but reach the code with the next turn that isn't idle."""


# --- events that arrive -------------------------------------------------------------------------------------------


class ExecutionStarted(HistoryEvent, frozen=True, gc=False):
    """The instance (or its next generation) begins. ``input`` is JSON text."""

    name: str
    execution_id: str
    generation: int = 0
    input: str | None = None
    version: str | None = None
    tags: dict[str, str] = {}
    parent: ParentLink | None = None
    start_at: int | None = None
    """Not before this time (microseconds)."""
    features: tuple[str, ...] = ()
    """Engine logic flags in force for this execution (rule 12)."""


class TaskCompleted(HistoryEvent, frozen=True, gc=False):
    """An activity returned. ``result`` is JSON text."""

    task_id: int
    result: str | None = None


class TaskFailed(HistoryEvent, frozen=True, gc=False):
    """An activity failed."""

    task_id: int
    failure: FailureDetails


class SubOrchestrationInstanceCompleted(HistoryEvent, frozen=True, gc=False):
    """A sub-orchestration returned. ``result`` is JSON text."""

    task_id: int
    result: str | None = None


class SubOrchestrationInstanceFailed(HistoryEvent, frozen=True, gc=False):
    """A sub-orchestration failed, was terminated, or couldn't be started."""

    task_id: int
    failure: FailureDetails


class TimerFired(HistoryEvent, frozen=True, gc=False):
    """A timer's time has come."""

    task_id: int


class EventRaised(HistoryEvent, frozen=True, gc=False):
    """An external event arrived. ``input`` is JSON text."""

    name: str
    input: str | None = None


class ExecutionSuspended(HistoryEvent, frozen=True, gc=False):
    """From here on events are recorded but kept from the code."""

    reason: str | None = None


class ExecutionResumed(HistoryEvent, frozen=True, gc=False):
    """The events kept since the suspension reach the code now, in order."""

    reason: str | None = None


class ExecutionTerminated(HistoryEvent, frozen=True, gc=False):
    """Somebody ended the instance. ``recursive``: its running sub-orchestrations too."""

    reason: str | None = None
    recursive: bool = False


class ExecutionRewound(HistoryEvent, frozen=True, gc=False):
    """The failed instance goes on: the turn in which it failed was undone."""

    reason: str | None = None
    next_task_id: int = 0
    """Task ids go on from here, above those of the turn that was undone: what it asked for may still be answered, and the
    answer must not be taken for one to a new call."""


class EntityOperationCompleted(HistoryEvent, frozen=True, gc=False):
    """An entity has done what it was called for. ``result`` is JSON text."""

    task_id: int
    result: str | None = None


class EntityOperationFailed(HistoryEvent, frozen=True, gc=False):
    """An operation that an entity was called for has failed."""

    task_id: int
    failure: FailureDetails


class EntityLockGranted(HistoryEvent, frozen=True, gc=False):
    """The code has all entities of a critical section to itself. ``lock_set`` tells whom to release if nobody wants them."""

    task_id: int
    critical_section_id: str
    lock_set: tuple[str, ...]


# --- actions: what the code asked for -----------------------------------------------------------------------------


class TaskScheduled(HistoryEvent, frozen=True, gc=False):
    """The code called an activity. ``origin`` is the task id of the first attempt, where a retry policy calls again."""

    task_id: int
    name: str
    input: str | None = None
    attempt: int = 1
    origin: int | None = None


class TimerCreated(HistoryEvent, frozen=True, gc=False):
    """The code (or a retry policy, or the time-out of an event wait) asked to be woken at ``fire_at`` (microseconds)."""

    task_id: int
    fire_at: int


class TimerCanceled(HistoryEvent, frozen=True, gc=False):
    """The code no longer wants the timer. Recorded so that the past can be folded without running the code."""

    task_id: int


class SubOrchestrationInstanceCreated(HistoryEvent, frozen=True, gc=False):
    """The code called a sub-orchestrator."""

    task_id: int
    name: str
    instance_id: str
    input: str | None = None
    version: str | None = None


class EntityOperationSignaled(HistoryEvent, frozen=True, gc=False):
    """The code (or a client, or an entity) sent an operation to an entity without waiting for it. ``input`` is JSON text."""

    entity: str
    operation: str
    task_id: int = -1
    """-1 where no orchestration's code asked for it."""
    input: str | None = None
    scheduled_time: int | None = None
    """Not before this time (microseconds)."""
    sender: str | None = None
    """Instance that sent it; only in messages."""


class EntityOperationCalled(HistoryEvent, frozen=True, gc=False):
    """The code called an entity and waits for the outcome. ``input`` is JSON text."""

    entity: str
    operation: str
    task_id: int
    input: str | None = None
    parent: ParentLink | None = None
    """Who gets the outcome; only in messages."""


class EntityLockRequested(HistoryEvent, frozen=True, gc=False):
    """The code wants entities for itself. The request goes from one to the next, in the order of ``lock_set``."""

    task_id: int
    critical_section_id: str
    lock_set: tuple[str, ...]
    """Instance ids, sorted: whoever locks several takes them in the same order, so that nobody waits in a circle."""
    position: int = 0
    """Whose turn it is; only in messages."""
    parent: ParentLink | None = None
    """Who gets the grant; only in messages."""


class EntityUnlockSent(HistoryEvent, frozen=True, gc=False):
    """The code has left a critical section: one for each of its entities. Or it gave up waiting: one, to the first of them."""

    entity: str
    critical_section_id: str
    task_id: int = -1
    """-1 where the end of the orchestration released the entity."""
    following: tuple[str, ...] = ()
    """Entities to be told by this one, in lock order: the request may still be on its way to them, and comes from this one too,
    so the release can't overtake it."""


class ExecutionCompleted(HistoryEvent, frozen=True, gc=False):
    """The last event: ``status`` is Completed, Failed or Terminated. ``result`` is JSON text."""

    status: str
    result: str | None = None
    failure: FailureDetails | None = None


# --- entities -----------------------------------------------------------------------------------------------------


class EntityLock(msgspec.Struct, frozen=True, gc=False):
    """Who has an entity to itself."""

    critical_section_id: str
    owner: str
    """The orchestration's instance id."""


class EntityStateSaved(HistoryEvent, frozen=True, gc=False):
    """Everything that is durable of an entity. It stands alone in its segment and replaces the one before."""

    state: str | None = None
    """JSON text; ``None``: the entity doesn't exist."""
    lock: EntityLock | None = None
    waiting: "tuple[EntityOperationSignaled | EntityOperationCalled | EntityLockRequested, ...]" = ()
    """What is kept back by the lock, or for an app that has the entity's code; in order of arrival."""
    scheduled: tuple[EntityOperationSignaled, ...] = ()
    """Signals whose time hasn't come; earliest first."""


Completion = (
    TaskCompleted
    | TaskFailed
    | SubOrchestrationInstanceCompleted
    | SubOrchestrationInstanceFailed
    | TimerFired
    | EntityOperationCompleted
    | EntityOperationFailed
    | EntityLockGranted
)
IncomingEvent = (
    ExecutionStarted | Completion | EventRaised | ExecutionSuspended | ExecutionResumed | ExecutionTerminated | ExecutionRewound
)
EntityAction = EntityOperationSignaled | EntityOperationCalled | EntityLockRequested | EntityUnlockSent
Action = TaskScheduled | TimerCreated | TimerCanceled | SubOrchestrationInstanceCreated | EntityAction | ExecutionCompleted
AnyEvent = OrchestratorStarted | IncomingEvent | Action | EntityStateSaved

COMPLETIONS: tuple[type[HistoryEvent], ...] = Completion.__args__
ACTIONS: tuple[type[HistoryEvent], ...] = Action.__args__
