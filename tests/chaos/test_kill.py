"""Real worker processes, killed with SIGKILL at random moments. ``PERDURE_CHAOS_SEED`` repeats a seed (not its timing)."""

import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from perdure.core.codec import decode_segment
from perdure.core.events import ExecutionStarted, TaskCompleted, TaskFailed

KILLS = int(os.environ.get("PERDURE_KILLS", "50"))
PER_LIFE = 6
Key = tuple[str, str, str]
"""``(execution_id, generation, task_id)``."""


class Hub:
    """A database that worker processes share one after the other, seen from outside."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.lives = 0
        self.acknowledged: set[int] = set()

    def worker(self, last: int) -> subprocess.Popen[bytes]:
        """A new life."""
        self.lives += 1
        next_number = max(self.acknowledged, default=-1) + 1
        arguments = [self.folder / "hub.db", self._log, self.seed, next_number, last]
        with (self.folder / "errors").open("ab") as errors:
            return subprocess.Popen([sys.executable, "-m", "tests.chaos.worker", *map(str, arguments)], stderr=errors)

    def errors(self) -> str:
        """What the workers complained of."""
        return (self.folder / "errors").read_text()[-4000:]

    def read_log(self) -> set[Key]:
        """Takes note of what the last life acknowledged; returns the activities that it ran."""
        ran: set[Key] = set()
        if self._log.exists():
            for line in self._log.read_text().splitlines():
                match line.split():
                    case ["started", number]:
                        self.acknowledged.add(int(number))
                    case ["run", execution_id, generation, task_id]:
                        ran.add((execution_id, generation, task_id))
                    case _:
                        pass
        return ran

    def stored(self) -> tuple[dict[str, str], set[Key]]:
        """The status of every instance, and the activities whose outcome is durable."""
        if not (self.folder / "hub.db").exists():
            return {}, set()
        with closing(sqlite3.connect(self.folder / "hub.db")) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'instances'").fetchone():
                return {}, set()
            statuses = dict(connection.execute("SELECT instance_id, status FROM instances"))
            rows = connection.execute("SELECT iid, events FROM history ORDER BY iid, seq").fetchall()
        completed: set[Key] = set()
        execution: dict[int, tuple[str, str]] = {}
        for iid, segment in rows:
            for event in decode_segment(segment):
                if isinstance(event, ExecutionStarted):
                    execution[iid] = (event.execution_id, str(event.generation))
                elif isinstance(event, TaskCompleted | TaskFailed):
                    completed.add((*execution[iid], str(event.task_id)))
        return statuses, completed

    @property
    def _log(self) -> Path:
        return self.folder / f"log-{self.lives}"


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_nothing_is_lost_however_often_workers_are_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("PERDURE_CHAOS_SEED", random.randrange(10**6)))
    print(f"PERDURE_CHAOS_SEED={seed}")
    luck = random.Random(seed)
    hub = Hub(tmp_path, seed)
    completed: set[Key] = set()
    kills = 0
    while kills < KILLS:
        worker = hub.worker(last=max(hub.acknowledged, default=-1) + 1 + PER_LIFE)
        time.sleep(luck.uniform(0.1, 1.2))
        ended = worker.poll()
        worker.kill()
        worker.wait()
        kills += ended is None
        assert ended in (None, 0), f"seed {seed}, life {hub.lives}: {hub.errors()}"
        again = hub.read_log() & completed
        assert not again, f"seed {seed}, kill {kills}: run again although their results were durable: {again}"
        statuses, completed = hub.stored()
        lost = [number for number in hub.acknowledged if f"c{number}" not in statuses]
        assert not lost, f"seed {seed}, kill {kills}: acknowledged and lost: {lost}"
    assert hub.acknowledged, hub.errors()
    started = time.monotonic()
    last = hub.worker(last=max(hub.acknowledged) + 1)
    try:
        assert last.wait(timeout=120) == 0, f"seed {seed}: {hub.errors()}"
    finally:
        last.kill()
        last.wait()
    assert not hub.read_log() & completed
    statuses, _ = hub.stored()
    assert {statuses[f"c{number}"] for number in hub.acknowledged} == {"Completed"}
    assert set(statuses.values()) == {"Completed"}
    took = time.monotonic() - started
    print(f"{kills} kills, {len(hub.acknowledged)} instances ({len(statuses)} with children); the last life took {took:.1f} s")
