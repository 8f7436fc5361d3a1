"""A PostgreSQL server for one measurement, as durable as one is by default, and what it has used so far."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import asyncpg

from benchmarks.measuring import written_bytes
from tests.postgres import Cluster, running_cluster

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0
_DURABLE = {"fsync": "on", "full_page_writes": "on"}
_USED = """
    SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS wal_bytes, pg_database_size(current_database()) AS database_bytes,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS transactions
"""


@dataclass(frozen=True, slots=True)
class Used:
    """Of the whole server: backends, the writers behind them, the vacuum."""

    cpu_seconds: float
    disk_bytes: int
    wal_bytes: int
    database_bytes: int
    transactions: int
    """Those that wrote something."""

    def __sub__(self, earlier: Self) -> "Used":
        """What was used in between."""
        return Used(*(getattr(self, field.name) - getattr(earlier, field.name) for field in fields(self)))

    def per(self, units: int) -> dict[str, float]:
        """As further figures of a result whose units they were used for."""
        return {
            "server_cpu_us_per_unit": self.cpu_seconds * 1e6 / units,
            "wal_bytes_per_unit": self.wal_bytes / units,
            "write_transactions_per_unit": self.transactions / units,
        }


class Server:
    """A running server, with a connection that looks at it."""

    def __init__(self, cluster: Cluster, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._cluster = cluster
        self._connection = connection

    @property
    def version(self) -> str:
        """Such as ``15.4``."""
        found = self._connection.get_server_version()
        return f"{found.major}.{found.micro}"

    def url(self, schema: str) -> str:
        """Of the hub of that name."""
        return f"{self._cluster.url}?schema={schema}"

    async def value(self, sql: str, *arguments: Any) -> Any:
        """The first column of the first row."""
        return await self._connection.fetchval(sql, *arguments)

    async def used(self) -> Used:
        """What it has used since it was started."""
        row = await self._connection.fetchrow(_USED)
        assert row is not None
        pids = list(_family(self._cluster.pid))
        cpu_seconds = sum(_cpu_seconds(pid) for pid in pids) + _cpu_seconds_of_the_gone(self._cluster.pid)
        return Used(
            cpu_seconds=cpu_seconds,
            disk_bytes=sum(written_bytes(pid) for pid in pids),
            wal_bytes=int(row["wal_bytes"]),
            database_bytes=row["database_bytes"],
            transactions=row["transactions"],
        )


@asynccontextmanager
async def server(directory: Path, *, vacuum: bool = True) -> AsyncIterator[Server]:
    """A new server with its files under ``directory``. Without ``vacuum`` only those who ask it something make transactions."""
    with running_cluster(_DURABLE | {"autovacuum": "on" if vacuum else "off"}, directory) as cluster:
        connection = await asyncpg.connect(cluster.url)
        try:
            yield Server(cluster, connection)
        finally:
            await connection.close()


def _family(pid: int) -> Iterator[int]:
    """A process and its children; none where the system doesn't tell."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        fields_of = _stat(int(stat.parent.name))
        if fields_of and (int(stat.parent.name) == pid or int(fields_of[1]) == pid):
            yield int(stat.parent.name)


def _cpu_seconds(pid: int) -> float:
    """Of a process with one thread, to the nanosecond: a tick of the other clock is as much as a hundred commits take."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9
    except OSError:
        found = _stat(pid)
        return (int(found[11]) + int(found[12])) / _TICKS if found else 0.0


def _cpu_seconds_of_the_gone(pid: int) -> float:
    """Of the children of a process that have ended."""
    found = _stat(pid)
    return (int(found[13]) + int(found[14])) / _TICKS if found else 0.0


def _stat(pid: int) -> list[str]:
    """From the process's state on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return []
