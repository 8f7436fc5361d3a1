"""Monitor: looks at something outside at intervals, until it is as it should be or time is up.

``POST /api/monitors`` with ``{"job": "nightly", "interval_seconds": 5, "patience_seconds": 600}`` starts one;
``PUT /api/jobs/nightly`` with ``{"state": "finished"}`` is the outside.
"""

import logging
from collections.abc import Generator
from datetime import datetime, timedelta
from typing import Any

import azure.functions as func

import perdure as df

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
logger = logging.getLogger(__name__)
job_states: dict[str, str] = {}
"""Stands for a service elsewhere. Only activities look at it: an orchestrator would see another state at each replay."""


@app.route(route="jobs/{job}", methods=["PUT"])
def report_job(req: func.HttpRequest) -> func.HttpResponse:
    """The job tells its state."""
    try:
        job_states[req.route_params["job"]] = str(req.get_json()["state"])
    except (ValueError, KeyError, TypeError):
        return func.HttpResponse('Send JSON such as {"state": "finished"}.', status_code=400)
    return func.HttpResponse(status_code=204)


@app.route(route="monitors", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start_monitor(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    """Starts the orchestration and answers at once, with the URLs to follow it."""
    try:
        wanted = req.get_json()
        request = {
            "job": str(wanted["job"]),
            "interval_seconds": float(wanted.get("interval_seconds", 5)),
            "patience_seconds": float(wanted.get("patience_seconds", 600)),
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return func.HttpResponse('Send JSON such as {"job": "nightly", "interval_seconds": 5}.', status_code=400)
    instance_id = await client.start_new("watch_job", None, request)
    return client.create_check_status_response(req, instance_id)


@app.orchestration_trigger(context_name="context")
def watch_job(context: df.DurableOrchestrationContext) -> Generator[Any, Any, str]:
    """Between two looks it costs nothing. Each round is a new generation, so that the history does not grow for ever."""
    request: dict[str, Any] = context.get_input()
    now = context.current_utc_datetime  # never datetime.now(): a replay has to see the same time
    ends = datetime.fromisoformat(request["ends"]) if "ends" in request else now + timedelta(seconds=request["patience_seconds"])
    state = yield context.call_activity("job_state", request["job"])
    context.set_custom_status(state)
    if state == "finished":
        yield context.call_activity("notify", f"job {request['job']} has finished")
        return "finished"
    if now >= ends:
        yield context.call_activity("notify", f"job {request['job']} is late")
        return f"gave up while it was {state}"
    yield context.create_timer(now + timedelta(seconds=request["interval_seconds"]))
    context.continue_as_new({**request, "ends": ends.isoformat()})
    return "next round"


@app.activity_trigger(input_name="job")
def job_state(job: str) -> str:
    """Asks the outside."""
    return job_states.get(job, "unknown")


@app.activity_trigger(input_name="message")
def notify(message: str) -> None:
    """Stands for a mail or a chat message."""
    logger.info("%s", message)
