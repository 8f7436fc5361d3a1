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


class TraceContext(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Where in a distributed trace something was asked for, as W3C Trace Context writes it."""

    trace_parent: str
    trace_state: str | None = None
    span_id: str = ""
    """As SDKs of the Durable Task protocol give it beside ``trace_parent``, which has it too."""


class OrchestratorStarted(HistoryEvent, frozen=True, gc=False):
    """A turn begins. ``at`` is the time that the code sees until the next turn (microseconds)."""

    at: int
    idle: bool = False
    """The orchestrator wasn't registered: the events were recorded, but reach the code with the next turn that isn't idle."""
    kept: int = 0
    """How many of the events that follow are kept for code in another process, until it decides (``OrchestratorDecided``)."""


class WorkerSpan(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The tracing span that workers keep for an execution, whichever of them goes on with it."""

    span_id: str
    started_at: int | None = None
    """Microseconds."""


class OrchestratorDecided(HistoryEvent, frozen=True, gc=False):
    """Code in another process has decided; the actions that follow are its own. Always second in its turn."""

    at: int
    """The time that the code saw (microseconds)."""
    seen: int
    """How many of the events kept for it the code has taken in, oldest first. The rest came while it decided."""
    span: WorkerSpan | None = None


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
    trace: TraceContext | None = None
    """Of who started it."""


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
    output: str | None = None
    """JSON text that becomes the instance's output; without it the reason does."""


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
    version: str | None = None
    tags: dict[str, str] = {}
    trace: TraceContext | None = None


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
    tags: dict[str, str] = {}
    """Of its own, beside those of its caller."""
    trace: TraceContext | None = None
    attempt: int = 1
    """Counts calls that use a task id again, as retries of code in another process do."""


class EventSent(HistoryEvent, frozen=True, gc=False):
    """The code sent an external event to another orchestration. ``input`` is JSON text."""

    task_id: int
    instance_id: str
    name: str
    input: str | None = None


class TerminationSent(HistoryEvent, frozen=True, gc=False):
    """The code terminated another orchestration. ``output`` is JSON text."""

    instance_id: str
    task_id: int = -1
    output: str | None = None
    recursive: bool = False


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
    request_id: str | None = None
    """By which code in another process knows the call again."""


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
    """Everything that is durable of an entity. It stands alone in its segment and replaces all that were before."""

    state: str | None = None
    """JSON text; ``None``: the entity doesn't exist."""
    lock: EntityLock | None = None
    waiting: "tuple[EntityOperationSignaled | EntityOperationCalled | EntityLockRequested | EntityUnlockSent, ...]" = ()
    """What is kept back by the lock, or for code that isn't here; in order of arrival. A release waits for the operations of its
    sender."""
    scheduled: tuple[EntityOperationSignaled, ...] = ()
    """Signals whose time hasn't come; earliest first."""
    decisions: int = 0
    """How often code in another process has answered."""


class EntityBacklogExtended(HistoryEvent, frozen=True, gc=False):
    """More waits behind what an entity keeps back, and nothing else of it has changed. It stands alone in its segment."""

    before: int
    """How many were waiting already."""
    waiting: "tuple[EntityOperationSignaled | EntityOperationCalled | EntityLockRequested | EntityUnlockSent, ...]"
    """In order of arrival."""


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
Action = (
    TaskScheduled
    | TimerCreated
    | TimerCanceled
    | SubOrchestrationInstanceCreated
    | EventSent
    | TerminationSent
    | EntityAction
    | ExecutionCompleted
)
AnyEvent = OrchestratorStarted | OrchestratorDecided | IncomingEvent | Action | EntityStateSaved | EntityBacklogExtended

COMPLETIONS: tuple[type[HistoryEvent], ...] = Completion.__args__
ACTIONS: tuple[type[HistoryEvent], ...] = Action.__args__
