"""Programs for Microsoft's Python SDK, as its users write them. Nothing here knows Perdure.

``python -m tests.e2e.sdk_programs ADDRESS`` is a worker that has them all.
"""

import logging
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from durabletask import task, worker
from durabletask.entities import EntityContext, EntityInstanceId

RETRY = task.RetryPolicy(first_retry_interval=timedelta(milliseconds=20), max_number_of_attempts=3, backoff_coefficient=2.0)
ATTEMPTS: dict[str, int] = {}


# --- activities -----------------------------------------------------------------------------------------------------


def add_one(_: task.ActivityContext, value: int) -> int:
    return value + 1


def shout(_: task.ActivityContext, text: str) -> str:
    return text.upper()


def nothing(_: task.ActivityContext, __: Any) -> None:
    return None


def fail(_: task.ActivityContext, text: str) -> None:
    try:
        raise KeyError("the cause")
    except KeyError as cause:
        raise ValueError(f"no {text}") from cause


def flaky(context: task.ActivityContext, successes_after: int) -> int:
    key = f"{context.orchestration_id}/{context.task_id}"
    ATTEMPTS[key] = ATTEMPTS.get(key, 0) + 1
    if ATTEMPTS[key] < successes_after:
        raise RuntimeError(f"attempt {ATTEMPTS[key]}")
    return ATTEMPTS[key]


def slow(_: task.ActivityContext, seconds: float) -> str:
    time.sleep(seconds)
    return "done"


def note(_: task.ActivityContext, value: list[str]) -> None:
    """Appends a line to a file, so that runs of an activity can be counted from outside."""
    path, text = value
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")


# --- orchestrators --------------------------------------------------------------------------------------------------


def empty(_: task.OrchestrationContext, value: Any) -> Any:
    return value


def chain(context: task.OrchestrationContext, length: int):
    value = 0
    for _ in range(length):
        value = yield context.call_activity(add_one, input=value)
    return value


def fan_out(context: task.OrchestrationContext, width: int):
    results = yield task.when_all([context.call_activity(add_one, input=number) for number in range(width)])
    return sum(results)


def first_of(context: task.OrchestrationContext, _: Any):
    event = context.wait_for_external_event("go")
    timer = context.create_timer(timedelta(hours=1))
    winner = yield task.when_any([event, timer])
    return event.get_result() if winner is event else "late"


def sleeps(context: task.OrchestrationContext, milliseconds: int):
    before = context.current_utc_datetime
    yield context.create_timer(timedelta(milliseconds=milliseconds))
    return context.current_utc_datetime >= before + timedelta(milliseconds=milliseconds)


def fails(context: task.OrchestrationContext, text: str):
    yield context.call_activity(fail, input=text)


def catches(context: task.OrchestrationContext, text: str):
    try:
        yield context.call_activity(fail, input=text)
    except task.TaskFailedError as error:
        return [error.details.error_type.rpartition(".")[2], error.details.message]


def retries(context: task.OrchestrationContext, needed: int):
    return (yield context.call_activity(flaky, input=needed, retry_policy=RETRY))


def parent(context: task.OrchestrationContext, count: int):
    children = [context.call_sub_orchestrator(child, input=number, instance_id=None) for number in range(count)]
    return (yield task.when_all(children))  # type: ignore[arg-type]


def child(context: task.OrchestrationContext, number: int):
    return (yield context.call_activity(add_one, input=number))


def parent_of_knowing(context: task.OrchestrationContext, _: Any):
    return (yield context.call_sub_orchestrator(knows_parent))


def knows_parent(context: task.OrchestrationContext, _: Any) -> str | None:
    return context.parent_instance_id


def parent_of_failing(context: task.OrchestrationContext, _: Any):
    try:
        yield context.call_sub_orchestrator(fails, input="child")
    except task.TaskFailedError as error:
        return error.details.message


def parent_of_waiting(context: task.OrchestrationContext, _: Any):
    return (yield context.call_sub_orchestrator(waits, input=["never"]))


def told(_: task.ActivityContext, key: str) -> str:
    if f"told {key}" not in ATTEMPTS:
        raise RuntimeError("nobody has told")
    return "good"


def fails_until_told(context: task.OrchestrationContext, key: str):
    """Several things fail, not all in the same turn."""
    return (
        yield task.when_all(
            [  # type: ignore[arg-type]
                context.call_activity(add_one, input=0),
                context.call_activity(told, input=key),
                context.call_activity(told, input=key),
            ]
        )
    )


def retries_child(context: task.OrchestrationContext, needed: int):
    return (yield context.call_sub_orchestrator(retried_child, input=needed, retry_policy=RETRY))


def retried_child(context: task.OrchestrationContext, needed: int):
    ATTEMPTS[context.instance_id] = ATTEMPTS.get(context.instance_id, 0) + (not context.is_replaying)
    yield context.call_activity(nothing)
    if ATTEMPTS[context.instance_id] < needed:
        raise RuntimeError("not yet")
    return "at last"


def counts_down(context: task.OrchestrationContext, left: int):
    yield context.call_activity(nothing)
    context.set_custom_status({"left": left})
    if left:
        context.continue_as_new(left - 1)
        return None
    return "zero"


def collects(context: task.OrchestrationContext, so_far: list[int]):
    """Takes one event per generation, and loses none."""
    so_far.append((yield context.wait_for_external_event("item")))
    if len(so_far) < 5:
        context.continue_as_new(so_far, save_events=True)
        return None
    return so_far


def waits(context: task.OrchestrationContext, names: list[str]):
    got: list[Any] = []
    for name in names:
        got.append((yield context.wait_for_external_event(name)))
        context.set_custom_status(len(got))
    return got


def sends(context: task.OrchestrationContext, target: str):
    context.send_event(target, "hello", data={"from": context.instance_id})
    yield context.call_activity(nothing)
    return "sent"


def identifies(context: task.OrchestrationContext, _: Any):
    ids = [context.new_uuid(), context.new_uuid()]
    yield context.call_activity(nothing)
    ids.append(context.new_uuid())
    return len(set(ids)) == 3


def versioned(context: task.OrchestrationContext, _: Any):
    yield context.call_activity(nothing)
    return context.version


def counts(context: task.OrchestrationContext, key: str):
    entity = EntityInstanceId("counter", key)
    context.signal_entity(entity, "add", input=2)
    value = yield context.call_entity(entity, "add", input=3)
    try:
        yield context.call_entity(entity, "fail")
    except task.TaskFailedError as error:
        return [value, "no such" in error.details.message, (yield context.call_entity(entity, "get"))]


def moves(context: task.OrchestrationContext, keys: list[str]):
    source, target = (EntityInstanceId("counter", key) for key in keys)
    with (yield context.lock_entities([source, target])):
        balance = yield context.call_entity(source, "get")
        yield context.call_entity(source, "add", input=-1)
        yield context.call_activity(nothing)
        yield context.call_entity(target, "add", input=1)
    return balance


def notes(context: task.OrchestrationContext, value: list[Any]):
    """A chain whose activities leave traces."""
    path, length = value
    for number in range(length):
        yield context.call_activity(note, input=[path, f"{context.instance_id} {number}"])
    return length


# --- more of what the SDK has, for the comparison with its own backend ----------------------------------------------


def tagged(context: task.OrchestrationContext, _: Any):
    """Tags of an activity, version of a child."""
    yield context.call_activity(add_one, input=1, tags={"cost": "low"})
    return (yield context.call_sub_orchestrator(versioned, version="7.1", instance_id=f"{context.instance_id}-child"))


def takes_the_first(context: task.OrchestrationContext, _: Any):
    """The loser of a race goes on, and comes too late."""
    fast = context.call_activity(add_one, input=1)
    never = context.wait_for_external_event("never")
    winner = yield task.when_any([never, fast])
    return [winner is fast, (yield fast)]


def leaves_open(context: task.OrchestrationContext, _: Any) -> str:
    """Returns with a timer and an event open."""
    context.create_timer(timedelta(hours=1))
    context.wait_for_external_event("never")
    return "left"


def renews(context: task.OrchestrationContext, left: int):
    """Continues in another version."""
    yield context.call_activity(nothing)
    if left:
        context.continue_as_new(left - 1, new_version=f"{left}.0")
        return None
    return context.version


def fails_after_all(context: task.OrchestrationContext, _: Any):
    """Waits for all, of which some fail."""
    yield task.when_all([context.call_activity(add_one, input=1), context.call_activity(fail, input="way")])  # type: ignore[arg-type]


def grandparent(context: task.OrchestrationContext, _: Any):
    return (yield context.call_sub_orchestrator(parent, input=2, instance_id=f"{context.instance_id}-p"))


def tells_itself(context: task.OrchestrationContext, _: Any):
    """Sends an event to itself, with data that is falsy."""
    context.send_event(context.instance_id, "self", data=0)
    return (yield context.wait_for_external_event("self"))


def signals_only(context: task.OrchestrationContext, key: str) -> str:
    """Ends at once; the signal goes out nevertheless."""
    context.signal_entity(EntityInstanceId("counter", key), "add", input=9)
    return "signaled"


def asks_entity(context: task.OrchestrationContext, key: str):
    entity = EntityInstanceId("counter", key)
    yield context.call_entity(entity, "add", input=3)
    return (yield context.call_entity(entity, "get"))


def asks_in_vain(context: task.OrchestrationContext, key: str):
    yield context.call_entity(EntityInstanceId("counter", key), "no such operation")


def reads_json(_: task.OrchestrationContext, value: Any) -> Any:
    return [type(value).__name__, value]


def calls_nobody(context: task.OrchestrationContext, _: Any):
    yield context.call_activity("no such activity")


def parent_of_nobody(context: task.OrchestrationContext, _: Any):
    yield context.call_sub_orchestrator("no such child", instance_id=f"{context.instance_id}-child")


def parent_of_told(context: task.OrchestrationContext, key: str):
    return (yield context.call_sub_orchestrator(fails_until_told, input=key, instance_id=f"{context.instance_id}-child"))


def naps(context: task.OrchestrationContext, seconds: float):
    return (yield context.call_activity(slow, input=seconds))


def locks_for_ever(context: task.OrchestrationContext, key: str):
    with (yield context.lock_entities([EntityInstanceId("counter", key)])):
        yield context.wait_for_external_event("never")


ACTIVITIES = [add_one, shout, nothing, fail, flaky, slow, note, told]
ORCHESTRATORS = [
    empty,
    chain,
    fan_out,
    first_of,
    sleeps,
    fails,
    catches,
    retries,
    parent,
    child,
    parent_of_failing,
    parent_of_waiting,
    parent_of_knowing,
    knows_parent,
    fails_until_told,
    retries_child,
    retried_child,
    counts_down,
    collects,
    waits,
    sends,
    identifies,
    versioned,
    counts,
    moves,
    notes,
    tagged,
    takes_the_first,
    leaves_open,
    renews,
    fails_after_all,
    grandparent,
    tells_itself,
    signals_only,
    asks_entity,
    asks_in_vain,
    reads_json,
    calls_nobody,
    parent_of_nobody,
    parent_of_told,
    locks_for_ever,
    naps,
]


# --- entities -------------------------------------------------------------------------------------------------------


def counter(context: EntityContext, value: Any) -> Any:
    state = context.get_state(int, 0)
    match context.operation:
        case "add":
            context.set_state(state + value)
            return state + value
        case "get":
            return state
        case "tell":
            context.signal_entity(EntityInstanceId("counter", value), "add", 1)
        case "start":
            context.schedule_new_orchestration("empty", value, instance_id=value)
        case "delete":
            context.set_state(None)
        case other:
            raise ValueError(f"no such operation: {other}")
    return None


def register(sdk_worker: worker.TaskHubGrpcWorker) -> None:
    """Adds all of it to a worker."""
    for orchestrator in ORCHESTRATORS:
        sdk_worker.add_orchestrator(orchestrator)
    for activity in ACTIVITIES:
        sdk_worker.add_activity(activity)
    sdk_worker.add_entity(counter)


def main() -> None:
    """Runs until it is killed."""
    with worker.TaskHubGrpcWorker(host_address=sys.argv[1], logger=logging.getLogger("silent")) as sdk_worker:
        register(sdk_worker)
        sdk_worker.start()
        print("ready", os.getpid(), flush=True)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
