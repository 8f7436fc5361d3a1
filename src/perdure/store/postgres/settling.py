"""The end of an activity's transaction: its completion is written in it, if the activity is still the engine's to run."""

from typing import Any

from perdure.store.contract import Fence, Lease, StoredMessage
from perdure.store.errors import StoreUnavailableError
from perdure.store.postgres.target import Target

# Each gives a row if it has done everything. A message of the same id is the outcome of an earlier run of the same activity.
# The lock makes whoever takes the partition over wait, who then reads what was written.
_BY_LEASE = """
    WITH fence AS (SELECT 1 FROM hub.partitions WHERE partition = $5::integer AND epoch = $6::bigint FOR KEY SHARE),
    written AS (
        INSERT INTO hub.messages (message_id, instance_id, partition, body, stored_at)
        SELECT $1::text, $2::text, $3::integer, $4::bytea, hub.now_us() FROM fence
        ON CONFLICT (message_id) DO NOTHING RETURNING 1)
    SELECT 1 FROM written
"""
# Messages before activities: the order of locks of the whole schema.
_BY_CLAIM = """
    WITH written AS (
        INSERT INTO hub.messages (message_id, instance_id, partition, body, stored_at)
        VALUES ($1::text, $2::text, $3::integer, $4::bytea, hub.now_us())
        ON CONFLICT (message_id) DO NOTHING RETURNING 1),
    settled AS (
        DELETE FROM hub.activities WHERE activity_id = $5::text AND token = $6::bigint AND EXISTS (SELECT 1 FROM written)
        RETURNING 1)
    SELECT 1 FROM settled
"""


def statement(message: StoredMessage, fence: Fence, target: Target) -> tuple[str, tuple[Any, ...]]:
    """The SQL that writes ``message`` under ``fence``, for drivers that count parameters; and these."""
    columns = (message.message_id, message.instance_id, message.partition, message.body)
    if isinstance(fence, Lease):
        return target.sql(_BY_LEASE), (*columns, fence.partition, fence.epoch)
    return target.sql(_BY_CLAIM), (*columns, fence.activity_id, fence.token)


def unknown(target: Target, error: Exception) -> StoreUnavailableError:
    """Nobody knows whether the commit arrived."""
    return StoreUnavailableError(
        f"The connection to PostgreSQL at {target.place} was lost in the middle of an activity's commit: {str(error).strip()}"
    )
