"""Ownership of partitions: rows with epochs, changed by the writer thread in order with the commits."""

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from perdure.store.contract import Lease


def acquire(connection: sqlite3.Connection, owner: str, partitions: Sequence[int], expires_at: int, now: int) -> list[Lease]:
    """Takes what is free, expired or the owner's own, each under a new epoch."""
    taken: list[Lease] = []
    with _transaction(connection):
        for partition in sorted(set(partitions)):
            found = connection.execute(
                "UPDATE partitions SET epoch = epoch + 1, owner = ?2, expires_at = ?3 "
                "WHERE partition = ?1 AND (owner IN ('', ?2) OR expires_at <= ?4) RETURNING epoch",
                (partition, owner, expires_at, now),
            ).fetchall()
            taken += [Lease(partition, epoch, owner, expires_at) for (epoch,) in found]
    return taken


def release(connection: sqlite3.Connection, leases: Sequence[Lease]) -> None:
    """Frees those that are still current, under a new epoch, so that the released one is refused from now on."""
    with _transaction(connection):
        connection.executemany(
            "UPDATE partitions SET epoch = epoch + 1, owner = '', expires_at = 0 WHERE partition = ? AND epoch = ?",
            [(lease.partition, lease.epoch) for lease in leases],
        )


def free_all(connection: sqlite3.Connection) -> None:
    """Ends every lease. Only for the owner of the file lock, which proves that whoever held them is gone."""
    with _transaction(connection):
        connection.execute("UPDATE partitions SET owner = '', expires_at = 0 WHERE owner != ''")


def stale_leases(connection: sqlite3.Connection, leases: Sequence[Lease]) -> list[Lease]:
    """Those of ``leases`` whose epoch isn't the partition's."""
    current = dict(connection.execute("SELECT partition, epoch FROM partitions"))
    return [lease for lease in leases if current.get(lease.partition) != lease.epoch]


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
