"""A worker process as the demo sees it: started, killed, or stopped; never left behind."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Self

from examples.backup.model import BackupRequest

ROOT = Path(__file__).resolve().parents[2]
_SECONDS_TO_STOP = 10


class WorkerProcess:
    """Runs as long as the ``with`` block at most."""

    def __init__(self, hub: Path, request: BackupRequest, log: Path) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "examples.backup.worker", str(hub), json.dumps(asdict(request))],
                cwd=ROOT,
                # The worker stops when this pipe closes, which happens even if this process is killed.
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                # Ctrl-C in a terminal is for the demo, which then stops the worker.
                start_new_session=True,
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs; negative if a signal ended it."""
        return self._process.poll()

    def kill(self) -> int:
        """SIGKILL: it gets no chance to tidy up. Its exit code."""
        self._process.kill()
        return self._process.wait()
