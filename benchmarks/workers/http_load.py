"""Loads a host over raw sockets: ``python -m benchmarks.workers.http_load PLAN``, a JSON object. Prints what it saw as JSON.

Written for this one purpose, because it may use only the core that the host leaves free: a general HTTP client would be slower
than what it measures. It keeps its connections open, and reads answers with a Content-Length only.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from benchmarks.hosts import cpu_seconds_of
from benchmarks.hubs import loop_name, run_on

_POLL_AFTER = 0.05
"""Seconds from an answer to the next look at the instance: long enough for it to end, as Retry-After is in real life."""
_PATIENCE = 60
Work = Callable[[], Coroutine[Any, Any, None]]


@dataclass
class Plan:
    """What to do: ``clients`` connections go through ``count`` instances, each with the next one as soon as it is free."""

    scenario: str
    """``start``: start an instance and poll it to its end; ``event``: raise an event for instances that wait for it."""
    port: int
    pid: int
    """Of the host, to tell its CPU time."""
    count: int
    clients: int
    rate: float = 0
    """Begin so many per second instead, whether or not the host keeps up."""
    event_path: str = ""
    """With ``ID`` for the instance's id."""


@dataclass
class Seen:
    """Latencies in seconds, by what was asked."""

    latencies: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    seconds: float = 0
    host_cpu_seconds: float = 0

    def note(self, what: str, begun: float) -> None:
        self.latencies.setdefault(what, []).append(time.perf_counter() - begun)

    def summary(self) -> dict[str, dict[str, float]]:
        """Count and percentiles in milliseconds."""
        found: dict[str, dict[str, float]] = {}
        for what, taken in self.latencies.items():
            cuts = statistics.quantiles(taken, n=100, method="inclusive")
            found[what] = {"count": len(taken), "p50_ms": cuts[49] * 1e3, "p99_ms": cuts[98] * 1e3}
        return found


class Connection(asyncio.Protocol):
    """One connection, kept open; one request at a time."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    @classmethod
    async def open(cls, port: int) -> "Connection":
        _, made = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return made

    def connection_made(self, transport: Any) -> None:
        self._transport: Any = transport

    def close(self) -> None:
        self._transport.close()

    async def request(self, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of the answer."""
        head = (
            f"{method} {target} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(head.encode() + body)
        return await asyncio.wait_for(self._answer, _PATIENCE)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._answer is None:
            return
        head = self._received[:end].lower()
        at = head.find(b"content-length: ")
        length = 0 if at < 0 else int(head[at + 16 :].split(b"\r\n", 1)[0])
        if len(self._received) < end + 4 + length:
            return
        body, self._received = self._received[end + 4 : end + 4 + length], self._received[end + 4 + length :]
        self._answer.set_result((int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the host has closed the connection"))


class Load:
    """The clients of one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._seen = Seen()
        self._free: asyncio.Queue[Connection] = asyncio.Queue()

    async def run(self) -> Seen:
        """Everything; only what the scenario is about is on the clock."""
        connections = [await Connection.open(self._plan.port) for _ in range(self._plan.clients)]
        for connection in connections:
            self._free.put_nowait(connection)
        if self._plan.scenario == "start":
            await self._measure([self._start_and_poll] * self._plan.count)
        else:
            waiting: list[dict[str, str]] = []

            async def start() -> None:
                waiting.append(await self._start("one_event"))

            await self._flood([start] * self._plan.count)
            self._seen.latencies.clear()
            await self._measure([partial(self._raise_event, payload["id"]) for payload in waiting])
            # Every event has to arrive; whoever waits polls once more if need be.
            await self._flood([partial(self._poll, target_of(payload), quietly=True) for payload in waiting])
        for connection in connections:
            connection.close()
        return self._seen

    async def _measure(self, work: list[Work]) -> None:
        begun, cpu = time.perf_counter(), cpu_seconds_of(self._plan.pid)
        await (self._paced(work) if self._plan.rate else self._flood(work))
        self._seen.seconds, self._seen.host_cpu_seconds = time.perf_counter() - begun, cpu_seconds_of(self._plan.pid) - cpu

    async def _flood(self, work: list[Work]) -> None:
        left = iter(work)

        async def client() -> None:
            for one in left:
                await one()

        await asyncio.gather(*(client() for _ in range(self._plan.clients)))

    async def _paced(self, work: list[Work]) -> None:
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number, one in enumerate(work):
                await asyncio.sleep(max(0, begun + number / self._plan.rate - time.perf_counter()))
                group.create_task(one())

    async def _start_and_poll(self) -> None:
        begun = time.perf_counter()
        payload = await self._start("one_step")
        await self._poll(target_of(payload))
        self._seen.note("start to end", begun)

    async def _start(self, orchestrator: str) -> dict[str, str]:
        status, body = await self._ask("start", "POST", f"/api/start/{orchestrator}", b"7")
        if status != 202:
            raise RuntimeError(f"a start was answered with {status}: {body.decode()}")
        return json.loads(body)

    async def _poll(self, target: str, *, quietly: bool = False) -> None:
        while True:
            await asyncio.sleep(_POLL_AFTER)
            status, body = await self._ask("" if quietly else "poll", "GET", target)
            if status == 200:
                break
            if status != 202:
                raise RuntimeError(f"a poll was answered with {status}: {body.decode()}")
        if b'"runtimeStatus":"Completed"' not in body:
            raise RuntimeError(f"an instance ended badly: {body.decode()}")

    async def _raise_event(self, instance_id: str) -> None:
        status, body = await self._ask("event", "POST", self._plan.event_path.replace("ID", instance_id), b"7")
        if status != 202:
            raise RuntimeError(f"an event was answered with {status}: {body.decode()}")

    async def _ask(self, what: str, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
        begun = time.perf_counter()  # where all connections are busy it is the host who is slow, so waiting for one counts
        connection = await self._free.get()
        answer = await connection.request(method, target, body)
        self._free.put_nowait(connection)
        if what:
            self._seen.note(what, begun)
        return answer


def target_of(payload: dict[str, str]) -> str:
    """Path and query of the instance's status."""
    parts = urlsplit(payload["statusQueryGetUri"])
    return f"{parts.path}?{parts.query}"


def main() -> None:
    """Runs the plan on the command line."""
    seen = run_on(loop_name("uvloop"), Load(Plan(**json.loads(sys.argv[1]))).run())
    told = {
        "seconds": seen.seconds,
        "host_cpu_seconds": seen.host_cpu_seconds,
        "cpu_seconds": time.process_time(),
        "latencies": seen.summary(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
