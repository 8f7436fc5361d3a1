"""What the copy activities say they did: how the demo sees progress, and proves that nothing was copied twice."""

import json
from pathlib import Path


class CopyLog:
    """Follows the log that ``files.copy_file`` appends to, across any number of workers."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_up_to = 0
        self._in_flight: set[str] = set()
        self._ended: set[str] = set()
        self.bytes = 0
        self.begun = 0
        self.cut_off = 0
        """Copies that began although one of the same file had begun, but had not ended: a worker died in the middle."""
        self.copied_twice: list[str] = []
        """Files whose copying began again after it had ended. There must be none."""

    @property
    def files(self) -> int:
        """Files whose copying has ended."""
        return len(self._ended)

    @property
    def in_flight(self) -> int:
        """Files whose copying has begun but not ended."""
        return len(self._in_flight)

    def update(self) -> None:
        """Reads what has been appended since the last call."""
        if not self._file.exists():
            return
        with self._file.open("rb") as log:
            log.seek(self._read_up_to)
            complete, newline, _ = log.read().rpartition(b"\n")
        self._read_up_to += len(complete) + len(newline)
        for line in complete.splitlines():
            self._note(*json.loads(line))

    def _note(self, what: str, path: str, size: int) -> None:
        if what != "begin":  # It has ended, or was found finished: a worker that dies may not come to say so itself.
            self._in_flight.discard(path)
            if path not in self._ended:
                self._ended.add(path)
                self.bytes += size
            return
        self.begun += 1
        if path in self._ended:
            self.copied_twice.append(path)
        elif path in self._in_flight:
            self.cut_off += 1
        self._in_flight.add(path)
