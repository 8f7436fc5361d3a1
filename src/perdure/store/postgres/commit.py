"""A commit as PostgreSQL takes it: folded by the caller, written by one function of the server in one round trip."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from perdure.store.contract import Commit, InstanceRow, Lease, StoredMessage
from perdure.store.folding import FoldedTurns
from perdure.store.postgres.session import Session
from perdure.store.refusals import lease_lost

T = TypeVar("T")
_PARAMETERS = 43
_COMMIT = f"SELECT hub.commit_1({', '.join(f'${number}' for number in range(1, _PARAMETERS + 1))}) AS lost"

_ROW: tuple[Callable[[InstanceRow], object], ...] = (
    lambda row: row.instance_id,
    lambda row: row.partition,
    lambda row: row.execution_id,
    lambda row: row.generation,
    lambda row: row.name,
    lambda row: row.version,
    lambda row: row.status,
    lambda row: row.created_at,
    lambda row: row.custom_status,
    lambda row: msgspec.json.encode(row.tags).decode() if row.tags else "{}",
    lambda row: row.parent_id,
    lambda row: row.pending,
    lambda row: row.wake_at,
    lambda row: row.first_seq,
)
_CHANGE: tuple[Callable[[InstanceRow], object], ...] = (
    lambda row: row.instance_id,
    lambda row: row.status,
    lambda row: row.custom_status,
    lambda row: row.pending,
    lambda row: row.wake_at,
)
_MESSAGE: tuple[Callable[[StoredMessage], object], ...] = (
    lambda message: message.message_id,
    lambda message: message.instance_id,
    lambda message: message.partition,
    lambda message: message.body,
)


def encode(commit: Commit) -> list[Any]:
    """The arguments of the server's function: one list per column, ``None`` where there is nothing of a kind."""
    folded = FoldedTurns(commit.turns)
    segments = [(key, segment) for key, found in folded.segments.items() for segment in found]
    return [
        *_columns(commit.leases, (lambda lease: lease.partition, lambda lease: lease.epoch)),
        list(folded.deleted) or None,
        list(folded.purged) or None,
        list(folded.reset) or None,
        *_columns(folded.rows.values(), _ROW),
        *_columns(folded.changes.values(), _CHANGE),
        *_columns(segments, (lambda it: it[0], lambda it: it[1].seq, lambda it: it[1].at, lambda it: it[1].events)),
        *_columns(commit.outbox, _MESSAGE),
        list(commit.consumed) or None,
        list(commit.withdrawn) or None,
        *_columns(commit.settled, (lambda claim: claim.activity_id, lambda claim: claim.token)),
        commit.owner,
        *_columns(
            commit.offered,
            (
                lambda offer: offer.activity_id,
                lambda offer: offer.instance_id,
                lambda offer: offer.partition,
                lambda offer: offer.name,
                lambda offer: offer.body,
                lambda offer: offer.claimed_for,
            ),
        ),
    ]


async def write(session: Session, leases: Sequence[Lease], arguments: list[Any]) -> None:
    """Writes an encoded commit.

    Raises:
        LeaseLostError: one of ``leases`` isn't current; nothing was written.
    """
    lost: list[int] | None = (await session.fetchrow(_COMMIT, *arguments))["lost"]
    if lost is not None:
        raise lease_lost([leases[place - 1] for place in lost])


def _columns(items: Iterable[T], columns: Sequence[Callable[[T], object]]) -> list[list[object] | None]:
    rows = list(items)
    return [[column(row) for row in rows] for column in columns] if rows else [None] * len(columns)
