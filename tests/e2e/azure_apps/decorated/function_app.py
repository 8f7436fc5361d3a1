"""An app as one writes it for Azure: azure-functions and azure-functions-durable 1.x, nothing of Perdure."""

from datetime import timedelta

import azure.durable_functions as df
import azure.functions as func
from orders import Order
from shipping import shipping

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(shipping)

calls: list[str] = []


@app.route(route="orchestrators/{functionName}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def http_start(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    instance_id = await client.start_new(req.route_params["functionName"], client_input=req.get_json())
    return client.create_check_status_response(req, instance_id)


@app.route(route="approvals/{instance_id}", auth_level="function")
@app.durable_client_input(client_name="client")
async def approve(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    await client.raise_event(req.route_params["instance_id"], "Approval", req.get_json())
    return func.HttpResponse(status_code=202)


@app.function_name("Nightly")
@app.timer_trigger(arg_name="timer", schedule="0 0 3 * * *", run_on_startup=False)
def clean_up(timer: func.TimerRequest, context: func.Context) -> None: ...


@app.queue_trigger(arg_name="message", queue_name="orders", connection="AzureWebJobsStorage")
@app.queue_output(arg_name="receipt", queue_name="receipts", connection="AzureWebJobsStorage")
def take_order(message: func.QueueMessage, receipt: func.Out[str]) -> None:
    receipt.set(message.get_body().decode())


@app.warm_up_trigger(arg_name="warm")
def warm(warm) -> None: ...


# --- chaining, with everything a context shows ---------------------------------------------------------------------


@app.orchestration_trigger(context_name="context")
def hello_cities(context: df.DurableOrchestrationContext):
    name = context.get_input()
    first = yield context.call_activity("say_hello", name)
    context.set_custom_status({"greeted": [first]})
    second = yield context.call_activity(say_hello, "Seattle")
    third = yield context.call_activity("say_hello", None)
    return [first, second, third]


@app.activity_trigger(input_name="city")
def say_hello(city: str) -> str:
    return f"Hello {city}!"


# --- fan-out, custom classes ------------------------------------------------------------------------------------------


@app.orchestration_trigger(context_name="context", input_type=Order)
def price_order(context):
    order = context.get_input()
    tasks = [context.call_activity(price_item, item) for item in order.items]
    prices = yield context.task_all(tasks)
    receipt = yield context.call_activity("make_receipt", {"order": order, "total": sum(prices)})
    return {"total": receipt.total, "type": type(receipt).__name__, "pending": [task.is_completed for task in tasks]}


@app.activity_trigger(input_name="item")
async def price_item(item: dict) -> int:
    return item["count"] * 2


@app.activity_trigger(input_name="request", activity="make_receipt")
def receipt_of(request: dict, context: func.Context) -> Order:
    assert context.function_name == "make_receipt"
    order = request["order"]
    assert isinstance(order, Order)
    return Order(order.items, request["total"])


# --- sub-orchestration, retry, failures -------------------------------------------------------------------------------


@app.orchestration_trigger(context_name="context")
def parent(context):
    text = yield context.call_sub_orchestrator("child", "5")
    number = yield context.call_sub_orchestrator(child, 5, "the-child")
    return [text, number, context.parent_instance_id]


@app.orchestration_trigger(context_name="context")
def child(context):
    return [context.get_input(), context.instance_id, context.parent_instance_id is not None]
    yield


@app.orchestration_trigger(context_name="context")
def flaky_caller(context):
    if not context.is_replaying:
        calls.clear()
    options = df.RetryOptions(first_retry_interval_in_milliseconds=1, max_number_of_attempts=3)
    return (yield context.call_activity_with_retry("flaky", options, 3))


@app.activity_trigger(input_name="works")
def flaky(works: int) -> str:
    calls.append("flaky")
    if len(calls) < works:
        raise ValueError(f"attempt {len(calls)}")
    return f"worked at {len(calls)}"


@app.orchestration_trigger(context_name="context")
def hopeless(context):
    options = df.RetryOptions(1, 2)
    try:
        yield context.call_activity_with_retry("always_fails", options, "it")
    except Exception as error:  # noqa: BLE001
        caught = str(error)
    failing = context.call_activity("always_fails", "that")
    winner = yield context.task_any([failing])
    return [caught, winner is failing, str(winner.result), isinstance(winner.result, Exception)]


@app.activity_trigger(input_name="what")
def always_fails(what: str) -> None:
    raise KeyError(f"no {what}")


@app.orchestration_trigger(context_name="context")
def failing_parent(context):
    yield context.call_sub_orchestrator("failing_child")


@app.orchestration_trigger(context_name="context")
def failing_child(context):
    yield context.call_activity("always_fails", "luck")


# --- timers and events ------------------------------------------------------------------------------------------------


@app.orchestration_trigger(context_name="context")
def approval(context):
    timeout = context.create_timer(context.current_utc_datetime + timedelta(minutes=5))
    decision = context.wait_for_external_event("Approval")
    winner = yield context.task_any([decision, timeout])
    if winner == decision:
        timeout.cancel()
        return ["decided", decision.result, timeout.is_cancelled, timeout.is_completed]
    return ["timed out"]


@app.orchestration_trigger(context_name="context")
def short_sleep(context):
    before = context.current_utc_datetime
    yield context.create_timer(before + timedelta(milliseconds=20))
    return (context.current_utc_datetime - before) >= timedelta(milliseconds=20)


@app.orchestration_trigger(context_name="context")
def counts_events(context):
    found = yield context.wait_for_external_event("Add")
    total = context.get_input() + found["amount"]
    if total < 3:
        context.continue_as_new(total)
    return total


# --- what is not yielded is not scheduled -----------------------------------------------------------------------------


@app.orchestration_trigger(context_name="context")
def one_by_one(context):
    if not context.is_replaying:
        calls.clear()
    context.call_activity("note", "never")
    first = context.call_activity("note", "first")
    second = context.call_activity("note", "second")
    seen = [(yield first), (yield second)]
    again = yield first
    return [seen, again, first.result]


@app.activity_trigger(input_name="name")
def note(name: str) -> list[str]:
    calls.append(name)
    return list(calls)


# --- entities -----------------------------------------------------------------------------------------------------------


@app.entity_trigger(context_name="context")
def Counter(context):  # noqa: N802
    number = context.get_state(lambda: 0)
    if context.operation_name == "add":
        context.set_state(number + context.get_input())
    elif context.operation_name == "fail":
        context.set_state(-1)
        raise ValueError("not today")
    elif context.operation_name == "reset":
        context.destruct_on_exit()
    elif context.operation_name == "echo":
        context.set_result([context.entity_name, context.entity_key, context.get_input()])
        return
    context.set_result(number)


@app.entity_trigger(context_name="context", entity_name="Basket")
def basket_of_orders(context):
    order = context.get_state(lambda: Order([]))
    order.items.append(context.get_input())
    context.set_state(order)
    context.set_result(order)


@app.orchestration_trigger(context_name="context")
def uses_entity(context):
    counter = df.EntityId("Counter", "a")
    context.signal_entity(counter, "add", 5)
    before = yield context.call_entity(counter, "add", 1)
    try:
        yield context.call_entity(counter, "fail")
    except Exception as error:  # noqa: BLE001 - what unmodified apps write
        failure = str(error)
    both = yield context.task_all([context.call_entity(counter, "add", 0), context.call_entity(counter, "echo", "text")])
    order = yield context.call_entity(df.EntityId("basket", "b"), "put", {"count": 1})
    return [before, failure, both, len(order.items)]
