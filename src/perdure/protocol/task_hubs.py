"""Rpcs that make and delete task hubs."""

from collections.abc import Mapping

from perdure.protocol.service import Call, Unary
from perdure.protocol.wire import pb


async def create_task_hub(call: Call, request: pb.CreateTaskHubRequest) -> pb.CreateTaskHubResponse:
    """Makes the hub that the metadata names, if it doesn't exist."""
    await call.hubs.create(call.hub_name, recreate=request.recreateIfExists)
    return pb.CreateTaskHubResponse()


async def delete_task_hub(call: Call, request: pb.DeleteTaskHubRequest) -> pb.DeleteTaskHubResponse:
    """Deletes the hub that the metadata names, with everything in it."""
    await call.hubs.delete(call.hub_name)
    return pb.DeleteTaskHubResponse()


UNARY: Mapping[str, Unary] = {"CreateTaskHub": create_task_hub, "DeleteTaskHub": delete_task_hub}
