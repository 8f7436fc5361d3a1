"""Loads a host over raw sockets: ``python -m benchmarks.workers.http_load PLAN``, a JSON object. Prints what it saw as JSON.

Written for this one purpose, because it may use only the core that the host leaves free: a general HTTP client would be slower
than what it measures. It keeps its connections open, and reads answers with a Content-Length only.
"""

import asyncio
import json
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from benchmarks.hubs import loop_name, run_on

_POLL_AFTER = 0.05
"""Seconds from an answer to the next look at the instance: long enough for it to end, as Retry-After is in real life."""
_PATIENCE = 60


@dataclass
class Plan:
    """What to do: ``clients`` connections go through ``count`` instances, each with the next one as soon as it is free."""

    scenario: str
    """``start``: start an instance and poll it to its end; ``event``: raise an event for instances that wait for it."""
    port: int
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

    def note(self, what: str, begun: float) -> None:
        self.latencies.setdefault(what, []).append(time.perf_counter() - begun)


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
        head = f"{method} {target} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
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
        self._free: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()

    async def run(self) -> Seen:
        """Everything; only what the scenario is about is on the clock."""
        connections = [await Connection.open(self._plan.port) for _ in range(self._plan.clients)]
        for connection in connections:
            self._free.put_nowait(connection)
        if self._plan.scenario == "start":
            work = [self._start_and_poll() for _ in range(self._plan.count)]
        else:
            waiting = await asyncio.gather(*(self._start("one_event") for _ in range(self._plan.count)))
            self._seen.latencies.clear()
            work = [self._raise_event(payload["id"]) for payload in waiting]
        begun = time.perf_counter()
        await self._paced(work, begun)
        self._seen.seconds = time.perf_counter() - begun
        if self._plan.scenario == "event":
            await asyncio.gather(*(self._poll(target_of(payload)) for payload in waiting))  # every event has to arrive
        for connection in connections:
            connection.close()
        return self._seen

    async def _paced(self, work: list[Coroutine[Any, Any, None]], begun: float) -> None:
        if not self._plan.rate:
            await asyncio.gather(*work)
            return
        async with asyncio.TaskGroup() as group:
            for number, one in enumerate(work):
                pause = begun + number / self._plan.rate - time.perf_counter()
                if pause > 0:
                    await asyncio.sleep(pause)
                group.create_task(one)

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

    async def _poll(self, target: str) -> None:
        while True:
            await asyncio.sleep(_POLL_AFTER)
            status, body = await self._ask("poll", "GET", target)
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
        # With a rate, time spent waiting for a connection is the host's fault, so it counts.
        begun = time.perf_counter()
        connection = await self._free.get()
        if not self._plan.rate:
            begun = time.perf_counter()
        answer = await connection.request(method, target, body)
        self._seen.note(what, begun)
        self._free.put_nowait(connection)
        return answer


def target_of(payload: dict[str, str]) -> str:
    """Path and query of the instance's status."""
    parts = urlsplit(payload["statusQueryGetUri"])
    return f"{parts.path}?{parts.query}"


def main() -> None:
    """Runs the plan on the command line."""
    seen = run_on(loop_name("uvloop"), Load(Plan(**json.loads(sys.argv[1]))).run())
    print(json.dumps({"seconds": seen.seconds, "latencies": seen.latencies, "cpu_seconds": time.process_time()}))


if __name__ == "__main__":
    main()
