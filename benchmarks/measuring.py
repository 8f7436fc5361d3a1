"""What a stretch of work costs: wall time, CPU of all threads, commits and bytes."""

import asyncio
import gc
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from perdure.core.effects import CommitReceipt
from perdure.observability import LoggingHooks
from perdure.store.contract import Commit, InstanceRow
from perdure.store.sqlite import SqliteStore


@dataclass
class Measurement:
    """One result of one run. ``*_per_unit`` are averages over ``units``; bytes are of three kinds because each hides something.

    ``payload_bytes``: segments and messages handed to the store. ``file_bytes``: growth of database + WAL (small where a
    WAL is reused). ``disk_bytes``: what the process made the kernel write (0 where the system doesn't tell).
    """

    unit: str
    units: int
    seconds: float
    cpu_seconds: float
    commits: int = 0
    payload_bytes: int = 0
    file_bytes: int = 0
    disk_bytes: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)
    """What distinguishes this result from others of the same case."""
    extra: dict[str, float] = field(default_factory=dict)
    """Further figures that only this workload has."""
    floor: "Measurement | None" = None
    """The same rows without an engine, measured right after."""

    def figures(self) -> dict[str, float]:
        """The numbers of a JSON line, of which medians are taken."""
        per = 1 / self.units
        return {
            "value": self.units / self.seconds,
            "us_per_unit": self.seconds * 1e6 * per,
            "cpu_us_per_unit": self.cpu_seconds * 1e6 * per,
            "commits_per_unit": self.commits * per,
            "payload_bytes_per_unit": self.payload_bytes * per,
            "file_bytes_per_unit": self.file_bytes * per,
            "disk_bytes_per_unit": self.disk_bytes * per,
            **self.extra,
        }

    def as_json(self) -> dict[str, Any]:
        """For the pipe from the process that measured."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Measurement":
        """At the other end of that pipe."""
        floor = values.pop("floor")
        return cls(**values, floor=cls.from_json(floor) if floor else None)


@dataclass(slots=True)
class CommitShape:
    """Which rows one commit wrote, so that the floor can write the same ones without an engine."""

    rows: list[InstanceRow]
    segments: list[tuple[str, int, int]]
    """``(instance_id, seq, length)``."""


class CountingStore(SqliteStore):
    """The SQLite store, counting what passes. Costs well under a microsecond per turn."""

    def __init__(self, database: Path, *, with_shapes: bool = True) -> None:
        super().__init__(database)
        self.database = database
        self.commits = 0
        self.payload_bytes = 0
        self._with_shapes = with_shapes
        self.shapes: list[CommitShape] = []

    async def commit(self, commit: Commit) -> CommitReceipt:
        """Counts, then commits."""
        self.commits += 1
        segments = [
            (turn.instance_id, turn.segment.seq, len(turn.segment.events)) for turn in commit.turns if turn.segment is not None
        ]
        self.payload_bytes += sum(length for _, _, length in segments) + sum(len(message.body) for message in commit.outbox)
        if self._with_shapes:
            self.shapes.append(CommitShape([turn.row for turn in commit.turns if turn.row is not None], segments))
        return await super().commit(commit)


class Endings(LoggingHooks):
    """Counts instances that ended, through the engine's hooks: no query, so the engine alone is measured."""

    def __init__(self) -> None:
        self.ended = 0
        self.failed: list[str] = []
        self._awaited = 0
        self._reached: asyncio.Future[None] | None = None

    def instance_ended(self, instance_id: str, name: str, status: str, error: str | None) -> None:
        """One more."""
        self.ended += 1
        if status != "Completed":
            self.failed.append(f"{name} {instance_id}: {status} {error}")
        if self._reached is not None and self.ended >= self._awaited and not self._reached.done():
            self._reached.set_result(None)

    async def reach(self, count: int) -> None:
        """Returns when that many have ended altogether.

        Raises:
            RuntimeError: one of them has failed; its figures would mean nothing.
        """
        if self.ended < count:
            self._awaited = count
            self._reached = asyncio.get_running_loop().create_future()
            await self._reached
            self._reached = None
        if self.failed:
            raise RuntimeError(f"{len(self.failed)} orchestrations failed, the first: {self.failed[0]}")


class Meter:
    """Measures from its construction until ``stop``."""

    def __init__(self, store: CountingStore) -> None:
        self._store = store
        self._commits = store.commits
        self._payload = store.payload_bytes
        self._shapes = len(store.shapes)
        self._files = file_bytes(store.database)
        self._disk = written_bytes()
        self._cpu = time.process_time()
        self._wall = time.perf_counter()

    def stop(self, unit: str, units: int, **parameters: Any) -> Measurement:
        """The costs of what happened in between, which was ``units`` times ``unit``."""
        seconds = time.perf_counter() - self._wall
        cpu_seconds = time.process_time() - self._cpu
        store = self._store
        return Measurement(
            unit=unit,
            units=units,
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            commits=store.commits - self._commits,
            payload_bytes=store.payload_bytes - self._payload,
            file_bytes=file_bytes(store.database) - self._files,
            disk_bytes=written_bytes() - self._disk,
            parameters=parameters,
        )

    @property
    def shapes(self) -> Sequence[CommitShape]:
        """The commits in between."""
        return self._store.shapes[self._shapes :]


def file_bytes(database: Path) -> int:
    """Size of the database and its write-ahead log."""
    files = (database, database.with_name(database.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def written_bytes(pid: int | str = "self") -> int:
    """Bytes a process has made the kernel write to a disk so far; 0 where the system doesn't tell."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), 0)


def settled_bytes() -> int:
    """Memory of this process that is in RAM, after a garbage collection."""
    gc.collect()
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
