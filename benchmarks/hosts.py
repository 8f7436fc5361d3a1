"""``perdure start`` in a process of its own."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0


@dataclass(frozen=True)
class Host:
    """A running host."""

    pid: int
    port: int
    key: str


def cpu_seconds_of(pid: int) -> float:
    """User and system time of all threads of a process so far; 0 where the system doesn't tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


@asynccontextmanager
async def host_of(app: Path, directory: Path) -> AsyncIterator[Host]:
    """The host, from the moment it listens. It inherits which Perdure is measured from ``PYTHONPATH``."""
    keys = directory / "keys.json"
    command = [sys.executable, "-m", "perdure.cli", "start", str(app), "--port", "0", "--log-level", "warning"]
    where = ["--store", f"sqlite:///{directory / 'hub.db'}", "--keys-file", str(keys)]
    # Compiled modules are kept, as they are for whoever installed a package.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = await asyncio.create_subprocess_exec(*command, *where, stdout=asyncio.subprocess.PIPE, env=environment)
    assert process.stdout is not None
    try:
        port = 0
        async for line in process.stdout:
            if b"Management API" in line:
                port = int(line.split(b"http://127.0.0.1:", 1)[1].split(b"/", 1)[0])
            if b"Ctrl-C" in line:
                break
        key = json.loads(keys.read_text(encoding="utf-8"))["systemKeys"]["durabletask"]
        yield Host(process.pid, port, key)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        if await process.wait() != 0:
            raise RuntimeError(f"the host ended with {process.returncode}")
