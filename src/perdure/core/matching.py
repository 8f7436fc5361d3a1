"""Determinism checked: the actions of a replayed turn against the actions recorded for it."""

from collections.abc import Callable, Sequence

from perdure.core.errors import PerdureError
from perdure.core.events import (
    Action,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationSignaled,
    EntityUnlockSent,
    EventSent,
    ExecutionCompleted,
    SubOrchestrationInstanceCreated,
    TaskScheduled,
    TerminationSent,
    TimerCanceled,
    TimerCreated,
)

_ENTITY_ACTIONS = (EntityOperationCalled, EntityOperationSignaled, EntityLockRequested, EntityUnlockSent)


class NonDeterminismError(PerdureError):
    """The code does not do what its history says: it was changed under a running instance, or isn't deterministic.

    ``__cause__`` is the exception that the code raised during the replay, if it raised one.
    """

    code = "PD1201"


def describe(action: Action) -> str:
    """One action in words."""
    match action:
        case TaskScheduled():
            return f"call activity '{action.name}' (task {action.task_id})"
        case SubOrchestrationInstanceCreated():
            return f"call sub-orchestrator '{action.name}' (task {action.task_id})"
        case TimerCreated():
            return f"create a timer (task {action.task_id})"
        case TimerCanceled():
            return f"cancel the timer of task {action.task_id}"
        case EventSent():
            return f"send event '{action.name}' to instance '{action.instance_id}' (task {action.task_id})"
        case TerminationSent():
            return f"terminate instance '{action.instance_id}' (task {action.task_id})"
        case EntityOperationCalled():
            return f"call operation '{action.operation}' of entity '{action.entity}' (task {action.task_id})"
        case EntityOperationSignaled():
            return f"signal operation '{action.operation}' to entity '{action.entity}' (task {action.task_id})"
        case EntityLockRequested():
            return f"lock the entities {', '.join(action.lock_set)} (task {action.task_id})"
        case EntityUnlockSent():
            return f"release '{action.entity}' (task {action.task_id})"
        case ExecutionCompleted():
            return f"end as {action.status}"


def same(recorded: Action, asked: Action) -> bool:
    """Whether a replayed action is the recorded one. As in Durable Task: kind, task id and name; not inputs or fire times.

    Of entities it is which one, and the operation: what the locks of a critical section are for depends on it.
    """
    if recorded.__class__ is not asked.__class__:
        return False
    if isinstance(recorded, ExecutionCompleted):
        return recorded.status == asked.status  # type: ignore[union-attr]
    if recorded.task_id != asked.task_id:  # type: ignore[union-attr]
        return False
    if isinstance(recorded, _ENTITY_ACTIONS):
        return all(getattr(recorded, field, None) == getattr(asked, field, None) for field in ("entity", "operation", "lock_set"))
    name = getattr(recorded, "name", None)
    asked_name = getattr(asked, "name", None)
    return name == asked_name or (name is not None and asked_name is not None and name.casefold() == asked_name.casefold())


def check_turn(
    instance_id: str,
    turn: int,
    recorded: Sequence[Action],
    asked: Sequence[Action],
    sources: Sequence[str],
    stands_at: Callable[[], str],
    *,
    continued_at: str | None,
) -> None:
    """Accepts a replayed turn, or says what differs first.

    ``sources[i]`` is the user's file and line that asked for ``asked[i]``; ``stands_at`` tells where the code is now;
    ``continued_at``: where it called ``continue_as_new``, which no replayed turn has done.

    Raises:
        NonDeterminismError: the two sequences differ.
    """
    if continued_at is None and len(recorded) == len(asked) and all(map(same, recorded, asked)):
        return
    position = next(
        (i for i, (old, new) in enumerate(zip(recorded, asked, strict=False)) if not same(old, new)),
        min(len(recorded), len(asked)),
    )
    history_says = describe(recorded[position]) if position < len(recorded) else "ask for nothing more"
    if position < len(asked):
        code_asked = f"asked to {describe(asked[position])} at {sources[position]}"
    elif continued_at is not None:
        code_asked = f"asked to continue as new at {continued_at}"
    else:
        code_asked = f"did not ask for it; it stands at {stands_at()}"
    raise NonDeterminismError(
        f"orchestration '{instance_id}' can't be replayed: in turn {turn} its history says that the code went on to "
        f"{history_says}, but the code now {code_asked}. The orchestrator was changed while this instance was running, or reads "
        "something that differs between runs (clock, random numbers, environment, I/O). Bring back the earlier code, or give the "
        "new code a new name or version and let running instances finish on the old one."
    )
