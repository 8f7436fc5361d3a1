"""Who may do what with an entity, as a table: what becomes of a message, given whom the entity belongs to.

The table is printed into ``docs/reference/status.md`` and tested for every pair.
"""

from enum import StrEnum


class Holder(StrEnum):
    """Whom the entity belongs to, as the message sees it."""

    NOBODY = "nobody"
    SENDER = "its sender"
    """For a release: the critical section that it is about."""
    OTHER = "somebody else"


class Asks(StrEnum):
    """What the message wants."""

    OPERATION = "an operation"
    LOCK = "the lock"
    RELEASE = "its release"


class Fate(StrEnum):
    """What becomes of it."""

    RUNS = "runs"
    LOCKS = "locks the entity"
    UNLOCKS = "unlocks the entity"
    WAITS = "waits for the release"
    WITHDRAWS = "withdraws the section's waiting request, if there is one"


FATES: dict[tuple[Holder, Asks], Fate] = {
    (Holder.NOBODY, Asks.OPERATION): Fate.RUNS,
    (Holder.NOBODY, Asks.LOCK): Fate.LOCKS,
    (Holder.NOBODY, Asks.RELEASE): Fate.WITHDRAWS,
    # The holder's operations go before those that wait, also the ones it had sent before it asked for the lock.
    (Holder.SENDER, Asks.OPERATION): Fate.RUNS,
    (Holder.SENDER, Asks.LOCK): Fate.WAITS,
    (Holder.SENDER, Asks.RELEASE): Fate.UNLOCKS,
    (Holder.OTHER, Asks.OPERATION): Fate.WAITS,
    (Holder.OTHER, Asks.LOCK): Fate.WAITS,
    (Holder.OTHER, Asks.RELEASE): Fate.WITHDRAWS,
}
