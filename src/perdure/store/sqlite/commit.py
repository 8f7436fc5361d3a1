"""A commit as SQLite takes it: folded and encoded by the caller, written as one statement by the writer thread."""

import sqlite3
from collections.abc import Callable, Sequence
from importlib import resources
from typing import cast

import msgspec

from perdure.core.errors import EngineInvariantError
from perdure.store.contract import Commit, InstanceRow, Lease, Segment, StoredMessage, TurnRecord
from perdure.store.folding import FoldedTurns
from perdure.store.refusals import lease_lost, refuse_sharing
from perdure.store.sqlite.leases import stale_leases

_STALE = "stale epoch"
_APPLY = "INSERT INTO apply_commit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# Most commits are segments only; for them a plain INSERT saves half of the trigger's fixed cost.
_APPEND = """
    INSERT INTO history (iid, seq, at, events)
    SELECT
        (SELECT iid FROM instances WHERE instance_id = value ->> 0), value ->> 1, value ->> 2,
        coalesce(substr(?2, value ->> 3, value ->> 4), x'')
    FROM json_each(?1)
    WHERE NOT EXISTS (
        SELECT 1 FROM json_each(?3) AS lease
        WHERE (SELECT epoch FROM partitions WHERE partition = lease.value ->> 0) IS NOT lease.value ->> 1)
"""

Write = Callable[[sqlite3.Connection], None]


def prepare_connection(connection: sqlite3.Connection) -> None:
    """Lets ``connection`` run commits."""
    connection.executescript((resources.files("perdure.store.sqlite") / "apply_commit.sql").read_text(encoding="utf-8"))


def encode(commit: Commit) -> Write:
    """The commit as a function for the writer thread.

    All that needs Python's interpreter lock happens here, in the caller's thread, which has it anyway.

    Raises:
        EngineInvariantError: a text that SQLite's JSON would cut short, or something that only a shared hub has.
    """
    refuse_sharing(commit, "The SQLite store")
    leases = _json([(lease.partition, lease.epoch) for lease in commit.leases])
    payload = _Payload()
    if not commit.outbox and not commit.consumed and all(_appends_only(turn) for turn in commit.turns):
        segments = _json([payload.segment(turn.instance_id, turn.segment) for turn in commit.turns if turn.segment is not None])
        if commit.turns:
            return _append(commit.leases, (segments, payload.joined(), leases))
    folded = FoldedTurns(commit.turns)
    parameters = (
        leases,
        _json(list(folded.deleted)),
        _json(list(folded.purged)),
        _json(list(folded.reset)),
        _json([_columns(row) for row in folded.rows.values()]),
        _json([_changes(row) for row in folded.changes.values()]),
        _json([payload.segment(key, segment) for key, segments in folded.segments.items() for segment in segments]),
        _json([payload.message(message) for message in commit.outbox]),
        _json(list(commit.consumed)),
        payload.joined(),
    )
    return _apply(commit.leases, parameters)


def _append(leases: Sequence[Lease], parameters: tuple[str, bytes, str]) -> Write:
    def write(connection: sqlite3.Connection) -> None:
        if connection.execute(_APPEND, parameters).rowcount == 0:
            raise lease_lost(stale_leases(connection, leases))

    return write


def _apply(leases: Sequence[Lease], parameters: tuple[str | bytes, ...]) -> Write:
    def write(connection: sqlite3.Connection) -> None:
        try:
            connection.execute(_APPLY, parameters)
        except sqlite3.IntegrityError as error:
            if str(error) == _STALE:
                raise lease_lost(stale_leases(connection, leases)) from None
            raise

    return write


class _Payload:
    """Gathers byte strings into one, and says where each went."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._next = 1  # SQL counts from 1

    def segment(self, instance_id: str, segment: Segment) -> tuple[str, int, int, int, int]:
        return (instance_id, segment.seq, segment.at, *self._add(segment.events))

    def message(self, message: StoredMessage) -> tuple[str, str, int, int, int]:
        return (message.message_id, message.instance_id, message.partition, *self._add(message.body))

    def joined(self) -> bytes:
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def _add(self, part: bytes) -> tuple[int, int]:
        offset, length = self._next, len(part)
        self._parts.append(part)
        self._next += length
        return offset, length


def _appends_only(turn: TurnRecord) -> bool:
    return turn.segment is not None and turn.row is None and not turn.reset and not turn.delete and not turn.vacate


def _columns(row: InstanceRow) -> tuple[str | int | None, ...]:
    return (
        row.instance_id,
        row.partition,
        row.execution_id,
        row.generation,
        row.name,
        row.version,
        row.status,
        row.created_at,
        row.custom_status,
        _json(row.tags),
        row.parent_id,
        row.pending,
        row.wake_at,
        row.first_seq,
    )


def _changes(row: InstanceRow) -> tuple[str | int | None, ...]:
    return row.instance_id, row.status, row.custom_status, row.pending, row.wake_at


def _json(value: object) -> str:
    text = msgspec.json.encode(value)
    # Quick look first; the escape can also be the text of somebody's JSON, where it is harmless.
    if b"\\u0000" in text and _has_nul(msgspec.json.decode(text)):
        raise EngineInvariantError("A commit was refused: an id, name or status contains a NUL character. Nothing was written.")
    return text.decode()


def _has_nul(value: object) -> bool:
    if isinstance(value, list):
        return any(_has_nul(item) for item in cast("list[object]", value))
    return isinstance(value, str) and "\0" in value
