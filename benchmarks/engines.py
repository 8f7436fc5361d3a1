"""Engine processes of a shared hub, and what one of them is told: see ``benchmarks.workers.sharing``."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.servers import Server
from benchmarks.sharing import Costs
from perdure.engine.settings import Role

_PATIENCE = 60.0
_PAUSE = 0.01


class EngineProcess:
    """One of them."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, *what: Any) -> Any:
        """Says something, and returns the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        return await self.answer()

    async def answer(self) -> Any:
        """What it says next.

        Raises:
            RuntimeError: it has ended instead.
        """
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"an engine process ended with {await self._process.wait()}")
        return json.loads(line)

    async def costs(self) -> Costs:
        """What it has used so far."""
        return Costs(**await self.ask("costs"))

    async def kill(self) -> None:
        """SIGKILL."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def end(self) -> None:
        """Lets it close its hub."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(_PATIENCE):
            await self._process.wait()


@asynccontextmanager
async def engine_processes(roles: Iterable[Role], url: str, log: Path | None = None) -> AsyncIterator[list[EngineProcess]]:
    """One for each role, with their hubs open. With a ``log`` they have the app that writes to it."""
    command = [sys.executable, "-m", "benchmarks.workers.sharing", url]
    engines: list[EngineProcess] = []
    try:
        for role in roles:
            arguments = [*command, role, *([str(log)] if log is not None else [])]
            engines.append(EngineProcess(await asyncio.create_subprocess_exec(*arguments, stdin=PIPE, stdout=PIPE)))
            await engines[-1].answer()
        yield engines
        await asyncio.gather(*(engine.end() for engine in engines))
    finally:
        await asyncio.gather(*(engine.kill() for engine in engines))


async def equal_shares(server: Server, schema: str, engines: list[EngineProcess]) -> None:
    """Returns when these engines own all partitions, each as many as the others."""
    partitions = await server.value(f"SELECT count(*) FROM {schema}.partitions")
    least = partitions // len(engines)
    for engine in engines:
        mine = f"SELECT least(count(*), {least}) FROM {schema}.partitions WHERE owner LIKE '%:{engine.pid}:%'"
        await reached(server, mine, least)


async def reached(server: Server, sql: str, value: int) -> None:
    """Returns when the server gives that number."""
    async with asyncio.timeout(_PATIENCE):
        while await server.value(sql) != value:  # noqa: ASYNC110 - the server can't call
            await asyncio.sleep(_PAUSE)
