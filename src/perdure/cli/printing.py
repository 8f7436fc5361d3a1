"""What commands say: tables for people, JSON for programs. Results go to standard output, everything else to standard error."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from perdure.client.models import DurableOrchestrationStatus

_COLORS = {"Completed": "green", "Failed": "red", "Terminated": "yellow", "Running": "cyan", "Suspended": "magenta"}


def console() -> "Console":
    """Standard output. A pipe gets lines as long as they are, without colours."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 10_000)


def say(text: str, *, flush: bool = False) -> None:
    """One line of standard output; ``flush`` where somebody waits for it."""
    sys.stdout.write(f"{text}\n")
    if flush:
        sys.stdout.flush()


def tell(text: str) -> None:
    """One line for the person at the terminal, not part of the result."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def say_json(value: Any) -> None:
    """The value as one JSON document."""
    say(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def say_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table. The cells are plain text: nothing in them is taken for markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(short(cell), style=_COLORS.get(str(cell), "")) for cell in row))
    console().print(table)


def say_fields(values: Mapping[str, Any]) -> None:
    """Names and values, one below the other; those without a value are left out."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        if value is not None:
            table.add_row(name, Text(value if isinstance(value, str) else _compact(value), style=_COLORS.get(str(value), "")))
    console().print(table)


def short(value: Any, limit: int = 60) -> str:
    """The value on one line, cut where it is longer than a cell should be."""
    text = "" if value is None else value if isinstance(value, str) else _compact(value)
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def status_json(status: "DurableOrchestrationStatus") -> dict[str, Any]:
    """The body that the management API gives for this instance."""
    body = {
        "name": status.name,
        "instanceId": status.instance_id,
        "runtimeStatus": None if status.runtime_status is None else str(status.runtime_status),
        "input": status.input_,
        "customStatus": status.custom_status,
        "output": status.output,
        "createdTime": _plain(status.created_time),
        "lastUpdatedTime": _plain(status.last_updated_time),
    }
    return body if status.history is None else {**body, "historyEvents": status.history}


def _compact(value: Any) -> str:
    return (
        value.strftime("%Y-%m-%d %H:%M:%S")
        if isinstance(value, datetime)
        else json.dumps(value, ensure_ascii=False, default=_plain)
    )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return None if value is None else str(value)
