"""Async HTTP API: long work behind a URL of your own, with progress, and an answer at once where the work is short.

``POST /api/reports`` waits a little: 200 with the report if it is ready by then, else 202 with where to ask.
``GET /api/reports/{id}`` tells the progress.
"""

import json
from collections.abc import Generator
from typing import Any

import azure.functions as func

import perdure as df

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="reports", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start_report(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    """``?wait=SECONDS`` says how long the caller has time."""
    try:
        pages = int(req.get_json()["pages"])
        seconds = int(req.params.get("wait", "0"))
    except (ValueError, KeyError, TypeError):
        return func.HttpResponse('Send JSON such as {"pages": 3}.', status_code=400)
    instance_id = await client.start_new("write_report", None, pages)
    if seconds > 0:
        return await client.wait_for_completion_or_create_check_status_response(req, instance_id, seconds * 1000, 200)
    return client.create_check_status_response(req, instance_id)


@app.route(route="reports/{id}", methods=["GET"])
@app.durable_client_input(client_name="client")
async def report_progress(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    """The status in the words of this API; callers need not know that an orchestration is behind it."""
    status = await client.get_status(req.route_params["id"])
    if not status or status.runtime_status is None:
        return func.HttpResponse("There is no such report.", status_code=404)
    body = {"state": status.runtime_status.name, "progress": status.custom_status, "report": status.output}
    return func.HttpResponse(json.dumps(body), mimetype="application/json")


@app.orchestration_trigger(context_name="context")
def write_report(context: df.DurableOrchestrationContext) -> Generator[Any, Any, str]:
    """The custom status is what a caller sees of work in progress."""
    pages: int = context.get_input()
    written: list[str] = []
    for number in range(1, pages + 1):
        context.set_custom_status(f"page {number} of {pages}")
        page = yield context.call_activity("write_page", number)
        written.append(page)
    context.set_custom_status("done")
    return "\n".join(written)


@app.activity_trigger(input_name="number")
def write_page(number: int) -> str:
    """Stands for something slow."""
    return f"page {number}: all is well"
