"""The floor: the rows that an engine wrote, written again in the same transactions by a bare loop over ``sqlite3``.

Schema and pragmas are those of the store, since the store itself makes the file. Nothing else of Perdure runs.
"""

import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.measuring import CommitShape, CountingStore, Measurement, file_bytes, written_bytes
from perdure.store.sqlite.connection import connect_writer

_INSTANCE = """
    INSERT INTO instances (iid, instance_id, partition, execution_id, generation, name, version, status, created_at,
                           custom_status, tags, parent_id, pending, wake_at, first_seq)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '{}', ?, ?, ?, ?)
    ON CONFLICT (iid) DO UPDATE SET status = excluded.status, custom_status = excluded.custom_status, pending = excluded.pending,
                                    wake_at = excluded.wake_at, first_seq = excluded.first_seq
"""
_SEGMENT = "INSERT INTO history (iid, seq, at, events) VALUES (?, ?, ?, ?)"


async def floor(shapes: Iterable[CommitShape], directory: Path, unit: str, units: int) -> Measurement:
    """Writes the rows of these commits, one transaction per commit; ``units`` as in the run that they come from."""
    database = directory / "floor.db"
    empty = CountingStore(database)
    await empty.open()
    await empty.close()
    prepared, payload_bytes = _prepare(shapes)
    connection = connect_writer(database)
    files, disk = file_bytes(database), written_bytes()
    cpu, wall = time.process_time(), time.perf_counter()
    for rows, segments in prepared:
        connection.execute("BEGIN IMMEDIATE")
        if rows:
            connection.executemany(_INSTANCE, rows)
        if segments:
            connection.executemany(_SEGMENT, segments)
        connection.execute("COMMIT")
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    measurement = Measurement(
        unit=unit,
        units=units,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        commits=len(prepared),
        payload_bytes=payload_bytes,
        file_bytes=file_bytes(database) - files,
        disk_bytes=written_bytes() - disk,
    )
    connection.close()
    return measurement


def _prepare(shapes: Iterable[CommitShape]) -> tuple[list[tuple[list[tuple[object, ...]], list[tuple[object, ...]]]], int]:
    keys: dict[str, int] = {}
    payload_bytes = 0
    prepared: list[tuple[list[tuple[object, ...]], list[tuple[object, ...]]]] = []
    for shape in shapes:
        if not shape.rows and not shape.segments:
            continue
        rows: list[tuple[object, ...]] = [
            (
                keys.setdefault(row.instance_id, len(keys) + 1),
                row.instance_id,
                row.partition,
                row.execution_id,
                row.generation,
                row.name,
                row.version,
                row.status,
                row.created_at,
                row.custom_status,
                row.parent_id,
                row.pending,
                row.wake_at,
                row.first_seq,
            )
            for row in shape.rows
        ]
        segments: list[tuple[object, ...]] = [
            (keys.setdefault(instance_id, len(keys) + 1), seq, seq, bytes(length)) for instance_id, seq, length in shape.segments
        ]
        payload_bytes += sum(length for _, _, length in shape.segments)
        prepared.append((rows, segments))
    return prepared, payload_bytes
