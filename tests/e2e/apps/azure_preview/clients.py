"""HTTP functions with a durable client: asynchronous, and plain."""

import json
from datetime import UTC, datetime, timedelta

import azure.durable_functions as df
import azure.functions as func

blueprint = df.Blueprint(http_auth_level=func.AuthLevel.ANONYMOUS)


@blueprint.route("start/{name}", methods=["POST"])
@blueprint.durable_client_input("client")
async def start(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    value = req.get_json() if req.get_body() else None
    instance_id = await client.schedule_new_orchestration(
        req.route_params["name"], input=value, instance_id=req.params.get("id"), version=req.params.get("version")
    )
    return client.create_check_status_response(req, instance_id)


@blueprint.route("wait/{name}", methods=["POST"])
@blueprint.durable_client_input("client")
async def wait(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    value = req.get_json() if req.get_body() else None
    instance_id = await client.start_new(req.route_params["name"], None, value)
    return await client.wait_for_completion_or_create_check_status_response(req, instance_id, 20_000)


@blueprint.route("plain/{name}", methods=["POST"])
@blueprint.durable_client_input("client")
def plain_start(req: func.HttpRequest, client: df.SyncDurableFunctionsClient) -> func.HttpResponse:
    instance_id = client.schedule_new_orchestration(req.route_params["name"], input=req.get_json())
    state = client.wait_for_orchestration_completion(instance_id, timeout=20)
    assert state is not None
    return func.HttpResponse(state.serialized_output, mimetype="application/json")


@blueprint.route("payload/{id}")
@blueprint.durable_client_input("client")
async def payload(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    urls = [
        client.create_http_management_payload(req, req.route_params["id"]),
        client.create_http_management_payload(req.route_params["id"]),
    ]
    return func.HttpResponse(json.dumps(urls), mimetype="application/json")


@blueprint.route("schedules/{operation}/{id}", methods=["POST"])
@blueprint.durable_client_input("client")
def schedules(req: func.HttpRequest, client: df.SyncDurableFunctionsClient) -> func.HttpResponse:
    from durabletask.scheduled import ScheduleCreationOptions, ScheduledTaskClient

    schedule_id = req.route_params["id"]
    schedules = ScheduledTaskClient(client, operation_timeout=20)
    if req.route_params["operation"] == "create":
        options = ScheduleCreationOptions(
            schedule_id, "chain", timedelta(seconds=1), orchestration_input=["Rome"], start_immediately_if_late=True
        )
        schedules.create_schedule(options)
    else:
        getattr(schedules.get_schedule_client(schedule_id), req.route_params["operation"])()
    known = schedules.get_schedule(schedule_id)
    return func.HttpResponse(json.dumps(None if known is None else known.status.name), mimetype="application/json")


@blueprint.route("export", methods=["POST"])
@blueprint.durable_client_input("client")
def export(req: func.HttpRequest, client: df.SyncDurableFunctionsClient) -> func.HttpResponse:
    from durabletask.extensions.history_export import (
        ExportDestination,
        ExportHistoryClient,
        ExportJobCreationOptions,
        ExportMode,
    )
    from function_app import FolderWriter

    now = datetime.now(UTC)
    exports = ExportHistoryClient(client, FolderWriter())
    job = exports.create_job(
        ExportJobCreationOptions(ExportMode.BATCH, now - timedelta(days=1), ExportDestination("histories"), completed_time_to=now)
    )
    done = exports.wait_for_job(job.job_id, timeout=20)
    return func.HttpResponse(json.dumps([done.status.name, done.exported_instances]), mimetype="application/json")
