"""What the engine reads: hydration and recovery."""

from collections.abc import Collection, Sequence

from perdure.store.contract import Segment, StoredInstance, StoredMessage
from perdure.store.postgres.rows import INSTANCE_COLUMNS, INSTANCE_WIDTH, instance_row, is_text
from perdure.store.postgres.session import Session
from perdure.store.statuses import TERMINAL_STATUSES

_TERMINAL = ", ".join(f"'{status}'" for status in sorted(TERMINAL_STATUSES))
# One statement, so that rows and histories are of the same moment.
_LOAD = f"""
    SELECT {INSTANCE_COLUMNS}, past.seqs, past.ats, past.events
    FROM hub.instances AS i LEFT JOIN LATERAL (
        SELECT array_agg(h.seq) AS seqs, array_agg(h.at) AS ats, array_agg(h.events) AS events
        FROM (SELECT * FROM hub.history WHERE iid = i.iid AND seq >= i.first_seq ORDER BY seq) AS h
    ) AS past ON i.status NOT IN ({_TERMINAL})
    WHERE i.instance_id = ANY ($1::text[])
"""
_INBOX = """
    SELECT message_id, instance_id, partition, body FROM hub.messages
    WHERE partition = ANY ($1::integer[]) AND message_id NOT IN (SELECT unnest($2::text[]))
    ORDER BY message_id LIMIT $3
"""
_WITH_PENDING = """
    SELECT instance_id FROM hub.instances
    WHERE pending > 0 AND instance_id > $2 AND partition = ANY ($1::integer[]) ORDER BY instance_id LIMIT $3
"""
_DUE = """
    SELECT wake_at, instance_id FROM hub.instances
    WHERE wake_at IS NOT NULL AND (wake_at, instance_id) > ($2::bigint, $3::text) AND partition = ANY ($1::integer[])
    ORDER BY wake_at, instance_id LIMIT $4
"""


async def load(session: Session, instance_ids: Sequence[str]) -> dict[str, StoredInstance]:
    """See ``Store.load``."""
    loaded: dict[str, StoredInstance] = {}
    for row in await session.fetch(_LOAD, [key for key in instance_ids if is_text(key)]):
        seqs, ats, events = row[INSTANCE_WIDTH:]
        segments = [] if seqs is None else [Segment(*segment) for segment in zip(seqs, ats, events, strict=True)]
        loaded[row[0]] = StoredInstance(instance_row(row), segments)
    return loaded


async def inbox(session: Session, partitions: Sequence[int], known: Collection[str], limit: int) -> list[StoredMessage]:
    """See ``Store.inbox``."""
    return [StoredMessage(*row) for row in await session.fetch(_INBOX, list(partitions), list(known), limit)]


async def with_pending(session: Session, partitions: Sequence[int], after: str, limit: int) -> list[str]:
    """See ``Store.with_pending``."""
    return [row[0] for row in await session.fetch(_WITH_PENDING, list(partitions), after, limit)]


async def due(session: Session, partitions: Sequence[int], after: tuple[int, str], limit: int) -> list[tuple[int, str]]:
    """See ``Store.due``."""
    return [(wake_at, key) for wake_at, key in await session.fetch(_DUE, list(partitions), *after, limit)]


async def offered(session: Session, partitions: Sequence[int]) -> frozenset[str]:
    """See ``Sharing.offered``."""
    sql = "SELECT activity_id FROM hub.activities WHERE partition = ANY ($1::integer[])"
    return frozenset(row[0] for row in await session.fetch(sql, list(partitions)))


async def still_stored(session: Session, message_ids: Sequence[str]) -> frozenset[str]:
    """See ``Sharing.still_stored``."""
    sql = "SELECT message_id FROM hub.messages WHERE message_id = ANY ($1::text[])"
    return frozenset(row[0] for row in await session.fetch(sql, list(message_ids)))
