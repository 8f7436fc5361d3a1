"""``perdure serve`` as a process of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_MANAGEMENT = re.compile(r"Management API on (\S+)/runtime/webhooks/durabletask")
_LISTENING = re.compile(r"Durable Task protocol \(gRPC\) on (\S+);")


class GrpcServer:
    """A running server. It can be killed and started again on the same port."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._folder = folder
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None
        self.address = ""
        self.said = ""
        """What it has logged, once it has ended."""
        self.management = ""
        """The URL of the host that serves the management API, if the arguments ask for that."""

    def start(self) -> None:
        port = self.address.rpartition(":")[2] or "0"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "perdure.cli", "serve", "--grpc-port", port, *self._arguments],
            cwd=self._folder,
            env={**environment, "PYTHONWARNINGS": "error"},
            stderr=subprocess.PIPE,
            text=True,
        )
        said: list[str] = []
        for line in self._stderr:
            said.append(line)
            if (http := _MANAGEMENT.search(line)) is not None:
                self.management = http[1]
            found = _LISTENING.search(line)
            if found is not None:
                self.address = found[1]
                return
        self._end()
        raise AssertionError(f"perdure serve has ended: {''.join(said)}")

    @property
    def _stderr(self) -> IO[str]:
        assert self._process is not None
        assert self._process.stderr is not None
        return self._process.stderr

    def kill(self) -> None:
        """As a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._end()

    def stop(self) -> int:
        """The exit code after SIGTERM."""
        self.signal()
        return self.ended()

    def signal(self) -> None:
        """Sends SIGTERM, without waiting for what comes of it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def says(self, text: str) -> None:
        """Returns once the server has said it."""
        for line in self._stderr:
            if text in line:
                return
        raise AssertionError(f"perdure serve has ended without saying '{text}'")

    def ended(self) -> int:
        """The exit code, once it has ended by itself."""
        return self._end()

    def _end(self) -> int:
        assert self._process is not None
        self.said += self._stderr.read()
        code = self._process.wait(60)
        self._stderr.close()
        self._process = None
        return code

    def clean_up(self) -> None:
        if self._process is not None:
            self.kill()


@contextmanager
def grpc_server(folder: Path, *arguments: str) -> Generator[GrpcServer]:
    server = GrpcServer(folder, *arguments)
    try:
        server.start()
        yield server
    finally:
        server.clean_up()
