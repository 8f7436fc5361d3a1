"""What the demo prints: the progress bar, the timeline of the instance, the totals."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from examples.backup.copy_log import CopyLog

_MILESTONES = 4


class ProgressView:
    """A live bar on a terminal; a line per quarter of the files where there is none, as in CI."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._reached = 0
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]:>5.0f} files/s  {task.fields[size]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self.bar.add_task("listing files", total=None, speed=0.0, size="")

    def show(self, log: CopyLog, total: int) -> None:
        """Brings the display up to date."""
        done = log.files == total
        self.bar.update(
            self._task,
            description="manifest, verification" if done else "copying files",
            total=total,
            completed=log.files,
            speed=self.bar.tasks[0].speed or 0.0,
            size=decimal(log.bytes),
        )
        reached = _MILESTONES * log.files // total
        if reached > self._reached:
            self._reached = reached
            if not self._console.is_terminal:
                self._console.print(f"copied {log.files} of {total} files, {decimal(log.bytes)}")


@dataclass(slots=True)
class _Row:
    """Neighbouring events of one kind, as one row."""

    what: str
    count: int
    first: datetime
    last: datetime


def timeline(history: Iterable[dict[str, Any]], killed_at: datetime) -> Table:
    """The history of an instance, condensed, with the kill (which history knows nothing about) at its time."""
    rows: list[_Row] = []
    killed = False
    for event in history:
        time = datetime.fromisoformat(event["Timestamp"])
        if time > killed_at and not killed:
            killed = True
            rows.append(_Row("[red]worker killed, the next one goes on", 1, killed_at, killed_at))
        what = _description(event)
        began = datetime.fromisoformat(event.get("ScheduledTime", event["Timestamp"]))
        if rows and rows[-1].what == what:
            rows[-1].count += 1
            rows[-1].first = min(rows[-1].first, began)
            rows[-1].last = time
        else:
            rows.append(_Row(what, 1, began, time))
    table = Table(title="The instance's history", title_justify="left")
    table.add_column("recorded at", justify="right")
    table.add_column("event")
    table.add_column("times", justify="right")
    table.add_column("since scheduled", justify="right")
    start = rows[0].first
    for row in rows:
        took = f"{(row.last - row.first).total_seconds():.3f} s" if row.last > row.first else ""
        table.add_row(f"{(row.last - start).total_seconds():.3f} s", row.what, str(row.count), took)
    return table


def totals(rows: Iterable[tuple[str, object]]) -> Table:
    """Name and value, line by line."""
    table = Table(title="Totals", title_justify="left", show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    for name, value in rows:
        table.add_row(name, str(value))
    return table


def _description(event: dict[str, Any]) -> str:
    kind = event["EventType"]
    match kind:
        case "TaskCompleted":
            return f"{event['FunctionName']} completed"
        case "SubOrchestrationInstanceCompleted":
            return f"{event['FunctionName']} sub-orchestration"
        case "ExecutionStarted":
            return f"{event['FunctionName']} started"
        case "ExecutionCompleted":
            return f"ended: {event['OrchestrationStatus']}"
        case _:
            return kind
