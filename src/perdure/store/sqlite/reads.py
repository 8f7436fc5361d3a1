"""What the engine reads: hydration and recovery."""

import sqlite3
from collections.abc import Collection, Sequence

import msgspec

from perdure.store.contract import InstanceRow, Segment, StoredInstance, StoredMessage
from perdure.store.sqlite.gather import INSTANCE_JSON, cut, gathered_blobs
from perdure.store.statuses import TERMINAL_STATUSES

_TERMINAL = ", ".join(f"'{status}'" for status in sorted(TERMINAL_STATUSES))
# One statement, so that rows and histories are of the same moment.
_LOAD = f"""
    SELECT json_group_array(json_array(i.iid, {INSTANCE_JSON})), NULL
    FROM instances AS i WHERE i.instance_id IN (SELECT value FROM json_each(?1))
    UNION ALL
    SELECT json_group_array(json_array(h.iid, h.seq, h.at, length(h.events))), {gathered_blobs("h.events")}
    FROM instances AS i CROSS JOIN history AS h ON h.iid = i.iid AND h.seq >= i.first_seq
    WHERE i.instance_id IN (SELECT value FROM json_each(?1)) AND i.status NOT IN ({_TERMINAL})
"""
_INBOX = f"""
    SELECT json_group_array(json_array(message_id, instance_id, partition, length(body))), {gathered_blobs("body")}
    FROM (
        SELECT * FROM messages
        WHERE partition IN (SELECT value FROM json_each(?1)) AND message_id NOT IN (SELECT value FROM json_each(?2))
        ORDER BY message_id LIMIT ?3)
"""
_WITH_PENDING = """
    SELECT json_group_array(instance_id) FROM (
        SELECT instance_id FROM instances
        WHERE pending > 0 AND instance_id > ?2 AND partition IN (SELECT value FROM json_each(?1))
        ORDER BY instance_id LIMIT ?3)
"""
_DUE = """
    SELECT json_group_array(json_array(wake_at, instance_id)) FROM (
        SELECT wake_at, instance_id FROM instances
        WHERE wake_at IS NOT NULL AND (wake_at, instance_id) > (?2, ?3) AND partition IN (SELECT value FROM json_each(?1))
        ORDER BY wake_at, instance_id LIMIT ?4)
"""

_rows = msgspec.json.Decoder(list[tuple[int, InstanceRow]])
_places = msgspec.json.Decoder(list[tuple[int, int, int, int]])
_messages = msgspec.json.Decoder(list[tuple[str, str, int, int]])
_ids = msgspec.json.Decoder(list[str])
_due = msgspec.json.Decoder(list[tuple[int, str]])


def load(connection: sqlite3.Connection, instance_ids: Sequence[str]) -> dict[str, StoredInstance]:
    """See ``Store.load``."""
    (rows, _), (places, payload) = connection.execute(_LOAD, (_json(instance_ids),)).fetchall()
    found = _places.decode(places)
    segments: dict[int, list[Segment]] = {}
    for (iid, seq, at, _), piece in zip(found, cut(payload, (place[3] for place in found)), strict=True):
        segments.setdefault(iid, []).append(Segment(seq, at, piece))
    for history in segments.values():
        history.sort(key=lambda segment: segment.seq)
    return {row.instance_id: StoredInstance(row, segments.get(iid, [])) for iid, row in _rows.decode(rows)}


def inbox(connection: sqlite3.Connection, partitions: Sequence[int], known: Collection[str], limit: int) -> list[StoredMessage]:
    """See ``Store.inbox``."""
    rows, payload = connection.execute(_INBOX, (_json(partitions), _json(known), limit)).fetchone()
    found = _messages.decode(rows)
    bodies = cut(payload, (row[3] for row in found))
    return [StoredMessage(key, target, partition, body) for (key, target, partition, _), body in zip(found, bodies, strict=True)]


def with_pending(connection: sqlite3.Connection, partitions: Sequence[int], after: str, limit: int) -> list[str]:
    """See ``Store.with_pending``."""
    return _ids.decode(connection.execute(_WITH_PENDING, (_json(partitions), after, limit)).fetchone()[0])


def due(connection: sqlite3.Connection, partitions: Sequence[int], after: tuple[int, str], limit: int) -> list[tuple[int, str]]:
    """See ``Store.due``."""
    return _due.decode(connection.execute(_DUE, (_json(partitions), *after, limit)).fetchone()[0])


def _json(value: Collection[str] | Collection[int]) -> str:
    # Any collection will do for the contract, but not for the encoder.
    return msgspec.json.encode(list(value)).decode()
