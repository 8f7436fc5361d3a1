"""A commit as PostgreSQL takes it: folded by the caller, written by one function of the server in one round trip."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec.structs import astuple

from perdure.store.contract import Commit, Lease
from perdure.store.folding import FoldedTurns
from perdure.store.postgres.session import Session
from perdure.store.refusals import lease_lost

_PARAMETERS = 43
_COMMIT = f"SELECT hub.commit_1({', '.join(f'${number}' for number in range(1, _PARAMETERS + 1))}) AS lost"

# Columns of these values come in the order of their fields, which is that of the parameters.
_ROW_COLUMNS, _TAGS = 14, 9
_MESSAGE_COLUMNS = 4
_CLAIM_COLUMNS = 2
_OFFER_COLUMNS = 6


def encode(commit: Commit) -> list[Any]:
    """The arguments of the server's function: one sequence per column, ``None`` where there is nothing of a kind."""
    folded = FoldedTurns(commit.turns)
    rows = _columns(map(astuple, folded.rows.values()), _ROW_COLUMNS)
    if folded.rows:
        rows[_TAGS] = [msgspec.json.encode(tags).decode() if tags else "{}" for tags in rows[_TAGS]]
    changes = [(key, row.status, row.custom_status, row.pending, row.wake_at) for key, row in folded.changes.items()]
    segments = [(key, it.seq, it.at, it.events) for key, found in folded.segments.items() for it in found]
    return [
        *_columns([(lease.partition, lease.epoch) for lease in commit.leases], 2),
        list(folded.deleted) or None,
        list(folded.purged) or None,
        list(folded.reset) or None,
        *rows,
        *_columns(changes, 5),
        *_columns(segments, 4),
        *_columns(map(astuple, commit.outbox), _MESSAGE_COLUMNS),
        list(commit.consumed) or None,
        list(commit.withdrawn) or None,
        *_columns(map(astuple, commit.settled), _CLAIM_COLUMNS),
        commit.owner,
        *_columns(map(astuple, commit.offered), _OFFER_COLUMNS),
    ]


async def write(session: Session, leases: Sequence[Lease], arguments: list[Any]) -> None:
    """Writes an encoded commit.

    Raises:
        LeaseLostError: one of ``leases`` isn't current; nothing was written.
    """
    lost: list[int] | None = (await session.fetchrow(_COMMIT, *arguments))["lost"]
    if lost is not None:
        raise lease_lost([leases[place - 1] for place in lost])


def _columns(rows: Iterable[tuple[Any, ...]], number: int) -> list[Any]:
    return list(zip(*rows, strict=True)) or [None] * number
