"""A backup whose worker is killed in the middle, and which finishes all the same, without copying a finished file again.

``python -m examples.backup.demo [DIR] [--keep PLACE]``, or ``make demo DIR=...``. The default is this checkout's files.

Nothing is slowed down, with one exception: in a tree of less than 2,000 files and 1 GiB each copy pauses for a moment (half a
second at most, about two seconds for the whole tree), because otherwise all would be done before a kill could land in the middle.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal

import perdure as df
from examples.backup.copy_log import CopyLog
from examples.backup.errors import SourceError
from examples.backup.files import check_source
from examples.backup.layout import Layout
from examples.backup.model import BackupRequest, Plan, Report, Selection
from examples.backup.show import ProgressView, timeline, totals
from examples.backup.worker import INSTANCE_ID
from examples.backup.worker_process import ROOT, WorkerProcess

_SECONDS_BETWEEN_LOOKS = 0.005
_CANT_DO = 1
_BAD_USAGE = 2
_INTERRUPTED = 130
_TERMINATED = 143


class DemoError(Exception):
    """The demo didn't show what it is there to show."""


class Demo:
    """One backup, one kill."""

    def __init__(self, console: Console, request: BackupRequest, place: Path) -> None:
        self._console = console
        self._request = request
        self._hub = place / "hub.db"
        self._output = place / "worker.log"
        self._layout = Layout(request.target)
        self._log = CopyLog(self._layout.copies)
        self._view = ProgressView(console)
        self._plan: Plan | None = None

    def run(self) -> None:
        """Returns if everything went as promised.

        Raises:
            SourceError: the directory can't be backed up.
            DemoError: something else went wrong.
        """
        began = time.monotonic()
        with self._view.bar:
            killed_at = self._work(kill=True)
            if killed_at is not None:
                self._work(kill=False)
        status = self._final_status()
        if killed_at is None:
            raise DemoError("The backup was done before the kill could land in the middle. Try a larger directory.")
        report = Report(**status.output)
        self._console.print(timeline(status.history or [], killed_at))
        self._console.print(
            totals(
                [
                    ("files", report.files),
                    ("bytes", decimal(report.bytes)),
                    ("not regular files, skipped", report.skipped),
                    ("read again and found equal to the manifest", report.verified),
                    ("workers killed", 1),
                    ("copies cut off by the kill, begun again", self._log.cut_off),
                    ("finished copies that the hub had not heard of yet, not repeated", report.reused),
                    ("finished files copied twice", len(self._log.copied_twice)),
                    ("seconds", f"{time.monotonic() - began:.1f}"),
                ]
            )
        )
        if self._log.copied_twice:
            raise DemoError(f"These files were copied again after they had been finished: {self._log.copied_twice[:5]}")

    def _work(self, *, kill: bool) -> datetime | None:
        """Runs a worker until it ends; when it was killed, if it was."""
        with WorkerProcess(self._hub, self._request, self._output) as worker:
            self._console.print(f"worker {worker.pid} {'started' if kill else 'opened the same hub and goes on'}")
            while worker.exit_code is None:
                self._look()
                if kill and self._is_halfway():
                    return self._kill(worker)
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            self._look()
            if worker.exit_code:
                raise DemoError(f"Worker {worker.pid} ended with exit code {worker.exit_code}. It said:\n{self._said()}")
        return None

    def _kill(self, worker: WorkerProcess) -> datetime | None:
        if worker.kill() != -signal.SIGKILL:
            return None
        self._look()
        files = self._plan.files if self._plan else 0
        self._console.print(
            f"[red]worker {worker.pid} killed with SIGKILL[/red]: {self._log.files} of {files} files were finished, "
            f"{self._log.in_flight} in flight"
        )
        return datetime.now(UTC)

    def _look(self) -> None:
        if self._plan is None and self._layout.plan.exists():
            self._plan = Plan(**json.loads(self._layout.plan.read_text()))
        if self._plan is not None:
            self._log.update()
            self._view.show(self._log, self._plan.files)

    def _is_halfway(self) -> bool:
        """Two fifths are done, and the next copy has begun."""
        if self._plan is None:
            return False
        mark = self._plan.files * 2 // 5
        return self._log.files >= mark and self._log.begun > mark

    def _final_status(self) -> df.DurableOrchestrationStatus:
        # No functions: this process only looks; whatever a failed backup may have left open stays as it is.
        with df.BlockingTaskHub(df.DFApp(), str(self._hub)) as hub:
            status = hub.client.get_status(INSTANCE_ID, show_history=True, show_history_output=True)
        if status.failure is not None:
            causes = list(status.failure.chain())
            cause = next((link for link in causes if link.type != "perdure.TaskFailedError"), causes[0])
            if cause.type.endswith(".SourceError"):
                raise SourceError(cause.message)
            raise DemoError(f"{cause.type}: {cause.message}")
        if status.runtime_status is not df.OrchestrationRuntimeStatus.Completed:
            raise DemoError(f"The backup is {status.runtime_status} instead of Completed. The worker said:\n{self._said()}")
        return status

    def _said(self) -> str:
        return "\n".join(self._output.read_text(errors="replace").splitlines()[-15:])


def request_for(directory: str | None, target: Path) -> BackupRequest:
    """What to back up: a directory as it is, or the files of this checkout, without what git ignores."""
    if directory is not None:
        source, selection = Path(directory).expanduser().absolute(), Selection.EVERYTHING
    else:
        source, selection = ROOT, Selection.CHECKOUT if _is_checkout(ROOT) else Selection.EVERYTHING
    check_source(source)
    return BackupRequest(str(source), str(target), selection, demo=True)


def main() -> int:
    """The exit code: 0 if all was shown as promised, 1 if not, 2 for a directory that can't be backed up."""
    parser = argparse.ArgumentParser(prog="python -m examples.backup.demo", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dir", nargs="?", metavar="DIR", help="directory to back up (default: the files of this checkout)")
    parser.add_argument("--keep", type=Path, metavar="PLACE", help="new directory for the backup, which stays (default: deleted)")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    # Ends like Ctrl-C does: through every `with` block, which stops the worker and deletes what is temporary.
    signal.signal(signal.SIGTERM, _end)
    try:
        with _place(arguments.keep) as place:
            request = request_for(arguments.dir, place)
            console.print(f"backing up {request.source} to {request.target}", soft_wrap=True, markup=False)
            Demo(console, request, place).run()
        console.print(
            f"backup kept in {place}" if arguments.keep else "the backup was temporary and is deleted; --keep PLACE keeps it"
        )
    except SourceError as error:
        errors.print(f"demo: {error}")
        return _BAD_USAGE
    except (DemoError, OSError) as error:
        errors.print(f"demo failed: {error}")
        return _CANT_DO
    except KeyboardInterrupt:
        errors.print("demo: interrupted; the worker is stopped")
        return _INTERRUPTED
    return 0


def _end(_signal: int, _frame: object) -> None:
    sys.exit(_TERMINATED)


@contextmanager
def _place(keep: Path | None) -> Generator[Path]:
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep.absolute()
        return
    place = Path(tempfile.mkdtemp(prefix="perdure-demo-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _is_checkout(directory: Path) -> bool:
    if not (directory / ".git").exists() or shutil.which("git") is None:
        return False
    return subprocess.run(["git", "-C", str(directory), "status", "--short"], capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
