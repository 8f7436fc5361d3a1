"""Function chaining: the steps of an order, one after the other, each with the result of the one before.

If a step fails for good, the steps before it are undone.
"""

from collections.abc import Generator
from typing import Any

import azure.functions as func

import perdure as df

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="orders", methods=["POST"])
@app.durable_client_input(client_name="client")
async def place_order(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    """Starts the orchestration and answers at once, with the URLs to follow it."""
    try:
        order = req.get_json()
        order = {"item": str(order["item"]), "quantity": int(order["quantity"])}
    except (ValueError, KeyError, TypeError):
        return func.HttpResponse('Send JSON such as {"item": "lamp", "quantity": 2}.', status_code=400)
    instance_id = await client.start_new("process_order", None, order)
    return client.create_check_status_response(req, instance_id)


@app.orchestration_trigger(context_name="context")
def process_order(context: df.DurableOrchestrationContext) -> Generator[Any, Any, str]:
    """What has been done is recorded: after a crash it goes on with the next step, and repeats none that is finished."""
    order: dict[str, Any] = context.get_input()
    reservation = yield context.call_activity("reserve", order)
    try:
        retry = df.RetryOptions(first_retry_interval_in_milliseconds=1000, max_number_of_attempts=3)
        payment = yield context.call_activity_with_retry("charge", retry, reservation)
        shipment = yield context.call_activity("ship", payment)
    except Exception as error:  # noqa: BLE001 - whatever failed, the stock must not stay reserved
        yield context.call_activity("release", reservation)
        return f"cancelled: {error}"
    return shipment


@app.activity_trigger(input_name="order")
def reserve(order: dict[str, Any]) -> dict[str, Any]:
    """Takes the items out of the stock. An activity may do what it likes: I/O, waiting, luck."""
    return {**order, "reservation": f"R-{order['item']}"}


@app.activity_trigger(input_name="reservation")
def charge(reservation: dict[str, Any]) -> dict[str, Any]:
    """Takes the money. It runs at least once: give a real payment service a key that makes a second try harmless."""
    if reservation["quantity"] > 100:
        raise ValueError(f"{reservation['quantity']} items are more than anybody can pay for")
    return {**reservation, "paid": 10 * reservation["quantity"]}


@app.activity_trigger(input_name="payment")
def ship(payment: dict[str, Any]) -> str:
    """Hands the parcel over."""
    return f"{payment['quantity']} x {payment['item']} shipped for {payment['paid']}"


@app.activity_trigger(input_name="reservation")
def release(reservation: dict[str, Any]) -> str:
    """Undoes ``reserve``."""
    return reservation["reservation"]
