"""What a worker in another process answers: the decisions of code that isn't here, in the terms of this engine."""

import msgspec

from perdure.core.events import Action, EntityOperationSignaled, EventRaised, TraceContext, WorkerSpan
from perdure.core.failures import FailureDetails

Ticket = tuple[str, int, int, int]
"""Which decision of an instance is due. It follows from what is stored, so that a restart gives the same one; equal tickets mean
an equal past. Opaque outside of core."""


class Continuation(msgspec.Struct, frozen=True):
    """The orchestration continues as new."""

    input: str | None = None
    """JSON text."""
    version: str | None = None
    """``None``: as before."""
    carried: tuple[EventRaised, ...] = ()
    """Events that the old generation has seen and not used, for the new one."""


class OrchestratorAnswer(msgspec.Struct, frozen=True):
    """One decision of an orchestrator: what its code asks for, having seen its history.

    The code's ids of actions are the task ids here. ``ExecutionCompleted`` among the actions ends the instance.
    """

    actions: tuple[Action, ...] = ()
    """In the order in which the code asked."""
    custom_status: str | None = None
    """JSON text; ``None``: there is none (any more)."""
    continuation: Continuation | None = None
    seen: int | None = None
    """How many of the new events the code has taken in, without ``OrchestratorStarted``; the others come again. ``None``: all."""
    span: WorkerSpan | None = None


class OperationResult(msgspec.Struct, frozen=True):
    """What one operation of an entity came to. ``result`` is JSON text."""

    result: str | None = None
    failure: FailureDetails | None = None


class OrchestrationSent(msgspec.Struct, frozen=True):
    """An entity's code starts an orchestration, without waiting for it."""

    name: str
    instance_id: str | None = None
    """``None``: a new one."""
    input: str | None = None
    version: str | None = None
    start_at: int | None = None
    """Not before this time (microseconds)."""
    trace: TraceContext | None = None


class EntityAnswer(msgspec.Struct, frozen=True):
    """What a batch of operations did to an entity, all of it or nothing."""

    results: tuple[OperationResult, ...]
    """Of the first operations of the batch, in order; the others come again."""
    state: str | None = None
    """JSON text, after the last of them; ``None``: the entity has no state (any more)."""
    sent: tuple[EntityOperationSignaled | OrchestrationSent, ...] = ()
