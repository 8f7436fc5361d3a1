"""The part of a mixed hub that runs in the host. What it calls and doesn't have is in the workers beside it."""

import os
import time
from pathlib import Path

import perdure as df

app = df.DFApp()


@app.orchestration_trigger(context_name="context")
async def around(context: df.DurableOrchestrationContext):
    """Once through everybody: activities and sub-orchestrations of both workers."""
    value = await context.call_activity("js_double", context.get_input())
    value = await context.call_activity("sdk_add", value)
    value = await context.call_sub_orchestrator("js_child", value)
    value = await context.call_sub_orchestrator("sdk_child", value)
    return await context.call_activity("add_thousand", value)


@app.orchestration_trigger(context_name="context")
def in_process_child(context: df.DurableOrchestrationContext):
    return (yield context.call_activity("add_thousand", context.get_input()))


@app.orchestration_trigger(context_name="context")
async def tallies(context: df.DurableOrchestrationContext):
    """Uses an entity that is in JavaScript, in a critical section with one that is here."""
    tally, counter = df.EntityId("tally", "app"), df.EntityId("counter", "app")
    async with await context.lock_entities(tally, counter):
        await context.call_entity(tally, "add", 5)
        await context.call_entity(counter, "add", 7)
    context.signal_entity(tally, "add", 1)
    return [await context.call_entity(tally, "get"), await context.call_entity(counter, "get")]


@app.orchestration_trigger(context_name="context")
def tree(context: df.DurableOrchestrationContext):
    return (yield context.call_sub_orchestrator("js_branch", context.get_input(), f"{context.instance_id}:js"))


@app.orchestration_trigger(context_name="context")
def leaf(context: df.DurableOrchestrationContext):
    context.set_custom_status("waiting")
    return (yield context.wait_for_external_event("go"))


@app.orchestration_trigger(context_name="context")
def flaky_tree(context: df.DurableOrchestrationContext):
    return (yield context.call_sub_orchestrator("js_flaky", context.get_input(), f"{context.instance_id}:js"))


@app.orchestration_trigger(context_name="context")
def together(context: df.DurableOrchestrationContext):
    name = context.get_input()
    return (yield context.task_all([context.call_activity(hold, name) for hold in ("host_hold", "js_hold", "sdk_hold")]))


@app.activity_trigger(input_name="value")
def add_thousand(value: int) -> int:
    return value + 1000


@app.activity_trigger(input_name="name")
def host_hold(name: str) -> str:
    Path(f"{name}.host").write_text(str(os.getpid()))
    while not Path(f"{name}.release").exists():
        time.sleep(0.02)
    return "host"


@app.entity_trigger(context_name="context")
def counter(context: df.DurableEntityContext):
    state = context.get_state(lambda: 0)
    if context.operation_name == "add":
        state += context.get_input()
        context.set_state(state)
    context.set_result(state)
