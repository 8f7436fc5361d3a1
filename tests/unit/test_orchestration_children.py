"""Sub-orchestrations: ids, what is handed down, results, failures through levels, termination."""

from datetime import timedelta

import pytest

from perdure.core.effects import DispatchActivity
from perdure.core.events import ExecutionStarted, ExecutionTerminated, ParentLink, SubOrchestrationInstanceCreated
from perdure.core.failures import TaskFailedError
from perdure.core.messages import Message
from perdure.core.retry import RetryOptions
from tests.unit.driver import World

SECOND = timedelta(seconds=1)


def echo(context):
    return [context.get_input(), context.instance_id, context.parent_instance_id, context.version]
    yield


def wait(context):
    return (yield context.wait_for_external_event("go"))


def test_a_child_gets_an_id_of_its_own_and_its_parents_version_and_tags(world: World):
    def parent(context):
        return (yield context.call_sub_orchestrator(echo, {"a": 1}))

    world.app.orchestrator(echo)
    instance = world.start(world.app.orchestrator(parent), version="7", tags={"team": "red"})
    (message,) = world.pending
    assert isinstance(message, Message)
    started = message.event
    assert isinstance(started, ExecutionStarted)
    assert message.instance_id == "i:0:0000"
    assert started.parent == ParentLink("i", "execution-of-i", 0, 0)
    assert (started.input, started.tags, len(started.execution_id)) == ('{"a":1}', {"team": "red"}, 32)
    world.settle()
    assert instance.output == [{"a": 1}, "i:0:0000", "i", "7"]
    assert world.retrace() == 1


def test_a_child_may_have_an_explicit_id_and_version(world: World):
    def parent(context):
        return (yield context.call_sub_orchestrator("ECHO", 1, instance_id="child", version="8"))

    world.app.orchestrator(echo)
    instance = world.start(world.app.orchestrator(parent), version="7")
    world.settle()
    assert instance.output == [1, "child", "i", "8"]


def test_children_of_one_parent_have_different_ids_in_every_generation(world: World):
    def parent(context):
        ids = yield context.task_all([context.call_sub_orchestrator(echo, number) for number in range(2)])
        seen = [*context.get_input(), *[one[1] for one in ids]]
        if len(seen) < 4:
            context.continue_as_new(seen)
            return None
        return seen

    world.app.orchestrator(echo)
    instance = world.start(world.app.orchestrator(parent), [])
    world.settle()
    assert instance.output == ["i:0:0000", "i:0:0001", "i:1:0000", "i:1:0001"]
    executions = {child.orchestration.started.execution_id for key, child in world.instances.items() if key != "i"}
    assert len(executions) == 4


@pytest.mark.parametrize("instance_id", ["i", "top", "a/b", "@entity@1", "x" * 257])
def test_ids_that_a_child_cannot_have_are_refused_where_it_is_called(world: World, instance_id: str):
    def parent(context):
        yield context.call_sub_orchestrator(echo, instance_id=instance_id)

    def top(context):
        yield context.call_sub_orchestrator(parent, instance_id="i")

    world.app.orchestrator(echo)
    world.app.orchestrator(parent)
    world.start(world.app.orchestrator(top), instance_id="top")
    world.settle()
    assert world.instances["i"].failure.type == "perdure.InvalidInstanceIdError"


@pytest.mark.parametrize("how", ["child", "next generation"])
def test_a_version_that_no_store_can_keep_is_refused_where_it_is_given(world: World, how: str):
    def parent(context):
        if how == "child":
            yield context.call_sub_orchestrator(echo, version="1\0")
        context.continue_as_new(None, new_version="1\0")

    world.app.orchestrator(echo)
    world.start(world.app.orchestrator(parent))
    world.settle()
    assert world.instances["i"].failure.type == "perdure.InvalidNameError"


def test_a_failure_arrives_through_three_levels_with_its_whole_chain(world: World):
    def fail(value, job: DispatchActivity):
        raise KeyError("the root")

    def leaf(context):
        yield context.call_activity("fail")

    def middle(context):
        try:
            yield context.call_sub_orchestrator(leaf)
        except TaskFailedError as error:
            raise RuntimeError("in the middle") from error

    def top(context):
        try:
            yield context.call_sub_orchestrator(middle)
        except TaskFailedError as error:
            kinds = [KeyError, RuntimeError, "KeyError", "perdure.TaskFailedError", ValueError]
            return [
                error.what,
                [link.type for link in error.details.chain()],
                [error.is_caused_by(kind) for kind in kinds],
                "in fail" in (list(error.details.chain())[-1].traceback or ""),
            ]

    world.app.activity("fail", fail)
    for function in (leaf, middle):
        world.app.orchestrator(function)
    instance = world.start(world.app.orchestrator(top))
    world.settle()
    assert instance.output == [
        "sub-orchestration 'middle'",
        ["RuntimeError", "perdure.TaskFailedError", "perdure.TaskFailedError", "KeyError"],
        [True, True, True, True, False],
        True,
    ]
    assert world.instances["i:0:0000"].failure.type == "RuntimeError"


def test_a_child_that_is_terminated_fails_its_caller(world: World):
    def parent(context):
        try:
            yield context.call_sub_orchestrator(wait, instance_id="child")
        except TaskFailedError as error:
            return [error.is_caused_by("OrchestrationTerminatedError"), error.details.message]

    world.app.orchestrator(wait)
    instance = world.start(world.app.orchestrator(parent))
    world.settle()
    world.terminate("enough", "child")
    world.settle()
    assert instance.output == [True, "the instance was terminated: enough"]


def test_terminate_reaches_running_descendants_only_if_recursive(world: World):
    def parent(context):
        yield context.task_all([context.call_sub_orchestrator(name, instance_id=name) for name in ("middle", "done")])

    def middle(context):
        yield context.call_sub_orchestrator(wait, instance_id="leaf")

    def done(context):
        return None
        yield

    for function in (wait, middle, done):
        world.app.orchestrator(function)
    world.start(world.app.orchestrator(parent))
    world.settle()
    world.terminate("just me")
    world.settle()
    statuses = {key: one.status for key, one in world.instances.items()}
    assert statuses == {"i": "Terminated", "middle": "Running", "leaf": "Running", "done": "Completed"}

    world.terminate("all", "middle", recursive=True)
    assert world.pending[0] == Message("leaf", ExecutionTerminated("its caller 'middle' was terminated", recursive=True))
    world.settle()
    assert world.instances["leaf"].status == "Terminated"


def test_a_recursive_terminate_in_a_rebuilt_or_suspended_instance_finds_its_children_too(world: World):
    def parent(context):
        yield context.call_sub_orchestrator(wait, instance_id="child")

    world.app.orchestrator(wait)
    world.start(world.app.orchestrator(parent))
    world.settle()
    world.suspend()
    world.rehydrate()
    world.terminate(recursive=True)
    world.settle()
    assert world.instances["child"].status == "Terminated"


def test_a_child_whose_caller_has_ended_or_moved_on_changes_nothing(world: World):
    def parent(context):
        child = context.call_sub_orchestrator(wait, instance_id="child")
        yield context.wait_for_external_event("stop")
        return child.is_completed

    world.app.orchestrator(wait)
    instance = world.start(world.app.orchestrator(parent))
    world.settle()
    world.raise_event("stop")
    world.raise_event("go", 1, "child")
    world.settle()
    assert (instance.output, world.instances["child"].output) == (False, 1)


def test_a_child_continues_as_new_and_still_answers(world: World):
    def child(context):
        value = yield context.wait_for_external_event("n")
        if value < 2:
            context.continue_as_new(None)
            return None
        return value

    def parent(context):
        return (yield context.call_sub_orchestrator(child, instance_id="child"))

    world.app.orchestrator(child)
    instance = world.start(world.app.orchestrator(parent))
    world.settle()
    for number in range(3):
        world.raise_event("n", number, "child")
    world.settle()
    assert instance.output == 2
    assert world.retrace("child") == 3


def test_retries_of_a_child_have_the_same_id_and_another_execution(world: World):
    executions: list[str] = []

    def flaky(context):
        # Not deterministic on purpose: it is never replayed after it has ended.
        executions.append(context.instance_id)
        if len(executions) < 3:
            raise ValueError("not yet")
        return len(executions)
        yield

    def parent(context):
        return (yield context.call_sub_orchestrator_with_retry(flaky, RetryOptions(1000, 5), "in", "child"))

    world.app.orchestrator(flaky)
    instance = world.start(world.app.orchestrator(parent))
    world.run()
    assert instance.output == 3
    assert executions == ["child"] * 3
    created = [event for event in instance.history if isinstance(event, SubOrchestrationInstanceCreated)]
    assert [(one.task_id, one.instance_id, one.input) for one in created] == [(n, "child", '"in"') for n in (0, 2, 4)]
    assert world.instances["child"].orchestration.started.generation == 2
    assert world.retrace() == 5


def test_retries_of_a_child_without_explicit_id_share_the_default_one(world: World):
    def bad(context):
        raise ValueError("no")
        yield

    def parent(context):
        try:
            yield context.call_sub_orchestrator_with_retry(bad, RetryOptions(1000, 2))
        except TaskFailedError as error:
            return error.details.message

    world.app.orchestrator(bad)
    instance = world.start(world.app.orchestrator(parent))
    world.run()
    assert instance.output == "no"
    assert [key for key in world.instances if key != "i"] == ["i:0:0000"]


def test_a_child_id_that_is_taken_by_a_running_instance_fails_the_call(world: World):
    def parent(context):
        try:
            yield context.call_sub_orchestrator(wait, instance_id="taken")
        except TaskFailedError as error:
            return error.is_caused_by("InstanceAlreadyExistsError")

    world.app.orchestrator(wait)
    world.start(wait, instance_id="taken")
    instance = world.start(world.app.orchestrator(parent))
    world.settle()
    assert instance.output is True


def test_results_of_children_come_back_as_the_annotation_says(world: World):
    world.app.orchestrator(echo, output_type=tuple[int, str, str, None])

    def parent(context):
        declared = yield context.call_sub_orchestrator(echo, 1)
        expected = yield context.call_sub_orchestrator(echo, 1, expected_type=list)
        return [type(declared).__name__, type(expected).__name__]

    instance = world.start(world.app.orchestrator(parent))
    world.settle()
    assert instance.output == ["tuple", "list"]
