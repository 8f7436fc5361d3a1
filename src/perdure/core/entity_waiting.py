"""What waits at an entity: whose it is, and whether it is a lock that keeps it back."""

from collections.abc import Iterable

from perdure.core.events import (
    EntityAction,
    EntityLock,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationSignaled,
    EntityUnlockSent,
)

Operation = EntityOperationSignaled | EntityOperationCalled


def sender_of(event: Operation | EntityLockRequested) -> str | None:
    """The orchestration or entity that sent it; ``None`` for a client."""
    if isinstance(event, EntityOperationSignaled):
        return event.sender
    return event.parent.instance_id if event.parent is not None else None


def waits_for_code(lock: EntityLock | None, waiting: Iterable[EntityAction]) -> bool:
    """Whether there is something to do that only needs the entity's function."""
    return any(lock is None or (isinstance(event, Operation) and sender_of(event) == lock.owner) for event in waiting)


def asks_for(event: EntityAction, section: str) -> bool:
    """Whether it wants the lock for a critical section."""
    return isinstance(event, EntityLockRequested) and event.critical_section_id == section


def releases(event: EntityAction, section: str) -> bool:
    """Whether it ends a critical section."""
    return isinstance(event, EntityUnlockSent) and event.critical_section_id == section
