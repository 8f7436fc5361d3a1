"""What a worker asks for, as it is recorded. What is refused: tests/e2e/test_remote_decisions.py."""

from perdure.core.answer_checks import checked_actions
from perdure.core.answers import OrchestratorAnswer
from perdure.core.events import (
    Action,
    EntityLockRequested,
    EntityOperationCalled,
    EntityUnlockSent,
    ExecutionCompleted,
    TaskScheduled,
)
from perdure.core.state import InstanceState


def recorded(*actions: Action) -> list[Action]:
    return checked_actions("i", InstanceState(), OrchestratorAnswer(actions), 1)


def test_the_end_is_the_last_action_wherever_it_stands() -> None:
    end = ExecutionCompleted("Completed", "1")
    assert recorded(end, TaskScheduled(2, "n")) == [TaskScheduled(2, "n"), end]


def test_everybody_takes_locks_in_the_same_order_and_each_once() -> None:
    (locked,) = recorded(EntityLockRequested(1, "s", ("@b@x", "@A@x", "@a@x")))
    assert isinstance(locked, EntityLockRequested)
    assert locked.lock_set == ("@a@x", "@b@x")


def test_entities_have_the_id_that_they_are_stored_by() -> None:
    call, release = recorded(EntityOperationCalled("@Counter@Key", "add", 1), EntityUnlockSent("@Counter@Key", "s", 2))
    assert isinstance(call, EntityOperationCalled)
    assert isinstance(release, EntityUnlockSent)
    assert (call.entity, release.entity) == ("@counter@Key", "@counter@Key")
