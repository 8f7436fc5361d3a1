"""From a URL to a store: the one place that knows which stores exist."""

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from perdure.store.errors import StoreUrlError

if TYPE_CHECKING:
    from perdure.store.memory import MemoryStore
    from perdure.store.postgres import PostgresStore
    from perdure.store.sqlite import SqliteStore

_FORMS = (
    "Use memory://, sqlite:///relative/path.db, sqlite:////absolute/path.db, a plain path that ends in .db, or "
    "postgresql://user:password@host:port/database?schema=perdure."
)


DEFAULT_PARTITION_COUNT = 16


def open_store(url: str, *, partition_count: int = DEFAULT_PARTITION_COUNT) -> "MemoryStore | SqliteStore | PostgresStore":
    """The store that ``url`` names, constructed but not yet opened. Drivers are imported here, on use.

    ``partition_count`` is for a hub that is made when the store is opened; an existing one keeps its own.

    Raises:
        StoreUrlError: it names none.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        if url.endswith(".db"):
            return _sqlite(url, partition_count)
        raise StoreUrlError(f"The store URL '{url}' names no store. {_FORMS}")
    match scheme.lower():
        case "memory" if not rest:
            from perdure.store.memory import MemoryStore

            return MemoryStore(partition_count=partition_count)
        case "sqlite" if rest.startswith("/") and len(rest) > 1 and "?" not in rest and "#" not in rest:
            # As elsewhere: what follows the third slash is the path, so a fourth one makes it absolute.
            return _sqlite(unquote(rest[1:]), partition_count)
        case "postgresql" | "postgres":
            return _postgres(url, partition_count)
        case "memory" | "sqlite":
            raise StoreUrlError(f"The store URL '{url}' has a part that {scheme} stores don't have, or lacks one. {_FORMS}")
        case _:
            # Not all of it: it may hold a password.
            raise StoreUrlError(f"The store URL has the unknown scheme '{scheme}'. {_FORMS}")


def _sqlite(path: str, partition_count: int) -> "SqliteStore":
    try:
        from perdure.store.sqlite import SqliteStore
    except ImportError as error:
        raise StoreUrlError(
            f"The SQLite store for '{path}' can't be loaded here: {error}. It needs Python's sqlite3 and "
            "fcntl modules (Linux, macOS); use another store on this machine."
        ) from error
    return SqliteStore(Path(path), partition_count=partition_count)


def _postgres(url: str, partition_count: int) -> "PostgresStore":
    try:
        from perdure.store.postgres import PostgresStore
    except ImportError as error:
        # Not the URL itself: it may hold a password.
        raise StoreUrlError(
            f"The PostgreSQL store can't be loaded here: {error}. It needs the driver asyncpg: pip install 'perdure[postgres]'."
        ) from error
    return PostgresStore(url, partition_count=partition_count)
