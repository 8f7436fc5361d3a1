"""From rows of the server to values of the contract."""

import asyncpg
import msgspec

from perdure.store.contract import InstanceRow

INSTANCE_COLUMNS = """
    i.instance_id, i.partition, i.execution_id, i.generation, i.name, i.version, i.status, i.created_at, i.custom_status, i.tags,
    i.parent_id, i.pending, i.wake_at, i.first_seq"""
"""One instance (alias ``i``), first in a row that ``instance_row`` reads."""
INSTANCE_WIDTH = 14

_tags = msgspec.json.Decoder(dict[str, str])


def instance_row(row: asyncpg.Record) -> InstanceRow:
    """The instance whose columns come first in ``row``."""
    return InstanceRow(
        instance_id=row[0],
        partition=row[1],
        execution_id=row[2],
        generation=row[3],
        name=row[4],
        version=row[5],
        status=row[6],
        created_at=row[7],
        custom_status=row[8],
        tags={} if row[9] == "{}" else _tags.decode(row[9]),
        parent_id=row[10],
        pending=row[11],
        wake_at=row[12],
        first_seq=row[13],
    )


def is_text(value: str) -> bool:
    """Whether PostgreSQL can hold ``value``. What it can't hold isn't there, whoever asks for it."""
    return "\0" not in value and (value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value))
