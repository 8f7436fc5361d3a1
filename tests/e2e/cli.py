"""The command ``perdure`` as a process of its own, and hosts that it starts."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

COMMAND = [sys.executable, "-m", "perdure.cli"]
_LISTENING = re.compile(r"Management API\s+(http://\S+)/runtime/webhooks/durabletask")


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    exit_code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.exit_code in (0, 1), self.err
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    """Without anything that would configure the command."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PERDURE_", "AzureFunctionsJobHost"))}
    return {**kept, "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8", "COLUMNS": "200", **more}


def perdure(*arguments: str, folder: Path, stdin: str = "", variables: Mapping[str, str] | None = None) -> Outcome:
    """Runs the command to its end."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment(**(variables or {})),
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


class Host:
    """A running ``perdure start``."""

    def __init__(
        self, folder: Path, *arguments: str, variables: Mapping[str, str] | None = None, python: str | Path = sys.executable
    ) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [python, *COMMAND[1:], "start", "--port", "0", *arguments],
            cwd=folder,
            env=environment(**(variables or {})),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        self._queue: Queue[str | None] = Queue()
        Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def listening(self) -> str:
        """The URL, once it answers; also of a host that was started again."""
        return self.says(_LISTENING)

    def says(self, pattern: re.Pattern[str]) -> str:
        """The first group (or all) of the next line that matches."""
        while True:
            try:
                line = self._queue.get(timeout=30)
            except Empty:
                raise AssertionError("the host says nothing more:\n" + "".join(self.lines)) from None
            if line is None:
                raise AssertionError("the host has ended:\n" + "".join(self.lines))
            if match := pattern.search(line):
                return match.group(match.lastindex or 0)

    def interrupt(self) -> None:
        """Ctrl-C, without waiting for what comes of it."""
        self._process.send_signal(signal.SIGINT)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """The exit code."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(30)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(30)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as out:
            for line in out:
                self.lines.append(line)
                self._queue.put(line)
        self._queue.put(None)


@contextmanager
def running(
    folder: Path, *arguments: str, variables: Mapping[str, str] | None = None, python: str | Path = sys.executable
) -> Generator[tuple[Host, str], None, None]:
    """A host and its URL; it ends with 0."""
    host = Host(folder, *arguments, variables=variables, python=python)
    try:
        yield host, host.listening()
        assert host.end() == 0, "".join(host.lines)
    finally:
        host.kill()
