"""What a worker may ask for. Answers come from outside: what could break an invariant is refused before it changes anything."""

from collections.abc import Callable

import msgspec

from perdure.core.answers import OrchestratorAnswer
from perdure.core.entity_id import EntityId
from perdure.core.errors import PerdureError
from perdure.core.events import (
    ACTIONS,
    Action,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationSignaled,
    EntityUnlockSent,
    ExecutionCompleted,
    SubOrchestrationInstanceCreated,
    TaskScheduled,
    TimerCanceled,
    TimerCreated,
)
from perdure.core.ids import check_instance_id
from perdure.core.state import InstanceState
from perdure.core.status import OrchestrationRuntimeStatus

_OPENING = (TaskScheduled, TimerCreated, SubOrchestrationInstanceCreated, EntityOperationCalled, EntityLockRequested)
_MAX_TASK_ID = 2**31 - 1
_ENDS = (OrchestrationRuntimeStatus.Completed, OrchestrationRuntimeStatus.Failed, OrchestrationRuntimeStatus.Terminated)


class InvalidAnswerError(PerdureError):
    """A worker's answer can't be: it asks for what the protocol rules out. Nothing of it was applied."""

    code = "PD1121"


class StaleAnswerError(PerdureError):
    """A worker answered for work that isn't its own (any more): given to another worker, answered before, or obsolete."""

    code = "PD1122"


def checked_actions(instance_id: str, state: InstanceState, answer: OrchestratorAnswer, offered: int) -> list[Action]:
    """The answer's actions: folding them leaves a history that could have come from code of this process.

    Entities have the ids that they are stored by; locks are in the order in which everybody takes them; the end comes last.

    Raises:
        InvalidAnswerError: it wouldn't.
    """

    def refuse(problem: str) -> InvalidAnswerError:
        return InvalidAnswerError(f"the worker's answer for instance '{instance_id}' can't be: {problem}. Nothing was changed.")

    if answer.seen is not None and not 0 < answer.seen <= offered:
        raise refuse(f"it has seen {answer.seen} of {offered} new events")
    _check_ends(answer, refuse)
    actions: list[Action] = []
    opened: set[int] = set()
    locked = state.critical_section is not None
    for action in answer.actions:
        if action.__class__ not in ACTIONS:
            raise refuse(f"{type(action).__name__} is no action")
        if isinstance(action, _OPENING):
            task_id = action.task_id
            if not 0 <= task_id <= _MAX_TASK_ID:
                raise refuse(f"{type(action).__name__} has the id {task_id}")
            if task_id in opened or task_id in state.open_work:
                raise refuse(f"{type(action).__name__} has the id {task_id}, which belongs to something that is still open")
            opened.add(task_id)
        if isinstance(action, TimerCanceled) and not (state.is_open(action) or _may_have_fired(action.task_id, state)):
            raise refuse(f"it cancels timer {action.task_id}, which isn't one")
        if isinstance(action, EntityLockRequested):
            if locked or not action.lock_set:
                raise refuse("it locks entities although it has some, or none at all")
            locked = True
        if isinstance(action, EntityUnlockSent):
            locked = False
        actions.append(_with_targets(action, refuse))
    actions.sort(key=_is_end)  # whatever else it asked for goes before
    return actions


def _may_have_fired(task_id: int, state: InstanceState) -> bool:
    return task_id not in state.open_work and 0 <= task_id < state.next_task_id


def _check_ends(answer: OrchestratorAnswer, refuse: Callable[[str], InvalidAnswerError]) -> None:
    ends = [action for action in answer.actions if isinstance(action, ExecutionCompleted)]
    if len(ends) + (answer.continuation is not None) > 1:
        raise refuse("it ends more than once")
    if ends and ends[0].status not in _ENDS:
        raise refuse(f"it ends with status {ends[0].status}")


def _with_targets(action: Action, refuse: Callable[[str], InvalidAnswerError]) -> Action:
    try:
        if isinstance(action, EntityOperationCalled | EntityOperationSignaled | EntityUnlockSent):
            return msgspec.structs.replace(action, entity=str(EntityId.parse(action.entity)))
        if isinstance(action, EntityLockRequested):
            lock_set = tuple(sorted({str(EntityId.parse(entity)) for entity in action.lock_set}))
            return msgspec.structs.replace(action, lock_set=lock_set, position=0)
        if isinstance(action, SubOrchestrationInstanceCreated):
            check_instance_id(action.instance_id)
    except PerdureError as error:
        raise refuse(f"{type(action).__name__}: {error}") from error
    return action


def _is_end(action: Action) -> bool:
    return isinstance(action, ExecutionCompleted)
