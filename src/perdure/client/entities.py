"""What clients do with entities: signal, read, list, clean up."""

from datetime import datetime
from typing import Any

from perdure.client.models import CleanEntityStorageResult, EntityPage, EntityStateResponse, EntityStatus
from perdure.core.converter import JsonConverter
from perdure.core.entity import EntityNotRegisteredError
from perdure.core.entity_id import EntityId
from perdure.core.entity_saved import EntitySummary, summary
from perdure.core.events import EntityOperationSignaled, EntityUnlockSent
from perdure.core.functions import Functions, user_names
from perdure.core.messages import Message
from perdure.core.status import TERMINAL_STATUSES
from perdure.core.times import from_us, to_us
from perdure.engine.engine import Engine
from perdure.store.contract import InstanceQuery, InstanceRecord, Queries

_PAGE = 200


async def signal(
    engine: Engine, functions: Functions, entity: EntityId, operation: str, input_: Any, scheduled_time: int | None
) -> None:
    """See ``DurableClient.signal_entity``."""
    if entity.name not in functions.entities and engine.remote is None:
        known = ", ".join(user_names(functions.entities.values())) or "none"
        raise EntityNotRegisteredError(f"there is no entity named '{entity.name}'. Registered: {known}.")
    target = str(entity)
    text = engine.converter.encode(input_, "input of entity operation", f"{target}.{operation}")
    await engine.send(Message(target, EntityOperationSignaled(target, operation, input=text, scheduled_time=scheduled_time)))


async def read_state(queries: Queries, converter: JsonConverter, entity: EntityId, expected_type: Any) -> EntityStateResponse:
    """See ``DurableClient.read_entity_state``."""
    record = await queries.get(str(entity), with_payloads=True)
    state = summarized(record).state if record is not None else None
    if state is None:
        return EntityStateResponse(False, None)
    return EntityStateResponse(True, converter.decode(state, expected_type, "state of entity", entity.name))


async def list_page(
    queries: Queries,
    converter: JsonConverter,
    *,
    name: str | None,
    last_operation_from: datetime | None,
    last_operation_to: datetime | None,
    fetch_state: bool,
    page_size: int,
    continuation_token: str | None,
) -> EntityPage:
    """See ``DurableClient.list_entities``."""
    query = InstanceQuery(
        entities=True,
        id_prefix=f"@{name.casefold()}@" if name is not None else "",
        updated_from=to_us(last_operation_from) if last_operation_from else None,
        updated_to=to_us(last_operation_to) if last_operation_to else None,
        limit=page_size + 1,  # one more tells whether there is another page
        after=continuation_token or "",
        with_payloads=True,
    )
    records = await queries.list(query)
    shown = records[:page_size]
    found: list[EntityStatus] = []
    for record in shown:
        now = summarized(record)
        if now.state is not None:  # without one it is only a lock, or signals that are still to come
            state = converter.decode(now.state, None, "state of entity", record.row.name) if fetch_state else None
            found.append(
                EntityStatus(
                    entity_id=EntityId.parse(record.row.instance_id),
                    last_operation_time=from_us(record.updated_at),
                    state=state,
                    locked_by=now.lock.owner if now.lock is not None else None,
                    backlog=now.backlog,
                )
            )
    return EntityPage(found, shown[-1].row.instance_id if len(records) > page_size else None)


async def release_orphaned_locks(engine: Engine, queries: Queries) -> CleanEntityStorageResult:
    """See ``DurableClient.clean_entity_storage``."""
    released = 0
    after = ""
    while True:
        records = await queries.list(InstanceQuery(entities=True, limit=_PAGE, after=after, with_payloads=True))
        for record in records:
            lock = summarized(record).lock
            if lock is not None and await _has_ended(queries, lock.owner):
                entity = record.row.instance_id
                await engine.send(Message(entity, EntityUnlockSent(entity, lock.critical_section_id)))
                released += 1
        if len(records) < _PAGE:
            return CleanEntityStorageResult(0, released)
        after = records[-1].row.instance_id


def summarized(record: InstanceRecord) -> EntitySummary:
    """What is stored of an entity. The record has to be with payloads."""
    if record.first is None or record.last is None:
        return EntitySummary()
    return summary(record.row.instance_id, record.first.events, record.last.events)


async def _has_ended(queries: Queries, instance_id: str) -> bool:
    owner = await queries.get(instance_id)
    return owner is None or owner.row.status in TERMINAL_STATUSES
