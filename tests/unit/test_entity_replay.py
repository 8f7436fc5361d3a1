"""What an orchestration did with entities is part of its history: code that does something else now is found out."""

from collections.abc import Callable
from typing import Any

import pytest

import perdure as df
from perdure.core.events import EventRaised
from perdure.core.messages import Message
from perdure.core.state import InstanceState
from tests.unit.entity_world import App, EntityWorld

Step = Callable[[df.DurableOrchestrationContext], Any]


def anything(context: df.DurableEntityContext) -> None:
    context.set_state(1)


def calls(entity: str = "@anything@a", operation: str = "go", input_: Any = 1) -> Step:
    def step(context: df.DurableOrchestrationContext) -> Any:
        yield context.call_entity(entity, operation, input_)

    return step


def signals(entity: str = "@anything@a", operation: str = "go") -> Step:
    def step(context: df.DurableOrchestrationContext) -> Any:
        context.signal_entity(entity, operation)
        return
        yield

    return step


def locks(*entities: str) -> Step:
    def step(context: df.DurableOrchestrationContext) -> Any:
        with (yield context.lock_entities(*entities)):
            pass

    return step


def locks_for_ever(context: df.DurableOrchestrationContext) -> Any:
    yield context.lock_entities("@anything@a")


def nothing(context: df.DurableOrchestrationContext) -> Any:
    return
    yield


def replayed_as(before: Step, after: Step) -> InstanceState:
    """Runs one step with the old code, the rest with the new."""

    def orchestrator(step: Step) -> Callable[..., Any]:
        def run(context: df.DurableOrchestrationContext) -> Any:
            yield from step(context)
            yield context.wait_for_external_event("go")
            return "done"

        return run

    app = App()
    app.entity(anything)
    app.orchestrator(orchestrator(before), "run")
    world = EntityWorld(app, evict=True)
    world.start("run")
    world.settle()
    app.orchestrator(orchestrator(after), "run")
    world.turn("i", Message("i", EventRaised("go")))
    state = world.live["i"].durable
    assert isinstance(state, InstanceState)
    assert state.completed is not None
    return state


@pytest.mark.parametrize(
    ("before", "after", "history", "code"),
    [
        (calls(), calls(operation="stop"), "call operation 'go' of entity '@anything@a'", "call operation 'stop' of entity"),
        (calls(), calls("@anything@b"), "call operation 'go' of entity '@anything@a'", "of entity '@anything@b'"),
        (calls(), signals(), "call operation 'go'", "signal operation 'go' to entity '@anything@a'"),
        (signals(), signals("@other@a"), "signal operation 'go' to entity '@anything@a'", "to entity '@other@a'"),
        (signals(), nothing, "signal operation 'go'", "did not ask for it"),
        (locks("@anything@a"), locks("@anything@b"), "lock the entities @anything@a", "lock the entities @anything@b"),
        (locks("@anything@a"), locks_for_ever, "release '@anything@a'", "did not ask for it"),
    ],
)
def test_other_actions_than_recorded_are_found_out(before: Step, after: Step, history: str, code: str) -> None:
    state = replayed_as(before, after)
    assert state.completed is not None
    assert state.completed.failure is not None
    assert state.completed.failure.type == "perdure.NonDeterminismError"
    assert history in state.completed.failure.message
    assert code in state.completed.failure.message


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (calls(), calls(input_=2)),
        (calls("@Anything@a"), calls("@ANYTHING@a")),
        (locks("@anything@b", "@anything@a"), locks("@anything@a", "@anything@b")),
    ],
)
def test_what_makes_no_difference_is_accepted(before: Step, after: Step) -> None:
    state = replayed_as(before, after)
    assert state.status == "Completed"
