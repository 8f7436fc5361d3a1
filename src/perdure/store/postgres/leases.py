"""Ownership of partitions: rows with epochs."""

from collections.abc import Sequence

from perdure.store.contract import Lease
from perdure.store.postgres.session import Session

_ACQUIRE = "SELECT partition, epoch, expires_at FROM hub.acquire_1($1, $2, $3) ORDER BY partition"
# Rows are locked in order first: an update alone takes them in the order in which it finds them.
_RELEASE = """
    WITH mine AS (
        SELECT p.partition FROM unnest($1::integer[], $2::bigint[]) AS lease (partition, epoch)
        JOIN hub.partitions AS p ON p.partition = lease.partition AND p.epoch = lease.epoch
        ORDER BY p.partition FOR UPDATE OF p)
    UPDATE hub.partitions AS p SET epoch = p.epoch + 1, owner = '', expires_at = 0 FROM mine WHERE p.partition = mine.partition
"""


async def acquire(session: Session, owner: str, partitions: Sequence[int], duration: int) -> list[Lease]:
    """See ``Store.acquire``."""
    found = await session.fetch(_ACQUIRE, owner, list(partitions), duration)
    return [Lease(partition, epoch, owner, expires_at) for partition, epoch, expires_at in found]


async def release(session: Session, leases: Sequence[Lease]) -> None:
    """See ``Store.release``."""
    await session.fetch(_RELEASE, [lease.partition for lease in leases], [lease.epoch for lease in leases])
