"""Option values that are more than a text: JSON, moments, statuses."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from perdure.cli.errors import CommandError, ExitCode
from perdure.core.status import OrchestrationRuntimeStatus

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def json_value(text: str | None, option: str) -> Any:
    """JSON as it stands, from a file (``@FILE``), or from standard input (``-``).

    Raises:
        CommandError: it isn't JSON, or the file can't be read.
    """
    if text is None:
        return None
    try:
        source = sys.stdin.read() if text == "-" else Path(text[1:]).read_text(encoding="utf-8") if text[:1] == "@" else text
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{option}: {text[1:]} can't be read: {error}", ExitCode.USAGE) from error
    try:
        return json.loads(source)
    except json.JSONDecodeError as error:
        raise CommandError(
            f"{option} is no JSON ({error}). A text needs its own quotes: {option} '\"text\"'. From a file: {option} @FILE.json",
            ExitCode.USAGE,
        ) from error


def moment(text: str | None, option: str) -> datetime | None:
    """An ISO time (UTC unless it says otherwise), or how long ago: ``90s``, ``15m``, ``2h``, ``7d``.

    Raises:
        CommandError: it is neither.
    """
    if text is None:
        return None
    if text[-1:] in _UNITS and text[:-1].isdigit():
        return datetime.now(UTC) - timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]])
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(
            f"{option}: '{text}' is no time. Write 2026-01-31T08:00:00Z, or 2h for two hours ago.", ExitCode.USAGE
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def statuses(texts: list[str]) -> list[OrchestrationRuntimeStatus]:
    """Statuses by name, in any case, also several with commas between.

    Raises:
        CommandError: there is none of that name.
    """
    known = {str(status).lower(): status for status in OrchestrationRuntimeStatus}
    found: list[OrchestrationRuntimeStatus] = []
    for name in (part.strip() for text in texts for part in text.split(",")):
        if name.lower() not in known:
            raise CommandError(
                f"--status: there is no status '{name}'. There are: {', '.join(OrchestrationRuntimeStatus)}.", ExitCode.USAGE
            )
        found.append(known[name.lower()])
    return found
