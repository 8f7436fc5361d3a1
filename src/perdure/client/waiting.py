"""Waiting for an instance to begin or to end: woken by the engine, never polling, and free of traces when given up."""

import asyncio
from collections.abc import Awaitable, Callable

from perdure.core.entity_id import is_entity
from perdure.core.status import TERMINAL_STATUSES, OrchestrationRuntimeStatus
from perdure.engine.engine import Engine
from perdure.engine.errors import InstanceNotFoundError, not_found
from perdure.store.contract import InstanceRecord, Queries

_MOMENT = 0.01
"""Seconds between looks for an instance whose start lies in the inbox."""
_Future = asyncio.Future[InstanceRecord | None]


async def until_ended(engine: Engine, queries: Queries, instance_id: str, seconds: float | None) -> InstanceRecord:
    """The record of the instance once it has ended, with its last segment.

    Raises:
        InstanceNotFoundError: there is no such orchestration.
        TimeoutError: it has not ended within ``seconds``.
        EngineStoppedError: nobody will bring it to an end.
    """

    async def ended(deadline: float | None) -> InstanceRecord | None:
        if engine.is_running(instance_id):
            return None
        record = await _existing(engine, queries, instance_id, deadline)
        return record if record.row.status in TERMINAL_STATUSES else None

    return await _until(engine, engine.await_end, instance_id, seconds, ended)


async def until_begun(engine: Engine, queries: Queries, instance_id: str, seconds: float | None) -> InstanceRecord:
    """The record of the instance once its status isn't Pending any more, with its first and last segment.

    Raises:
        InstanceNotFoundError, TimeoutError, EngineStoppedError: as ``until_ended``.
    """

    async def begun(deadline: float | None) -> InstanceRecord | None:
        record = await _existing(engine, queries, instance_id, deadline)
        return None if record.row.status == OrchestrationRuntimeStatus.Pending else record

    return await _until(engine, engine.await_begin, instance_id, seconds, begun)


async def _until(
    engine: Engine,
    wait: Callable[[str], _Future],
    instance_id: str,
    seconds: float | None,
    look: Callable[[float | None], Awaitable[InstanceRecord | None]],
) -> InstanceRecord:
    if is_entity(instance_id):
        raise InstanceNotFoundError(f"'{instance_id}' is an entity: it never ends")
    now = asyncio.get_running_loop().time
    deadline = None if seconds is None else now() + seconds
    while True:
        future = wait(instance_id)  # before looking, so that nothing is missed between the two
        try:
            record = await look(deadline)
            if record is not None:
                return record
            if engine.stopped is not None:
                raise engine.stopped
            record = await (future if deadline is None else asyncio.wait_for(future, deadline - now()))
        finally:
            engine.waiters.forget(instance_id, future)
            if future.done() and not future.cancelled():
                future.exception()  # seen, even where another error came first
        if record is not None:
            return record


async def _existing(engine: Engine, queries: Queries, instance_id: str, deadline: float | None) -> InstanceRecord:
    now = asyncio.get_running_loop().time
    while True:
        coming = await engine.is_coming(instance_id)
        record = await queries.get(instance_id, with_payloads=True)
        if record is not None:
            return record
        if not coming:
            raise not_found(instance_id)
        if deadline is not None and now() >= deadline:
            raise TimeoutError
        await asyncio.sleep(_MOMENT)
