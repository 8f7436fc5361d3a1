"""Rpcs that start, ask and steer one instance. What an instance that has ended can't take any more is taken and dropped.

That is how the other servers of the protocol do it: whoever sends an event can't know whether the instance ends meanwhile.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from google.protobuf.empty_pb2 import Empty

from perdure.client.raw import RawClient
from perdure.core.codec import decode_segment
from perdure.core.events import ExecutionStarted
from perdure.core.messages import ReusePolicy
from perdure.core.status import TERMINAL_STATUSES
from perdure.engine.errors import InstanceFinishedError, InstanceNotFoundError, InstanceRunningError, not_found
from perdure.protocol.errors import InvalidRequestError, shown
from perdure.protocol.service import Call, Unary
from perdure.protocol.states import state_value
from perdure.protocol.wire import column_of, moment_of, pb, required, statuses_of, text_of, trace_of
from perdure.store.contract import InstanceRecord

_EXECUTION_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


async def hello(call: Call, request: Empty) -> Empty:
    """Says that the server is there."""
    return Empty()


async def start_instance(call: Call, request: pb.CreateInstanceRequest) -> pb.CreateInstanceResponse:
    """Starts an orchestration. Without a reuse policy, that of the hub decides whether an id that is taken is refused."""
    served = await call.served()
    replaceable = statuses_of(request.orchestrationIdReusePolicy.replaceableStatus, "replaceableStatus")
    execution_id = text_of(request, "executionId")
    if execution_id and not _EXECUTION_ID.fullmatch(execution_id):
        raise InvalidRequestError(f"'executionId' {shown(execution_id)} can't be used. Use letters, digits, '-' and '_'.")
    instance_id = await served.hub.raw_client.start(
        required(request.name, "name"),
        request.instanceId or None,
        input_=text_of(request, "input"),
        version=column_of(request, "version"),
        start_at=moment_of(request, "scheduledStartTimestamp"),
        tags=dict(request.tags),
        reuse_policy=served.reuse_policy,
        replaceable=replaceable or None,
        execution_id=execution_id,
        trace=trace_of(request),
    )
    return pb.CreateInstanceResponse(instanceId=instance_id)


async def get_instance(call: Call, request: pb.GetInstanceRequest) -> pb.GetInstanceResponse:
    """The state of an instance, or that there is none."""
    client = await call.client()
    record = await client.get(request.instanceId, with_payloads=request.getInputsAndOutputs)
    return _instance(record, request)


async def wait_for_instance_start(call: Call, request: pb.GetInstanceRequest) -> pb.GetInstanceResponse:
    """The same, once it isn't Pending any more."""
    client = await call.client()
    return _instance(await _awaited(client.until_begun, call, request), request)


async def wait_for_instance_completion(call: Call, request: pb.GetInstanceRequest) -> pb.GetInstanceResponse:
    """The same, once it has ended."""
    client = await call.client()
    record = await _awaited(client.until_ended, call, request)
    if record is not None and request.getInputsAndOutputs and record.first is None:
        record = await client.get(request.instanceId, with_payloads=True)
    return _instance(record, request)


async def _awaited(
    until: Callable[[str, float | None], Awaitable[InstanceRecord]], call: Call, request: pb.GetInstanceRequest
) -> InstanceRecord | None:
    try:
        return await until(request.instanceId, call.settings.max_wait.total_seconds())
    except InstanceNotFoundError:
        return None


def _instance(record: InstanceRecord | None, request: pb.GetInstanceRequest) -> pb.GetInstanceResponse:
    if record is None:
        return pb.GetInstanceResponse(exists=False)
    with_all = request.getInputsAndOutputs
    return pb.GetInstanceResponse(exists=True, orchestrationState=state_value(record, payloads=with_all, custom_status=with_all))


async def raise_event(call: Call, request: pb.RaiseEventRequest) -> pb.RaiseEventResponse:
    """Sends an external event."""
    client = await call.client()
    with suppress(InstanceFinishedError):
        await client.raise_event(request.instanceId, required(request.name, "name"), text_of(request, "input"))
    return pb.RaiseEventResponse()


async def terminate_instance(call: Call, request: pb.TerminateRequest) -> pb.TerminateResponse:
    """Ends an instance at once."""
    client = await call.client()
    with suppress(InstanceFinishedError):
        await client.terminate(request.instanceId, text_of(request, "output"), recursive=request.recursive)
    return pb.TerminateResponse()


async def suspend_instance(call: Call, request: pb.SuspendRequest) -> pb.SuspendResponse:
    """Pauses an instance."""
    client = await call.client()
    with suppress(InstanceFinishedError):
        await client.suspend(request.instanceId, text_of(request, "reason"))
    return pb.SuspendResponse()


async def resume_instance(call: Call, request: pb.ResumeRequest) -> pb.ResumeResponse:
    """Lets a paused instance go on."""
    client = await call.client()
    with suppress(InstanceFinishedError):
        await client.resume(request.instanceId, text_of(request, "reason"))
    return pb.ResumeResponse()


async def rewind_instance(call: Call, request: pb.RewindInstanceRequest) -> pb.RewindInstanceResponse:
    """Lets a failed instance try again."""
    client = await call.client()
    await client.rewind(request.instanceId, text_of(request, "reason"))
    return pb.RewindInstanceResponse()


async def restart_instance(call: Call, request: pb.RestartInstanceRequest) -> pb.RestartInstanceResponse:
    """Starts the orchestrator of an ended instance again, with the same input and version."""
    client = await call.client()
    record, started = await _ended(client, request.instanceId)
    instance_id = await client.start(
        started.name,
        None if request.restartWithNewInstanceId else request.instanceId,
        input_=started.input,
        version=record.row.version,
        reuse_policy=ReusePolicy.ONLY_IF_TERMINAL,
    )
    return pb.RestartInstanceResponse(instanceId=instance_id)


async def _ended(client: RawClient, instance_id: str) -> tuple[InstanceRecord, ExecutionStarted]:
    record = await client.get(instance_id, with_payloads=True)
    if record is None or record.first is None:
        raise not_found(instance_id)
    if record.row.status not in TERMINAL_STATUSES:
        raise InstanceRunningError(f"instance '{instance_id}' is {record.row.status}; only ended ones can be started again.")
    started = next(event for event in decode_segment(record.first.events) if isinstance(event, ExecutionStarted))
    return record, started


UNARY: Mapping[str, Unary] = {
    "Hello": hello,
    "StartInstance": start_instance,
    "GetInstance": get_instance,
    "WaitForInstanceStart": wait_for_instance_start,
    "WaitForInstanceCompletion": wait_for_instance_completion,
    "RaiseEvent": raise_event,
    "TerminateInstance": terminate_instance,
    "SuspendInstance": suspend_instance,
    "ResumeInstance": resume_instance,
    "RewindInstance": rewind_instance,
    "RestartInstance": restart_instance,
}
