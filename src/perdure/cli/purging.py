"""Deletes instances, many at a time, and shows how far it is."""

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from perdure.cli.errors import CommandError, ExitCode
from perdure.cli.filters import Filter
from perdure.engine.errors import InstanceRunningError

if TYPE_CHECKING:
    from rich.progress import Progress

    from perdure.cli.stored import StoredInstances
    from perdure.client.http import Client

_AT_ONCE = 32


async def purge_ids(client: "Client | StoredInstances", instance_ids: Sequence[str]) -> int:
    """Deletes these; returns how many.

    Raises:
        CommandError: some of them don't exist; the others are deleted.
        InstanceRunningError: one of them has not ended; those before it are deleted.
    """
    missing = [each for each in instance_ids if not (await client.purge_instance_history(each)).instances_deleted]
    if missing:
        names = ", ".join(f"'{each}'" for each in missing)
        raise CommandError(f"there is no instance {names}; {len(instance_ids) - len(missing)} deleted.", ExitCode.NOT_FOUND)
    return len(instance_ids)


async def purge_matching(client: "Client | StoredInstances", wanted: Filter, *, ask: bool) -> int:
    """Deletes those that match and have ended; returns how many.

    Raises:
        CommandError: the person at the terminal says no, or can't be asked.
    """
    ended = [status.instance_id for status in await wanted.matching(client) if status.is_terminal]
    if not ended:
        return 0
    if ask:
        _confirm(len(ended))
    deleted = 0
    with _progress() as progress:
        task = progress.add_task("deleting", total=len(ended))
        for start in range(0, len(ended), _AT_ONCE):
            some = ended[start : start + _AT_ONCE]
            deleted += sum(await asyncio.gather(*(_purge(client, instance_id) for instance_id in some)))
            progress.update(task, advance=len(some))
    return deleted


async def _purge(client: "Client | StoredInstances", instance_id: str) -> int:
    try:
        return (await client.purge_instance_history(instance_id)).instances_deleted
    except InstanceRunningError:
        return 0  # its id was used again meanwhile


def _confirm(count: int) -> None:
    import sys

    import typer

    if not sys.stdin.isatty():
        raise CommandError(f"{count} instances would be deleted. Add --yes to do it.", ExitCode.USAGE)
    if not typer.confirm(f"Delete {count} instances with all that is stored of them?", err=True):
        raise CommandError("nothing was deleted.")


@contextmanager
def _progress() -> "Generator[Progress, None, None]":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    # Where nobody watches, it would leave an empty line behind.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress
