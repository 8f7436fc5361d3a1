"""Every operation of the client, each under its own name."""
# ruff: noqa: A002 - the parameters are the keys of the request's body

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import azure.durable_functions as df
import azure.functions as func
from durabletask.client import EntityQuery, OrchestrationQuery, OrchestrationState, OrchestrationStatus

blueprint = df.Blueprint(http_auth_level=func.AuthLevel.ANONYMOUS)


@blueprint.route("client/{operation}", methods=["POST"])
@blueprint.durable_client_input("client")
async def operate(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    operation = _OPERATIONS[req.route_params["operation"]]
    result = await operation(client, **req.get_json())
    return func.HttpResponse(json.dumps(result, default=str), mimetype="application/json")


def _shown(state: OrchestrationState | None) -> Any:
    if state is None:
        return None
    failure = state.failure_details
    cause = None if failure is None else failure.inner_failure
    return {
        "id": state.instance_id,
        "name": state.name,
        "status": state.runtime_status.name,
        "input": state.get_input(),
        "output": state.get_output() if failure is None else None,
        "custom_status": state.get_custom_status(),
        "failure": None if failure is None else [failure.error_type, failure.message, failure.stack_trace],
        "cause": None if cause is None else [cause.error_type, cause.message, cause.stack_trace],
    }


async def state(client: df.DurableFunctionsClient, id: str) -> Any:
    return _shown(await client.get_orchestration_state(id))


async def old_status(client: df.DurableFunctionsClient, id: str) -> Any:
    status = await client.get_status(id, show_history=True, show_history_output=True, show_input=True)
    return [bool(status), status.to_json()]


async def history(client: df.DurableFunctionsClient, id: str) -> Any:
    return [type(event).__name__ for event in await client.get_orchestration_history(id)]


async def started(client: df.DurableFunctionsClient, id: str) -> Any:
    return _shown(await client.wait_for_orchestration_start(id, timeout=20))


async def ended(client: df.DurableFunctionsClient, id: str) -> Any:
    return _shown(await client.wait_for_orchestration_completion(id, timeout=20))


async def send(client: df.DurableFunctionsClient, id: str, event: str, data: Any) -> None:
    await client.raise_orchestration_event(id, event, data=data)


async def terminate(client: df.DurableFunctionsClient, id: str, output: Any) -> None:
    await client.terminate_orchestration(id, output=output)


async def suspend(client: df.DurableFunctionsClient, id: str) -> None:
    await client.suspend_orchestration(id, reason="holiday")


async def resume(client: df.DurableFunctionsClient, id: str) -> None:
    await client.resume_orchestration(id, reason="back")


async def rewind(client: df.DurableFunctionsClient, id: str) -> None:
    await client.rewind_orchestration(id, reason="again")


async def restart(client: df.DurableFunctionsClient, id: str, new_id: bool) -> str:
    return await client.restart_orchestration(id, restart_with_new_instance_id=new_id)


async def purge(client: df.DurableFunctionsClient, id: str) -> int:
    return (await client.purge_orchestration(id)).deleted_instance_count


async def purge_by(client: df.DurableFunctionsClient, since: str) -> int:
    result = await client.purge_orchestrations_by(
        created_time_from=datetime.fromisoformat(since), runtime_status=[OrchestrationStatus.TERMINATED]
    )
    return result.deleted_instance_count


async def query(client: df.DurableFunctionsClient, status: str) -> Any:
    found = await client.get_all_orchestration_states(
        OrchestrationQuery(runtime_status=[OrchestrationStatus[status]], fetch_inputs_and_outputs=True)
    )
    return [one.instance_id for one in found]


async def children(client: df.DurableFunctionsClient, parent: str) -> Any:
    found = await client.get_all_orchestration_states()
    return [[one.name, one.instance_id] for one in found if one.instance_id.startswith(f"{parent}:")]


async def inputs(client: df.DurableFunctionsClient, name: str, input: Any) -> Any:
    found = await client.get_all_orchestration_states(OrchestrationQuery(fetch_inputs_and_outputs=True))
    return [one.instance_id for one in found if one.name == name and one.get_input() == input]


async def start_at(client: df.DurableFunctionsClient, name: str, at: str) -> str:
    return await client.schedule_new_orchestration(name, start_at=datetime.fromisoformat(at))


async def signal(client: df.DurableFunctionsClient, name: str, key: str, operation: str, input: Any) -> None:
    await client.signal_entity(df.EntityId(name, key), operation, input)


async def entity(client: df.DurableFunctionsClient, name: str, key: str) -> Any:
    metadata = await client.get_entity(df.EntityId(name, key))
    old = await client.read_entity_state(df.EntityId(name, key))
    return [None if metadata is None else json.loads(metadata.get_state() or "null"), old.entity_exists, old.entity_state]


async def entities(client: df.DurableFunctionsClient, prefix: str) -> Any:
    found = await client.get_all_entities(EntityQuery(instance_id_starts_with=prefix))
    return sorted(str(one.id) for one in found)


async def clean(client: df.DurableFunctionsClient) -> Any:
    return asdict(await client.clean_entity_storage())


async def now(client: df.DurableFunctionsClient) -> str:
    return datetime.now(UTC).isoformat()


_OPERATIONS = {
    operation.__name__: operation
    for operation in (
        state, old_status, history, started, ended, send, terminate, suspend, resume, rewind, restart, purge, purge_by, query,
        children, inputs, start_at, signal, entity, entities, clean, now,
    )
}  # fmt: skip
