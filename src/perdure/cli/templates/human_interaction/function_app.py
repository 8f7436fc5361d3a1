"""Human interaction: an expense waits for somebody's decision, but not for ever.

``POST /api/expenses`` asks; ``POST /api/expenses/{id}/decision`` decides; nobody in time means that it goes to the next level.
"""

import logging
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import azure.functions as func

import perdure as df

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
logger = logging.getLogger(__name__)


@app.route(route="expenses", methods=["POST"])
@app.durable_client_input(client_name="client")
async def submit_expense(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    """Starts the orchestration and answers at once, with the URLs to follow it."""
    try:
        sent = req.get_json()
        expense = {
            "purpose": str(sent["purpose"]),
            "amount": float(sent["amount"]),
            "patience_seconds": float(sent.get("patience_seconds", 3 * 24 * 3600)),
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return func.HttpResponse('Send JSON such as {"purpose": "new chair", "amount": 300}.', status_code=400)
    instance_id = await client.start_new("approve_expense", None, expense)
    return client.create_check_status_response(req, instance_id)


@app.route(route="expenses/{id}/decision", methods=["POST"])
@app.durable_client_input(client_name="client")
async def decide(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    """The approver's answer becomes an event of the instance. It may come before anybody waits for it: it is kept."""
    instance_id = req.route_params["id"]
    try:
        approved = bool(req.get_json()["approved"])
    except (ValueError, KeyError, TypeError):
        return func.HttpResponse('Send JSON such as {"approved": true}.', status_code=400)
    status = await client.get_status(instance_id)
    if not status or status.runtime_status is None:
        return func.HttpResponse("There is no such expense.", status_code=404)
    if status.runtime_status.name in ("Completed", "Failed", "Terminated"):
        return func.HttpResponse("It has been decided.", status_code=409)
    await client.raise_event(instance_id, "Approved" if approved else "Rejected", None)
    return func.HttpResponse(status_code=202)


@app.orchestration_trigger(context_name="context")
def approve_expense(context: df.DurableOrchestrationContext) -> Generator[Any, Any, str]:
    """While it waits, days if need be, the instance costs nothing but its rows in the store."""
    expense: dict[str, Any] = context.get_input()
    yield context.call_activity("ask", expense)
    context.set_custom_status("waiting for a decision")
    approved = context.wait_for_external_event("Approved")
    rejected = context.wait_for_external_event("Rejected")
    timer = context.create_timer(context.current_utc_datetime + timedelta(seconds=expense["patience_seconds"]))
    first = yield context.task_any([approved, rejected, timer])
    if first == timer:
        context.set_custom_status("passed on")
        level = yield context.call_activity("pass_on", expense)
        return f"{expense['purpose']}: passed on to {level}"
    timer.cancel()  # an orchestration with an open timer would not end before it fires
    context.set_custom_status("decided")
    return f"{expense['purpose']}: {'approved' if first == approved else 'rejected'}"


@app.activity_trigger(input_name="expense")
def ask(expense: dict[str, Any]) -> None:
    """Stands for the mail with a link to a page that posts the decision."""
    logger.info("Please decide: %s for %s", expense["purpose"], expense["amount"])


@app.activity_trigger(input_name="expense")
def pass_on(expense: dict[str, Any]) -> str:
    """Finds out who decides instead."""
    return "the board" if expense["amount"] > 1000 else "the team lead"
