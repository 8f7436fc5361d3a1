"""What is stored of an entity: one value, and behind it what has come to wait since, so that a long backlog isn't written again.

Only the first segment says what state and lock are; only the last one, how much waits.
"""

from collections.abc import Iterable

import msgspec

from perdure.core.codec import decode_segment
from perdure.core.errors import EngineInvariantError
from perdure.core.events import EntityAction, EntityBacklogExtended, EntityLock, EntityStateSaved


def fold_entity(instance_id: str, segments: Iterable[bytes]) -> EntityStateSaved:
    """The value that an entity's segments add up to; the empty one where there are none.

    Raises:
        EngineInvariantError: they aren't an entity's, or one is missing.
    """
    saved = EntityStateSaved()
    arrived: list[EntityAction] = []
    for data in segments:
        (event,) = decode_segment(data)
        if isinstance(event, EntityStateSaved):
            saved, arrived = event, []
        elif isinstance(event, EntityBacklogExtended) and event.before == len(saved.waiting) + len(arrived):
            arrived += event.waiting
        else:
            problem = f"a {type(event).__name__} that doesn't follow from what is before it"
            raise EngineInvariantError(f"entity '{instance_id}' has {problem}")
    return msgspec.structs.replace(saved, waiting=(*saved.waiting, *arrived)) if arrived else saved


def extension(before: EntityStateSaved, after: EntityStateSaved) -> EntityBacklogExtended | None:
    """What to store behind ``before`` to get ``after``; ``None`` where it has to be replaced."""
    count = len(before.waiting)
    if len(after.waiting) > count and after == msgspec.structs.replace(before, waiting=(*before.waiting, *after.waiting[count:])):
        return EntityBacklogExtended(count, after.waiting[count:])
    return None


class EntitySummary(msgspec.Struct, frozen=True):
    """What clients see of an entity."""

    state: str | None = None
    """JSON text; ``None``: it doesn't exist."""
    lock: EntityLock | None = None
    backlog: int = 0
    """How much waits."""


def summary(instance_id: str, first: bytes, last: bytes) -> EntitySummary:
    """What the ends of an entity's segments say."""
    saved = fold_entity(instance_id, (first,))
    (event,) = decode_segment(last)
    backlog = event.before + len(event.waiting) if isinstance(event, EntityBacklogExtended) else len(saved.waiting)
    return EntitySummary(saved.state, saved.lock, backlog)
