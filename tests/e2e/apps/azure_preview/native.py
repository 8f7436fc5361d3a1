"""Orchestrators and entities in the style of durabletask: two parameters, or a class."""

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.durable_functions as df
from durabletask import task
from durabletask.entities import DurableEntity, EntityContext, EntityInstanceId

blueprint = df.Blueprint()


@blueprint.activity_trigger(input_name="input")
def greet(ctx: Any, who: str) -> str:
    return f"Greetings, {who}"


@blueprint.activity_trigger(input_name="name")
def flaky(name: str) -> str:
    """Works the third time."""
    tries = Path(os.environ["SCRATCH"], f"{name}.tries")
    count = len(tries.read_text()) + 1 if tries.exists() else 1
    tries.write_text("x" * count)
    if count < 3:
        raise ConnectionError(f"try {count}")
    return f"worked at {count}"


@blueprint.activity_trigger(input_name="name")
def patient(name: str) -> str:
    """Says that it has begun, and ends when it is told to."""
    scratch = Path(os.environ["SCRATCH"])
    with (scratch / f"{name}.begun").open("a") as begun:
        begun.write("x")
    while not (scratch / f"{name}.go").exists():
        time.sleep(0.02)
    return f"{name} is done"


@blueprint.orchestration_trigger(context_name="ctx")
def native(ctx: task.OrchestrationContext, name: str):
    greeting = yield ctx.call_activity("greet", input=name)
    ctx.set_custom_status(greeting)
    event = yield ctx.wait_for_external_event("more")
    return [greeting, event, ctx.version]


@blueprint.orchestration_trigger(context_name="ctx")
def retrying(ctx: task.OrchestrationContext, name: str):
    policy = df.RetryPolicy(first_retry_interval=timedelta(milliseconds=10), max_number_of_attempts=3)
    result = yield ctx.call_activity("flaky", input=name, retry_policy=policy)
    child = yield ctx.call_sub_orchestrator("retried_child", input=f"{name}-child", retry_policy=policy)
    return [result, child]


@blueprint.orchestration_trigger(context_name="ctx")
def retried_child(ctx: task.OrchestrationContext, name: str):
    return (yield ctx.call_activity("flaky", input=name))


@blueprint.orchestration_trigger(context_name="ctx")
def once_flaky(ctx: task.OrchestrationContext, name: str):
    """Fails, until it has been rewound often enough."""
    first = yield ctx.call_activity("greet", input=name)
    second = yield ctx.call_activity("flaky", input=name)
    return [first, second]


@blueprint.orchestration_trigger(context_name="ctx")
def long_work(ctx: task.OrchestrationContext, name: str):
    first = yield ctx.call_activity("greet", input=name)
    second = yield ctx.call_activity("patient", input=name)
    third = yield ctx.call_activity("greet", input=second)
    return [first, third]


@blueprint.orchestration_trigger(context_name="ctx")
def locking(ctx: task.OrchestrationContext, key: str):
    first, second = EntityInstanceId("Account", f"{key}-a"), EntityInstanceId("Account", f"{key}-b")
    with (yield ctx.lock_entities([first, second])):
        before = yield ctx.call_entity(first, "balance")
        yield ctx.call_entity(first, "deposit", -5)
        yield ctx.call_entity(second, "deposit", 5)
    after = yield ctx.call_entity(second, "balance")
    return [before, after]


@blueprint.entity_trigger(context_name="ctx", entity_name="Account")
class Account(DurableEntity):
    def deposit(self, amount: int) -> int:
        balance = self.get_state(int, 0) + amount
        self.set_state(balance)
        return balance

    def balance(self, _: Any = None) -> int:
        return self.get_state(int, 0)

    def open_case(self, name: str) -> str:
        return self.schedule_new_orchestration("plain", input=name, instance_id=f"case-{name}")

    def refuse(self, _: Any = None) -> None:
        raise PermissionError("the account is frozen")


@blueprint.entity_trigger(context_name="ctx")
def memo(ctx: EntityContext, text: str | None) -> list[str]:
    lines = ctx.get_state(list, [])
    if ctx.operation == "note":
        lines = [*lines, text]
        ctx.set_state(lines)
    return lines
