"""The end of an activity's transaction: its completion is written in it, if the activity is still the engine's to run.

The last statement locks the partition until the transaction is committed, and whoever takes the partition over has to wait for
that. So both go to the server together: a process that is stopped in between must not stop the others.
"""

from base64 import b64encode

import msgspec

from perdure.store.contract import Fence, Lease, StoredMessage
from perdure.store.errors import StoreUnavailableError
from perdure.store.postgres.target import Target

PREPARE = "SELECT set_config('perdure.settling', $1, true)"
"""Hands ``values`` over to the statement behind it, which can have no parameters."""
REFUSED = "PD002"
"""The SQLSTATE of a fence that isn't current, or of a message whose id is taken: by an earlier run of the same activity."""
_ENDS = ("08", "57P")

_LEASE = "hub.partitions WHERE partition = (_values ->> 'partition')::integer AND epoch = (_values ->> 'epoch')::bigint"
# As everywhere, partitions are locked before messages, and these before activities.
_SETTLE = f"""
    DO $settle$
    DECLARE
        _values json := current_setting('perdure.settling')::json;
    BEGIN
        IF _values ->> 'claim' IS NULL THEN
            PERFORM 1 FROM {_LEASE} FOR KEY SHARE;
            IF NOT FOUND THEN RAISE 'stale epoch' USING ERRCODE = '{REFUSED}'; END IF;
        END IF;
        INSERT INTO hub.messages (message_id, instance_id, partition, body, stored_at)
        VALUES (
            _values ->> 'message_id', _values ->> 'instance_id', (_values ->> 'of')::integer,
            decode(_values ->> 'body', 'base64'), hub.now_us())
        ON CONFLICT (message_id) DO NOTHING;
        IF NOT FOUND THEN RAISE 'settled before' USING ERRCODE = '{REFUSED}'; END IF;
        IF _values ->> 'claim' IS NOT NULL THEN
            DELETE FROM hub.activities WHERE activity_id = _values ->> 'claim' AND token = (_values ->> 'token')::bigint;
            IF NOT FOUND THEN RAISE 'stale token' USING ERRCODE = '{REFUSED}'; END IF;
        END IF;
    END $settle$;
    COMMIT
"""


def values(message: StoredMessage, fence: Fence) -> str:
    """What ``PREPARE`` has to be given."""
    proof = (
        {"partition": fence.partition, "epoch": fence.epoch}
        if isinstance(fence, Lease)
        else {"claim": fence.activity_id, "token": fence.token}
    )
    columns = {"message_id": message.message_id, "instance_id": message.instance_id, "of": message.partition}
    return msgspec.json.encode(columns | proof | {"body": b64encode(message.body).decode()}).decode()


def settle_and_commit(target: Target) -> str:
    """Writes the message under the fence and commits, in one go."""
    return target.sql(_SETTLE)


def is_unknown(sqlstate: str | None, lost: bool) -> bool:
    """Whether an error leaves open what became of the commit: the server went away, perhaps before the driver noticed it."""
    return lost or (sqlstate is not None and sqlstate.startswith(_ENDS))


def unknown(target: Target, error: Exception) -> StoreUnavailableError:
    """Nobody knows whether the commit arrived."""
    return StoreUnavailableError(
        f"The connection to PostgreSQL at {target.place} was lost in the middle of an activity's commit: {str(error).strip()}"
    )
