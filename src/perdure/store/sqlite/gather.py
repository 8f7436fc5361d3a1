"""Result sets in one piece.

Python gives up its interpreter lock for every row that SQLite returns, and may wait 5 ms to get it back while the event
loop is busy. So SQLite gathers: rows into one JSON text, payloads into one blob, and a read costs one step.
"""

from collections.abc import Iterable, Iterator

INSTANCE_JSON = """json_object(
    'instance_id', i.instance_id, 'partition', i.partition, 'execution_id', i.execution_id, 'generation', i.generation,
    'name', i.name, 'version', i.version, 'status', i.status, 'created_at', i.created_at, 'custom_status', i.custom_status,
    'tags', json(i.tags), 'parent_id', i.parent_id, 'pending', i.pending, 'wake_at', i.wake_at, 'first_seq', i.first_seq)"""
"""One instance (alias ``i``) in the shape that ``InstanceRow`` is decoded from."""


def gathered_blobs(expression: str) -> str:
    """SQL that joins blobs in row order. There is no aggregate for blobs; as text they are joined byte by byte."""
    return f"CAST(group_concat(CAST({expression} AS TEXT), '') AS BLOB)"


def cut(payload: bytes | None, lengths: Iterable[int]) -> Iterator[bytes]:
    """The blobs that ``gathered_blobs`` joined."""
    start = 0
    for length in lengths:
        yield b"" if payload is None else payload[start : start + length]
        start += length
