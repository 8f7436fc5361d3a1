"""Orchestrators and entities as they were written for 1.x: one parameter, the context."""
# ruff: noqa: BLE001 - as they were written for 1.x, whose errors are plain exceptions

from datetime import timedelta
from typing import Any

import azure.durable_functions as df
from goods import Parcel

blueprint = df.Blueprint()


@blueprint.activity_trigger(input_name="name")
def hello(name: str) -> str:
    return f"Hello {name}!"


@blueprint.activity_trigger(input_name="parcel", activity="Weigh")
async def weigh(parcel: Parcel) -> Parcel:
    return Parcel(parcel.content, parcel.weight + 1)


@blueprint.activity_trigger(input_name="text")
def refuse(text: str) -> None:
    raise ValueError(f"no: {text}")


@blueprint.orchestration_trigger(context_name="context")
def chain(context: df.DurableOrchestrationContext):
    names = context.get_input()
    greetings = []
    for name in names:
        greeting = yield context.call_activity("hello", name)
        greetings.append(greeting)
    return greetings


@blueprint.orchestration_trigger(context_name="context", orchestration="FanOut")
def fan_out(context: df.DurableOrchestrationContext):
    tasks = [context.call_activity("hello", number) for number in range(context.get_input())]
    return (yield context.task_all(tasks))


@blueprint.orchestration_trigger(context_name="context", input_type=Parcel)
def ship(context: df.DurableOrchestrationContext):
    parcel = context.get_input()
    weighed = yield context.call_activity("Weigh", parcel)
    return [parcel.content, weighed.weight]


@blueprint.orchestration_trigger(context_name="context")
def parent(context: df.DurableOrchestrationContext):
    first = yield context.call_sub_orchestrator("chain", ["Lyon"])
    second = yield context.call_sub_orchestrator("child", 5, f"{context.instance_id}-child")
    return [first, second, context.parent_instance_id]


@blueprint.orchestration_trigger(context_name="context")
def child(context: df.DurableOrchestrationContext):
    return [context.instance_id, context.parent_instance_id, context.get_input()]


@blueprint.orchestration_trigger(context_name="context")
def approval(context: df.DurableOrchestrationContext):
    context.set_custom_status({"waits for": "approval"})
    wait = context.wait_for_external_event("approval")
    timeout = context.create_timer(context.current_utc_datetime + timedelta(hours=context.get_input()["hours"]))
    winner = yield context.task_any([wait, timeout])
    if winner == wait:
        timeout.cancel()
        context.set_custom_status("answered")
        return wait.result
    return "too late"


@blueprint.orchestration_trigger(context_name="context")
def short_sleep(context: df.DurableOrchestrationContext):
    before = context.current_utc_datetime
    yield context.create_timer(before + timedelta(milliseconds=50))
    return context.current_utc_datetime - before >= timedelta(milliseconds=50)


@blueprint.orchestration_trigger(context_name="context")
def countdown(context: df.DurableOrchestrationContext):
    left = context.get_input()
    yield context.call_activity("hello", left)
    if left > 0:
        context.continue_as_new(left - 1)
        return None
    return f"done in {context.instance_id}"


@blueprint.orchestration_trigger(context_name="context")
def failing(context: df.DurableOrchestrationContext):
    amount = int(context.get_input())
    return 100 / amount


@blueprint.orchestration_trigger(context_name="context")
def failing_activity(context: df.DurableOrchestrationContext):
    yield context.call_activity("refuse", "never")


@blueprint.orchestration_trigger(context_name="context")
def careful(context: df.DurableOrchestrationContext):
    try:
        yield context.call_activity("refuse", "caught")
    except Exception as error:
        return str(error)
    return "?"


@blueprint.orchestration_trigger(context_name="context")
def calls_nothing(context: df.DurableOrchestrationContext):
    found = []
    for call in (context.call_activity, context.call_sub_orchestrator):
        try:
            yield call("NoSuchFunction", None)
        except Exception as error:
            found.append(str(error))
    try:
        yield context.call_entity(df.EntityId("NoSuchEntity", "x"), "get")
    except Exception as error:
        found.append(str(error))
    return found


@blueprint.orchestration_trigger(context_name="context")
def web(context: df.DurableOrchestrationContext):
    response = yield context.call_http("GET", context.get_input())
    return [response.status_code, response.content]


@blueprint.entity_trigger(context_name="context")
def counter(context: df.DurableEntityContext):
    value = context.get_state(lambda: 0)
    match context.operation_name:
        case "add":
            value += context.get_input()
        case "fail":
            raise RuntimeError(f"{context.entity_key} has {value}")
        case "delete":
            context.destruct_on_exit()
            return
        case _:
            pass
    context.set_state(value)
    context.set_result(value)


@blueprint.orchestration_trigger(context_name="context")
def counting(context: df.DurableOrchestrationContext):
    entity = df.EntityId("counter", context.get_input())
    context.signal_entity(entity, "add", 5)
    added = yield context.call_entity(entity, "add", 1)
    try:
        yield context.call_entity(entity, "fail")
    except Exception as error:
        return [added, str(error), (yield context.call_entity(entity, "get"))]
    return added


@blueprint.orchestration_trigger(context_name="context")
def plain(context: df.DurableOrchestrationContext) -> Any:
    return {"input": context.get_input(), "name": context.instance_id}
