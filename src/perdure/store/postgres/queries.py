"""What clients, the CLI and the dashboard ask."""

import re
from collections.abc import Sequence
from typing import Any

import asyncpg

from perdure.store.contract import Backlog, InstanceQuery, InstanceRecord, Member, Segment
from perdure.store.postgres.rows import INSTANCE_COLUMNS, INSTANCE_WIDTH, instance_row, is_text
from perdure.store.postgres.session import Session
from perdure.store.prefixes import behind_prefix

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_LAST = """
    LEFT JOIN LATERAL (
        SELECT * FROM hub.history AS h WHERE h.iid = i.iid AND h.seq >= i.first_seq ORDER BY h.seq DESC LIMIT 1) AS last ON true
"""
_FIRST = """
    LEFT JOIN LATERAL (
        SELECT * FROM hub.history AS h WHERE h.iid = i.iid AND h.seq >= i.first_seq ORDER BY h.seq LIMIT 1) AS first ON true
"""
_HISTORY = """
    SELECT h.seq, h.at, h.events FROM hub.instances AS i JOIN hub.history AS h ON h.iid = i.iid AND h.seq >= i.first_seq
    WHERE i.instance_id = $1 ORDER BY h.seq
"""
# Ranges of ids rather than a look at the first character: the index skips what isn't asked for.
_ENTITIES = "(i.instance_id >= '@' AND i.instance_id < 'A')"
_ORCHESTRATIONS = "(i.instance_id < '@' OR i.instance_id >= 'A')"
_COUNT = f"SELECT status, count(*) AS number FROM hub.instances AS i WHERE {_ORCHESTRATIONS} GROUP BY status"
_UPDATED_AT = """coalesce((
    SELECT h.at FROM hub.history AS h WHERE h.iid = i.iid AND h.seq >= i.first_seq ORDER BY h.seq DESC LIMIT 1), i.created_at)"""
_BACKLOG = """
    SELECT
        waiting.number AS messages, waiting.oldest AS oldest_message, free.number AS activities, free.oldest AS oldest_activity
    FROM
        (SELECT count(*) AS number, min(stored_at) AS oldest FROM hub.messages) AS waiting,
        (SELECT count(*) AS number, min(offered_at) AS oldest FROM hub.activities WHERE claimed_until <= $1) AS free
"""
_MEMBERS = """
    SELECT owner, owns_partitions, runs_activities, running, capacity FROM hub.members WHERE expires_at > $1 ORDER BY owner
"""


async def get(session: Session, instance_id: str, with_payloads: bool) -> InstanceRecord | None:
    """See ``Queries.get``."""
    if not is_text(instance_id):
        return None
    found = await _select(session, "i.instance_id = $1", [instance_id], 1, with_payloads)
    return found[0] if found else None


async def get_many(session: Session, instance_ids: Sequence[str]) -> list[InstanceRecord]:
    """Those of the instances that exist, with their payloads."""
    return await _select(session, "i.instance_id = ANY ($1::text[])", [list(instance_ids)], len(instance_ids), with_payloads=True)


async def list_instances(session: Session, query: InstanceQuery) -> list[InstanceRecord]:
    """See ``Queries.list``."""
    conditions, parameters = ["i.instance_id > $1"], list[Any]([_UNSTORABLE.split(query.after)[0]])

    def require(condition: str, value: object) -> None:
        parameters.append(value)
        conditions.append(condition.format(f"${len(parameters)}"))

    if query.id_prefix:
        if not is_text(query.id_prefix):
            return []
        # The range lets the index skip to the prefix.
        require("i.instance_id >= {0} AND starts_with(i.instance_id, {0})", query.id_prefix)
        if (end := behind_prefix(query.id_prefix)) is not None:
            require("i.instance_id < {0}", end)
    for column, values in (("status", query.statuses), ("name", query.names)):
        if values:
            require(f"i.{column} = ANY ({{0}}::text[])", [value for value in values if is_text(value)])
    if query.entities is not None:
        conditions.append(_ENTITIES if query.entities else _ORCHESTRATIONS)
    for condition, bound in (
        ("i.created_at >= {0}", query.created_from),
        ("i.created_at <= {0}", query.created_to),
        (f"{_UPDATED_AT} >= {{0}}", query.updated_from),
        (f"{_UPDATED_AT} <= {{0}}", query.updated_to),
    ):
        if bound is not None:
            require(condition, bound)
    return await _select(session, " AND ".join(conditions), parameters, query.limit, query.with_payloads)


async def count(session: Session) -> dict[str, int]:
    """See ``Queries.count``."""
    return {row["status"]: row["number"] for row in await session.fetch(_COUNT)}


async def history(session: Session, instance_id: str) -> list[Segment]:
    """See ``Queries.history``."""
    return [Segment(*row) for row in await session.fetch(_HISTORY, instance_id)] if is_text(instance_id) else []


async def backlog(session: Session) -> Backlog:
    """See ``Sharing.backlog``."""
    now = (await session.fetchrow("SELECT hub.now_us()"))[0]
    waiting = await session.fetchrow(_BACKLOG, now)
    members = [Member(**row) for row in await session.fetch(_MEMBERS, now)]
    return Backlog(**waiting, members=members)


async def _select(
    session: Session, condition: str, parameters: list[Any], limit: int, with_payloads: bool
) -> list[InstanceRecord]:
    payloads = "first.seq, first.at, first.events, last.seq, last.at, last.events"
    # `condition` is made of this module's own texts; values come as parameters.
    found = await session.fetch(
        f"""
        SELECT {INSTANCE_COLUMNS}, coalesce(last.at, i.created_at), {payloads if with_payloads else "NULL"}
        FROM (SELECT * FROM hub.instances AS i WHERE {condition} ORDER BY i.instance_id LIMIT ${len(parameters) + 1}) AS i
        {_LAST} {_FIRST if with_payloads else ""}
        ORDER BY i.instance_id
        """,
        *parameters,
        limit,
    )
    return [_record(row) for row in found]


def _record(row: asyncpg.Record) -> InstanceRecord:
    updated_at, *ends = row[INSTANCE_WIDTH:]
    if ends[0] is None:
        return InstanceRecord(instance_row(row), updated_at, None, None)
    return InstanceRecord(instance_row(row), updated_at, Segment(*ends[:3]), Segment(*ends[3:]))
