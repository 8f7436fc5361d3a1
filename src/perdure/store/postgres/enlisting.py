"""A start that is written on a user's connection, whichever driver it is of."""

from typing import Any

from perdure.store.contract import StoredMessage
from perdure.store.errors import UnusableConnectionError
from perdure.store.postgres.target import Target

# Without it, the statement below would fail where there is no such hub, and take the user's transaction along.
KNOWN = "SELECT to_regclass($1::text) IS NOT NULL"
# When a hub was made is what tells it from another one whose schema has the same name.
_ENLIST = """
    WITH written AS (
        INSERT INTO hub.messages (message_id, instance_id, partition, body, stored_at)
        SELECT $1::text, $2::text, $3::integer, $4::bytea, hub.now_us()
        WHERE EXISTS (SELECT 1 FROM hub.meta WHERE key = 'created_at' AND value = $5::bigint)
        RETURNING 1)
    SELECT pg_notify($6::text, $7::text) FROM written
"""


class Enlistment:
    """One message on its way to a user's transaction."""

    def __init__(self, target: Target, made_at: int, message: StoredMessage, nudge: str) -> None:
        columns = (message.message_id, message.instance_id, message.partition, message.body)
        self._target = target
        self.hub = f'"{target.schema}".meta'
        """What ``KNOWN`` has to ask for."""
        self.sql = target.sql(_ENLIST)
        """Gives a row if it has written the message."""
        self.arguments: tuple[Any, ...] = (*columns, made_at, target.channel, nudge)

    def elsewhere(self) -> UnusableConnectionError:
        """The hub isn't where the connection leads."""
        return UnusableConnectionError(
            f"the connection leads to a database without this hub, which is in PostgreSQL at {self._target.place}. One "
            "transaction can't be in two databases: connect to the hub's, and have your tables there."
        )


def no_transaction() -> UnusableConnectionError:
    """The connection commits each statement by itself."""
    return UnusableConnectionError(
        "no transaction is open on the connection, so there is nothing that the start could be part of: begin one "
        "('with connection.transaction()'), or start without a connection."
    )
