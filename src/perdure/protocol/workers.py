"""Rpcs of workers: the stream of their work, and their answers.

An answer that can't be read gives its item back, so that it is offered again after a while; one that comes too late changes
nothing and says so.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import TypeVar

from perdure.core.answer_checks import StaleAnswerError
from perdure.engine.errors import NoRemoteWorkError
from perdure.engine.remote.remote import RemoteWork
from perdure.engine.remote.work import WorkerLimits, WorkFilter
from perdure.protocol.actions import read_answer
from perdure.protocol.answer_parts import whole_answer
from perdure.protocol.entity_results import read_entity_answer
from perdure.protocol.failures import failure_of
from perdure.protocol.hubs import ServedHub
from perdure.protocol.item_sizes import Deliveries
from perdure.protocol.service import Call, Immediate, Streaming, Unary
from perdure.protocol.wire import pb, text_of
from perdure.protocol.work_items import health_ping, work_item

T = TypeVar("T")


async def get_work_items(call: Call, request: pb.GetWorkItemsRequest) -> AsyncGenerator[bytes, None]:
    """Work for as long as the worker listens. When it doesn't any more, others get what it had."""
    hub = (await call.served()).hub
    if not hub.owns_instances:
        raise NoRemoteWorkError(
            "this server owns no instances, so that it has no work for workers. Connect to one with the role 'all' or 'owner'."
        )
    remote = hub.remote
    worker = remote.connect(
        WorkerLimits(
            max(request.maxConcurrentOrchestrationWorkItems, 0),
            max(request.maxConcurrentActivityWorkItems, 0),
            max(request.maxConcurrentEntityWorkItems, 0),
        ),
        _filter(request),
    )
    call.workers.begun(worker)
    silence = call.settings.health_ping.total_seconds()
    deliveries = Deliveries(call.item_sizes, call.peer, asyncio.get_running_loop().time, lambda token: _give_back(remote, token))
    try:
        while True:
            works = await worker.next(silence)
            for work in works:
                item = work_item(work)
                if deliveries.take(work, len(item)):
                    yield item
            if not works:
                if not worker.connected:
                    await call.workers.hub_ended()
                    return
                yield health_ping()
    finally:
        call.workers.ended(worker)
        if worker.connected:
            deliveries.gone()
        worker.disconnect()


async def complete_orchestrator_task(call: Call, request: pb.OrchestratorResponse) -> pb.CompleteTaskResponse:
    """Returns once the decision is taken, or kept until its other parts are there."""
    remote, token = await _remote(call), request.completionToken
    parts = remote.parts(token)
    if request.requiresHistory:
        remote.abandon(token)  # every item has all of it
        return pb.CompleteTaskResponse()
    whole = _read(remote, token, lambda: whole_answer(parts, request, call.settings.max_message_bytes))
    if whole is not None:
        await remote.answer_orchestrator(token, _read(remote, token, lambda: read_answer(whole)))
    return pb.CompleteTaskResponse()


def complete_activity_task(served: ServedHub, request: pb.ActivityResponse) -> pb.CompleteTaskResponse:
    """Takes the outcome."""
    remote = served.hub.remote
    failure = None
    if request.HasField("failureDetails"):
        failure = _read(remote, request.completionToken, lambda: failure_of(request.failureDetails))
    remote.answer_activity(request.completionToken, text_of(request, "result"), failure)
    return pb.CompleteTaskResponse()


async def complete_entity_task(call: Call, request: pb.EntityBatchResult) -> pb.CompleteTaskResponse:
    """Returns once what the operations did is taken. Where the batch as a whole has failed, all of it is offered again."""
    remote = await _remote(call)
    if request.HasField("failureDetails"):
        remote.abandon(request.completionToken)
        return pb.CompleteTaskResponse()
    answer = _read(remote, request.completionToken, lambda: read_entity_answer(request))
    await remote.answer_entity(request.completionToken, answer)
    return pb.CompleteTaskResponse()


def abandon_orchestrator(served: ServedHub, request: pb.AbandonOrchestrationTaskRequest) -> pb.AbandonOrchestrationTaskResponse:
    """The worker gives an orchestration back."""
    served.hub.remote.abandon(request.completionToken)
    return pb.AbandonOrchestrationTaskResponse()


def abandon_activity(served: ServedHub, request: pb.AbandonActivityTaskRequest) -> pb.AbandonActivityTaskResponse:
    """The worker gives an activity back."""
    served.hub.remote.abandon(request.completionToken)
    return pb.AbandonActivityTaskResponse()


def abandon_entity(served: ServedHub, request: pb.AbandonEntityTaskRequest) -> pb.AbandonEntityTaskResponse:
    """The worker gives an entity back."""
    served.hub.remote.abandon(request.completionToken)
    return pb.AbandonEntityTaskResponse()


async def _remote(call: Call) -> RemoteWork:
    return (await call.served()).hub.remote


def _read(remote: RemoteWork, token: str, read: Callable[[], T]) -> T:
    """An answer. One that can't be read gives its item back, whatever is wrong with it: nobody else would."""
    try:
        return read()
    except Exception:
        _give_back(remote, token)
        raise


def _give_back(remote: RemoteWork, token: str) -> bool:
    """Whether there was something to give back."""
    try:
        remote.abandon(token)
    except StaleAnswerError:
        return False
    return True


def _filter(request: pb.GetWorkItemsRequest) -> WorkFilter | None:
    if not request.HasField("workItemFilters"):
        return None
    asked = request.workItemFilters
    # Names of entities are in small letters, whatever their class is called.
    return WorkFilter(
        _names(asked.orchestrations), _names(asked.activities), {entity.name.casefold(): () for entity in asked.entities}
    )


def _names(filters: Iterable[pb.OrchestrationFilter | pb.ActivityFilter]) -> dict[str, frozenset[str]]:
    names: dict[str, frozenset[str]] = {}
    for entry in filters:
        versions = frozenset(entry.versions)
        known = names.get(entry.name)
        # No versions means all of them, wherever else the name comes with some.
        names[entry.name] = versions if known is None else known | versions if known and versions else frozenset()
    return names


UNARY: Mapping[str, Unary] = {
    "CompleteOrchestratorTask": complete_orchestrator_task,
    "CompleteEntityTask": complete_entity_task,
}
IMMEDIATE: Mapping[str, Immediate] = {
    "CompleteActivityTask": complete_activity_task,
    "AbandonTaskOrchestratorWorkItem": abandon_orchestrator,
    "AbandonTaskActivityWorkItem": abandon_activity,
    "AbandonTaskEntityWorkItem": abandon_entity,
}
STREAMING: Mapping[str, Streaming] = {"GetWorkItems": get_work_items}
