"""The URLs of stores, as people give them and as they may be shown."""

import os
import re
from pathlib import Path
from urllib.parse import unquote

from perdure.cli.errors import CommandError, ExitCode

# To the last @, although it should be the first: in a password that isn't encoded there may be others.
_PASSWORD = re.compile(r"(?<=://)([^/?#@:]*):.*@|(?<=[?&])(password=)[^&]*")


def without_password(url: str) -> str:
    """The URL as logs and screens may show it."""
    return _PASSWORD.sub(lambda found: f"{found[1]}:***@" if found[2] is None else f"{found[2]}***", url)


def the_store(argument: str | None, option: str | None) -> str:
    """The store that a command is about: its argument, ``--store``, or ``$PERDURE_STORE``.

    Raises:
        CommandError: none is given, or two.
    """
    if argument is not None and option is not None:
        raise CommandError("the store is given twice. Give it either as the argument or with --store.", ExitCode.USAGE)
    url = argument or option or os.environ.get("PERDURE_STORE")
    if not url:
        raise CommandError(
            "which store? Give its URL, such as sqlite:///.perdure/hub.db or postgresql://user@host/database.", ExitCode.USAGE
        )
    refuse_memory(url)
    return url


def refuse_memory(url: str) -> None:
    """Guarantees that other processes could find the store.

    Raises:
        CommandError: it is in memory.
    """
    if url.lower().startswith("memory://"):
        raise CommandError("a store in memory is gone with its host. Give a file: --store sqlite:///FILE.db", ExitCode.USAGE)


def same_store(one: str, other: str) -> bool:
    """Whether two URLs surely name one store."""
    files = _file(one), _file(other)
    if files[0] is not None and files[1] is not None:
        return files[0].resolve() == files[1].resolve()
    return one == other


def kind_of(url: str) -> str:
    """The kind of store in a word."""
    return "sqlite" if _file(url) is not None else "postgresql"


def _file(url: str) -> Path | None:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return Path(url)
    return Path(unquote(rest[1:])) if scheme.lower() == "sqlite" else None
