"""From a URL to a store: the one place that knows which stores exist."""

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from perdure.store.errors import HubMissingError, StoreUrlError

if TYPE_CHECKING:
    from perdure.store.memory import MemoryStore
    from perdure.store.postgres import PostgresStore
    from perdure.store.sqlite import SqliteStore

_FORMS = (
    "Use memory://, sqlite:///relative/path.db, sqlite:////absolute/path.db, a plain path that ends in .db, or "
    "postgresql://user:password@host:port/database?schema=perdure."
)


DEFAULT_PARTITION_COUNT = 16


def open_store(
    url: str, *, partition_count: int = DEFAULT_PARTITION_COUNT, make: bool = True
) -> "MemoryStore | SqliteStore | PostgresStore":
    """The store that ``url`` names, constructed but not yet opened. Drivers are imported here, on use.

    ``partition_count`` is for a hub that is made when the store is opened; an existing one keeps its own. Without ``make`` none
    is made, so that a slip in a URL doesn't pass for an empty hub; in memory, nothing but a new one can be had.

    Raises:
        StoreUrlError: it names none.
        HubMissingError: there is no such file, and ``make`` is off. What isn't a file says so when it is opened.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        if url.endswith(".db"):
            return _sqlite(url, partition_count, make=make)
        raise StoreUrlError(f"The store URL '{url}' names no store. {_FORMS}")
    match scheme.lower():
        case "memory" if not rest:
            from perdure.store.memory import MemoryStore

            return MemoryStore(partition_count=partition_count)
        case "sqlite" if rest.startswith("/") and len(rest) > 1 and "?" not in rest and "#" not in rest:
            # As elsewhere: what follows the third slash is the path, so a fourth one makes it absolute.
            return _sqlite(unquote(rest[1:]), partition_count, make=make)
        case "postgresql" | "postgres":
            return _postgres(url, partition_count, make=make)
        case "memory" | "sqlite":
            raise StoreUrlError(f"The store URL '{url}' has a part that {scheme} stores don't have, or lacks one. {_FORMS}")
        case _:
            # Not all of it: it may hold a password.
            raise StoreUrlError(f"The store URL has the unknown scheme '{scheme}'. {_FORMS}")


def _sqlite(path: str, partition_count: int, *, make: bool) -> "SqliteStore":
    try:
        from perdure.store.sqlite import SqliteStore
    except ImportError as error:
        raise StoreUrlError(
            f"The SQLite store for '{path}' can't be loaded here: {error}. It needs Python's sqlite3 and "
            "fcntl modules (Linux, macOS); use another store on this machine."
        ) from error
    if not make and not Path(path).is_file():
        raise HubMissingError(f"there is no store {path}. Give its path, or start a host that makes it.")
    return SqliteStore(Path(path), partition_count=partition_count)


def _postgres(url: str, partition_count: int, *, make: bool) -> "PostgresStore":
    try:
        from perdure.store.postgres import PostgresStore
    except ImportError as error:
        # Not the URL itself: it may hold a password.
        raise StoreUrlError(
            f"The PostgreSQL store can't be loaded here: {error}. It needs the driver asyncpg: pip install 'perdure[postgres]'."
        ) from error
    return PostgresStore(url, partition_count=partition_count, make=make)
