"""``perdure start --reload``: the host runs in a process of its own, which is drained and started again when a file changes.

Instances survive this as they survive any restart: what they did is in the store.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from perdure.cli.child import start_command
from perdure.cli.printing import tell

_LOOK_EVERY = 0.3
_END_WITHIN = 30.0
_WATCHED = frozenset({"host.json", "local.settings.json", "function.json", "requirements.txt"})
"""Besides ``*.py``. Other files are often the app's own data, which it changes itself."""
_NOT_WATCHED = frozenset({"__pycache__", "node_modules", "site-packages"})

Snapshot = dict[str, tuple[int, int]]


def serve_and_reload(folder: Path, flags: Mapping[str, Any]) -> None:
    """Returns when the host has ended because somebody asked for it."""
    _Supervisor(folder, start_command(folder, flags)).run()


def snapshot(folder: Path) -> Snapshot:
    """Size and time of every file that matters to the app."""
    return {entry.path: (stat.st_mtime_ns, stat.st_size) for entry in _files(folder) if (stat := _stat(entry)) is not None}


class _Supervisor:
    def __init__(self, folder: Path, command: list[str]) -> None:
        self._folder = folder
        self._command = command
        self._asked_to_end = False
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Starts the host again and again."""
        signal.signal(signal.SIGINT, self._end)
        signal.signal(signal.SIGTERM, self._end)
        while not self._asked_to_end:
            seen = snapshot(self._folder)
            self._process = subprocess.Popen(
                self._command,
                process_group=0,  # so that Ctrl-C reaches this process alone, and the host gets one signal, not two
            )
            changed = self._watch(seen)
            self._stop()
            if changed:
                tell(f"{changed} has changed; starting again")

    def _watch(self, seen: Snapshot) -> str | None:
        """The name of a file that changed; ``None`` when the end was asked for."""
        ended = False
        while not self._asked_to_end:
            time.sleep(_LOOK_EVERY)
            now = snapshot(self._folder)
            if now != seen:
                different = next(iter(dict(now.items() ^ seen.items())))
                return os.path.relpath(different, self._folder)
            if not ended and self._process is not None and self._process.poll() is not None and not self._asked_to_end:
                ended = True
                tell(f"the host has ended with exit code {self._process.returncode}; it starts again when a file changes")
        return None

    def _stop(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_END_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked_to_end and self._process is not None:
            self._process.kill()  # asked twice: somebody is in a hurry
        self._asked_to_end = True


def _files(folder: Path | str) -> Iterator["os.DirEntry[str]"]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:  # it may go while it is looked at
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _NOT_WATCHED:
                continue
            if entry.is_dir(follow_symlinks=False):
                if not os.path.exists(os.path.join(entry.path, "pyvenv.cfg")):  # noqa: PTH110, PTH118 - runs three times a second
                    yield from _files(entry.path)
            elif entry.name.endswith(".py") or entry.name in _WATCHED:
                yield entry


def _stat(entry: "os.DirEntry[str]") -> os.stat_result | None:
    try:
        return entry.stat()
    except FileNotFoundError:
        return None  # gone since the folder was read
