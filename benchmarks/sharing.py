"""A hub on PostgreSQL that counts: what one engine sends, asks and uses."""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import perdure as df
from benchmarks.hubs import run_all
from benchmarks.measuring import Endings, Measurement
from benchmarks.servers import Used
from perdure.core.effects import CommitReceipt
from perdure.engine.settings import Role
from perdure.store.contract import Commit
from perdure.store.postgres import PostgresStore
from perdure.store.postgres.session import Session

_TCP_INFO = getattr(socket, "TCP_INFO", None)
_ACKNOWLEDGED_AND_RECEIVED = struct.Struct("=120x2Q")
"""Where Linux has the two counters in its ``tcp_info``."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Of one engine, or of several together."""

    cpu_seconds: float
    commits: int = 0
    payload_bytes: int = 0
    rows: int = 0
    """Of all tables: written, changed, deleted."""
    round_trips: int = 0
    """Of all kinds: commits, reads, renewals, notifications."""
    sent_bytes: int = 0
    received_bytes: int = 0

    def __sub__(self, earlier: Self) -> "Costs":
        """What was added since."""
        return Costs(*(getattr(self, field.name) - getattr(earlier, field.name) for field in fields(self)))

    @classmethod
    def total(cls, several: "Iterable[Costs]") -> "Costs":
        """Of all together."""
        told = [asdict(costs) for costs in several]
        return cls(**{field.name: sum(costs[field.name] for costs in told) for field in fields(cls)})

    def measurement(self, unit: str, units: int, seconds: float, used: Used, **parameters: Any) -> Measurement:
        """A result, together with what the server has used meanwhile."""
        extra = {
            "rows_per_unit": self.rows / units,
            "round_trips_per_unit": self.round_trips / units,
            "sent_bytes_per_unit": self.sent_bytes / units,
            "received_bytes_per_unit": self.received_bytes / units,
            **used.per(units),
        }
        return Measurement(
            unit=unit,
            units=units,
            seconds=seconds,
            cpu_seconds=self.cpu_seconds,
            commits=self.commits,
            payload_bytes=self.payload_bytes,
            file_bytes=used.database_bytes,
            disk_bytes=used.disk_bytes,
            parameters=parameters,
            extra=extra,
        )


class CountingPostgresStore(PostgresStore):
    """The PostgreSQL store, counting what passes. Costs well under a microsecond per turn."""

    commits = 0
    payload_bytes = 0
    rows = 0

    async def commit(self, commit: Commit) -> CommitReceipt:
        """Counts, then commits."""
        self.commits += 1
        segments = [len(turn.segment.events) for turn in commit.turns if turn.segment is not None]
        self.payload_bytes += sum(segments) + sum(len(message.body) for message in commit.outbox)
        # Of the rows of an instance only the last one of a commit is written.
        self.rows += len(segments) + len({turn.instance_id for turn in commit.turns if turn.row is not None})
        self.rows += sum(map(len, (commit.outbox, commit.consumed, commit.offered, commit.settled)))
        return await super().commit(commit)


class SharingBench:
    """An open hub with everything a workload needs."""

    def __init__(self, hub: df.TaskHub, store: CountingPostgresStore, endings: Endings, wire: "Wire") -> None:
        self.hub = hub
        self._store = store
        self._endings = endings
        self._wire = wire

    @property
    def costs(self) -> Costs:
        """Of this process so far."""
        store, wire = self._store, self._wire
        return Costs(
            time.process_time(), store.commits, store.payload_bytes, store.rows, wire.round_trips, *wire.sent_and_received
        )

    async def run_all(self, orchestrator: str, instances: int, input_: Any) -> None:
        """Starts that many, and returns when all of them have completed."""
        await run_all(self.hub, self._endings, orchestrator, instances, input_)


@asynccontextmanager
async def sharing_bench(app: df.DFApp, url: str, role: Role = "all") -> AsyncIterator[SharingBench]:
    """Opens a hub on ``url``."""
    store, endings = CountingPostgresStore(url), Endings()
    with tapped() as wire:
        async with df.TaskHub(app, store, hooks=endings, settings=df.EngineSettings(role=role)) as hub:
            yield SharingBench(hub, store, endings, wire)


class Wire:
    """What went over the connections of this process."""

    def __init__(self) -> None:
        self.round_trips = 0
        self.connections: dict[Any, None] = {}

    @property
    def sent_and_received(self) -> tuple[int, int]:
        """Bytes on all connections; 0 where the system doesn't tell."""
        told = [_sent_and_received(connection) for connection in self.connections if not connection.is_closed()]
        return sum(sent for sent, _ in told), sum(received for _, received in told)


@contextmanager
def tapped() -> Iterator[Wire]:
    """Counts what is asked of connections. Each call is one round trip, but for the first one of each statement."""
    wire, use = Wire(), Session.use

    async def counted(session: Session, work: Callable[[Any], Awaitable[Any]], *, patiently: bool = False) -> Any:
        def note(connection: Any) -> Awaitable[Any]:
            wire.round_trips += 1
            wire.connections[connection] = None
            return work(connection)

        return await use(session, note, patiently=patiently)

    Session.use = counted  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield wire
    finally:
        Session.use = use


def _sent_and_received(connection: Any) -> tuple[int, int]:
    if _TCP_INFO is None:
        return 0, 0
    transport: asyncio.Transport = connection._transport  # noqa: SLF001 - it has no public name
    told = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _ACKNOWLEDGED_AND_RECEIVED.size)
    return _ACKNOWLEDGED_AND_RECEIVED.unpack(told) if len(told) == _ACKNOWLEDGED_AND_RECEIVED.size else (0, 0)
