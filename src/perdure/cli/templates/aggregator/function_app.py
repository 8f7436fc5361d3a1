"""Aggregator: events from everywhere are added up by small stateful functions, one per sensor.

``POST /api/sensors/roof/readings`` with ``{"value": 21.5}`` adds one, ``GET /api/sensors/roof`` shows the sum of all,
``DELETE /api/sensors/roof`` begins anew; ``POST /api/reports`` with ``{"sensors": ["roof"]}`` asks several at once.
"""

import json
from collections.abc import Generator
from typing import Any

import azure.functions as func

import perdure as df

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="sensors/{sensor}/readings", methods=["POST"])
@app.durable_client_input(client_name="client")
async def add_reading(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    """Hands the reading over. It is added in the order in which the readings of this sensor come in."""
    try:
        value = float(req.get_json()["value"])
    except (ValueError, KeyError, TypeError):
        return func.HttpResponse('Send JSON such as {"value": 21.5}.', status_code=400)
    await client.signal_entity(df.EntityId("Sensor", req.route_params["sensor"]), "add", value)
    return func.HttpResponse(status_code=202)


@app.route(route="sensors/{sensor}", methods=["GET"])
@app.durable_client_input(client_name="client")
async def show_sensor(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    """Reads the state, without disturbing the entity."""
    found = await client.read_entity_state(df.EntityId("Sensor", req.route_params["sensor"]))
    if not found.entity_exists:
        return func.HttpResponse("Nobody has heard of this sensor.", status_code=404)
    return func.HttpResponse(json.dumps(found.entity_state), mimetype="application/json")


@app.route(route="sensors/{sensor}", methods=["DELETE"])
@app.durable_client_input(client_name="client")
async def forget_sensor(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    """Deletes the entity, after all readings that came before."""
    await client.signal_entity(df.EntityId("Sensor", req.route_params["sensor"]), "reset")
    return func.HttpResponse(status_code=202)


@app.route(route="reports", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start_report(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    """Starts the orchestration and answers at once, with the URLs to follow it."""
    try:
        sensors = [str(sensor) for sensor in req.get_json()["sensors"]]
    except (ValueError, KeyError, TypeError):
        return func.HttpResponse('Send JSON such as {"sensors": ["roof", "cellar"]}.', status_code=400)
    instance_id = await client.start_new("report", None, sensors)
    return client.create_check_status_response(req, instance_id)


@app.entity_trigger(context_name="context", entity_name="Sensor")
def sensor_entity(context: df.DurableEntityContext) -> None:
    """One operation at a time, so that no reading can get between another one's look and its change."""
    state: dict[str, Any] = context.get_state(lambda: {"count": 0, "sum": 0.0, "highest": None})
    if context.operation_name == "add":
        value: float = context.get_input()
        highest = value if state["highest"] is None else max(state["highest"], value)
        context.set_state({"count": state["count"] + 1, "sum": state["sum"] + value, "highest": highest})
    elif context.operation_name == "reset":
        context.destruct_on_exit()
    elif context.operation_name == "mean":
        context.set_result(state["sum"] / state["count"] if state["count"] else None)


@app.orchestration_trigger(context_name="context")
def report(context: df.DurableOrchestrationContext) -> Generator[Any, Any, dict[str, float | None]]:
    """Asks all sensors at once. Each answers after what had been sent to it before."""
    sensors: list[str] = context.get_input()
    if not sensors:
        return {}
    means = yield context.task_all([context.call_entity(df.EntityId("Sensor", sensor), "mean") for sensor in sensors])
    return dict(zip(sensors, means, strict=True))
