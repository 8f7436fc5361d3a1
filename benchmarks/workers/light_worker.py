"""A worker that does next to nothing, so that the server is what is measured: it replays no history and runs no code.

``ADDRESS INSTANCES STEPS PID``: runs that many chains of that many steps at once, and prints what process ``PID`` has used at the
beginning and after each tenth of all.
"""

import json
import sys
import time
from typing import Any

import grpc
from durabletask.internal import orchestrator_service_pb2 as pb
from durabletask.internal.orchestrator_service_pb2_grpc import TaskHubSidecarServiceStub
from google.protobuf.wrappers_pb2 import StringValue

from benchmarks.hosts import cpu_seconds_of


def main() -> None:
    """Runs the chains."""
    address, instances, steps, pid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    with grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        print(json.dumps(_run(TaskHubSidecarServiceStub(channel), instances, steps, pid)))


def _run(stub: Any, instances: int, steps: int, pid: int) -> dict[str, Any]:
    items = stub.GetWorkItems(
        pb.GetWorkItemsRequest(maxConcurrentOrchestrationWorkItems=instances, maxConcurrentActivityWorkItems=instances)
    )
    under_way: set[Any] = set()  # a call that nobody knows any more is canceled

    def call(rpc: Any, request: Any) -> Any:
        future = rpc.future(request)
        under_way.add(future)
        future.add_done_callback(under_way.discard)
        return future

    for number in range(instances):
        call(stub.StartInstance, pb.CreateInstanceRequest(instanceId=f"chain-{number}", name="chain"))
    begun, used = time.perf_counter(), [cpu_seconds_of(pid)]
    received, done, left = 0, 0, instances
    ran = dict.fromkeys((f"chain-{number}" for number in range(instances)), 0)
    bytes_at = [0]
    for item in items:
        received += item.ByteSize()
        if item.HasField("activityRequest"):
            activity = item.activityRequest
            name = activity.orchestrationInstance.instanceId
            result = StringValue(value=str(activity.taskId))
            outcome = pb.ActivityResponse(
                instanceId=name, taskId=activity.taskId, result=result, completionToken=item.completionToken
            )
            call(stub.CompleteActivityTask, outcome)
            ran[name] += 1
            done += 1
            if done % (instances * steps // 10) == 0:
                used.append(cpu_seconds_of(pid))
                bytes_at.append(received)
        elif item.HasField("orchestratorRequest"):
            name = item.orchestratorRequest.instanceId
            answer = pb.OrchestratorResponse(
                instanceId=name, actions=[_action(ran[name], steps)], completionToken=item.completionToken
            )
            decided = call(stub.CompleteOrchestratorTask, answer)
            if ran[name] == steps:
                decided.result()
                left -= 1
                if not left:
                    break
    return {"seconds": time.perf_counter() - begun, "cpu_seconds": used, "bytes": bytes_at}


def _action(ran: int, steps: int) -> pb.OrchestratorAction:
    if ran < steps:
        return pb.OrchestratorAction(id=ran + 1, scheduleTask=pb.ScheduleTaskAction(name="step"))
    end = pb.CompleteOrchestrationAction(orchestrationStatus=pb.ORCHESTRATION_STATUS_COMPLETED)
    return pb.OrchestratorAction(id=ran + 1, completeOrchestration=end)


if __name__ == "__main__":
    main()
