"""Servers of the Durable Task protocol as processes: ``perdure serve`` on SQLite, and the SDK's in-memory backend."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hosts import cpu_seconds_of

_LISTENING = re.compile(r"\(gRPC\) on (\S+);")


@dataclass(frozen=True)
class GrpcServer:
    """A running server."""

    address: str
    pid: int

    @property
    def cpu_seconds(self) -> float:
        """What it has used so far, of all its threads."""
        return cpu_seconds_of(self.pid)


@contextmanager
def perdure_server(directory: Path) -> Iterator[GrpcServer]:
    """Durable: every commit waits for the disk. It inherits which Perdure is measured from ``PYTHONPATH``."""
    command = [sys.executable, "-m", "perdure.cli", "serve", "--grpc-port", "0", "--log-level", "warning"]
    # Compiled modules are kept, as they are for whoever installed a package.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    where = ["--store", f"sqlite:///{directory / 'hub.db'}"]
    with subprocess.Popen([*command, *where], stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            found = _LISTENING.search(line)
            if found is not None:
                break
        else:
            raise RuntimeError(f"perdure serve has ended: {''.join(said)}")
        try:
            yield GrpcServer(found[1], process.pid)
        finally:
            process.terminate()


@contextmanager
def memory_backend() -> Iterator[GrpcServer]:
    """Not durable."""
    with child("benchmarks.workers.sdk_backend") as (pid, address):
        yield GrpcServer(address, pid)


@contextmanager
def child(module: str, *arguments: str) -> Iterator[tuple[int, str]]:
    """A process that says one line when it is ready, and ends with its standard input; yields its id and that line."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ready = process.stdout.readline().strip()
        if not ready:
            raise RuntimeError(f"{module} has ended at once")
        try:
            yield process.pid, ready
        finally:
            process.stdin.close()
