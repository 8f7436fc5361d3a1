"""What clients, the CLI and the dashboard ask."""

import sqlite3
from collections.abc import Iterator

import msgspec

from perdure.store.contract import InstanceQuery, InstanceRecord, InstanceRow, Segment
from perdure.store.prefixes import behind_prefix
from perdure.store.sqlite.gather import INSTANCE_JSON, cut, gathered_blobs

_Place = tuple[int, int, int]
"""seq, at, length."""
_records = msgspec.json.Decoder(list[tuple[InstanceRow, _Place | None, _Place | None]])
_places = msgspec.json.Decoder(list[_Place])
_counts = msgspec.json.Decoder(list[tuple[str, int]])

_FIRST_AND_LAST = """
    LEFT JOIN history AS first ON first.iid = i.iid
        AND first.seq = (SELECT min(seq) FROM history WHERE iid = i.iid AND seq >= i.first_seq)
    LEFT JOIN history AS last ON last.iid = i.iid
        AND last.seq = (SELECT max(seq) FROM history WHERE iid = i.iid AND seq >= i.first_seq)
"""
_HISTORY = f"""
    SELECT json_group_array(json_array(seq, at, length(events))), {gathered_blobs("events")}
    FROM history
    WHERE iid = (SELECT iid FROM instances WHERE instance_id = ?1)
        AND seq >= (SELECT first_seq FROM instances WHERE instance_id = ?1)
"""
# Ranges of ids rather than a look at the first character: the index skips what isn't asked for.
_ENTITIES = "(instance_id >= '@' AND instance_id < 'A')"
_ORCHESTRATIONS = "(instance_id < '@' OR instance_id >= 'A')"
_COUNT = f"""
    SELECT json_group_array(json_array(status, number))
    FROM (SELECT status, count(*) AS number FROM instances WHERE {_ORCHESTRATIONS} GROUP BY status)
"""
_UPDATED_AT = """coalesce(
    (SELECT at FROM history WHERE iid = instances.iid AND seq >= instances.first_seq ORDER BY seq DESC LIMIT 1), created_at)
"""


def get(connection: sqlite3.Connection, instance_id: str, with_payloads: bool) -> InstanceRecord | None:
    """See ``Queries.get``."""
    found = _select(connection, "instance_id = ?", [instance_id], 1, with_payloads)
    return found[0] if found else None


def get_many(connection: sqlite3.Connection, instance_ids: list[str]) -> list[InstanceRecord]:
    """Those of the instances that exist, with their payloads."""
    among = "instance_id IN (SELECT value FROM json_each(?))"
    return _select(connection, among, [msgspec.json.encode(instance_ids).decode()], len(instance_ids), with_payloads=True)


def list_instances(connection: sqlite3.Connection, query: InstanceQuery) -> list[InstanceRecord]:
    """See ``Queries.list``."""
    conditions, parameters = ["instance_id > ?"], list[str | int]([query.after])
    if query.id_prefix:
        # The range lets the index skip to the prefix; LIKE would ignore case.
        conditions += ["instance_id >= ?", "substr(instance_id, 1, length(?)) = ?"]
        parameters += [query.id_prefix] * 3
        if (end := behind_prefix(query.id_prefix)) is not None:
            conditions.append("instance_id < ?")
            parameters.append(end)
    for column, values in (("status", query.statuses), ("name", query.names)):
        if values:
            conditions.append(f"{column} IN (SELECT value FROM json_each(?))")
            parameters.append(msgspec.json.encode(list(values)).decode())
    if query.entities is not None:
        conditions.append(_ENTITIES if query.entities else _ORCHESTRATIONS)
    for condition, bound in (
        ("created_at >= ?", query.created_from),
        ("created_at <= ?", query.created_to),
        (f"{_UPDATED_AT} >= ?", query.updated_from),
        (f"{_UPDATED_AT} <= ?", query.updated_to),
    ):
        if bound is not None:
            conditions.append(condition)
            parameters.append(bound)
    return _select(connection, " AND ".join(conditions), parameters, query.limit, query.with_payloads)


def count(connection: sqlite3.Connection) -> dict[str, int]:
    """See ``Queries.count``."""
    return dict(_counts.decode(connection.execute(_COUNT).fetchone()[0]))


def history(connection: sqlite3.Connection, instance_id: str) -> list[Segment]:
    """See ``Queries.history``."""
    places, payload = connection.execute(_HISTORY, (instance_id,)).fetchone()
    found = _places.decode(places)
    pieces = cut(payload, (length for _, _, length in found))
    return sorted((Segment(seq, at, piece) for (seq, at, _), piece in zip(found, pieces, strict=True)), key=lambda it: it.seq)


def _select(
    connection: sqlite3.Connection, condition: str, parameters: list[str | int], limit: int, with_payloads: bool
) -> list[InstanceRecord]:
    payloads = gathered_blobs("coalesce(first.events, x'')") + ", " + gathered_blobs("coalesce(last.events, x'')")
    # `condition` is made of this module's own texts; values come as parameters.
    rows, firsts, lasts = connection.execute(
        f"""
        SELECT json_group_array(json_array(
            {INSTANCE_JSON},
            CASE WHEN first.seq IS NULL THEN NULL ELSE json_array(first.seq, first.at, length(first.events)) END,
            CASE WHEN last.seq IS NULL THEN NULL ELSE json_array(last.seq, last.at, length(last.events)) END
        )), {payloads if with_payloads else "NULL, NULL"}
        FROM (SELECT * FROM instances WHERE {condition} ORDER BY instance_id LIMIT ?) AS i
        {_FIRST_AND_LAST}
        """,
        [*parameters, limit],
    ).fetchone()
    found = _records.decode(rows)
    first_events = cut(firsts, (first[2] if first else 0 for _, first, _ in found))
    last_events = cut(lasts, (last[2] if last else 0 for _, _, last in found))
    records = [_record(row, first, last, first_events, last_events, with_payloads) for row, first, last in found]
    records.sort(key=lambda record: record.row.instance_id)
    return records


def _record(
    row: InstanceRow,
    first: _Place | None,
    last: _Place | None,
    first_events: Iterator[bytes],
    last_events: Iterator[bytes],
    with_payloads: bool,
) -> InstanceRecord:
    first_payload, last_payload = next(first_events), next(last_events)
    if first is None or last is None:
        return InstanceRecord(row, row.created_at, None, None)
    if not with_payloads:
        return InstanceRecord(row, last[1], None, None)
    return InstanceRecord(row, last[1], Segment(first[0], first[1], first_payload), Segment(last[0], last[1], last_payload))
