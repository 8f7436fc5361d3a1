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


def open_store(url: str) -> "MemoryStore | SqliteStore | PostgresStore":
    """The store that ``url`` names, constructed but not yet opened. Drivers are imported here, on use.

    Raises:
        StoreUrlError: it names none.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        if url.endswith(".db"):
            return _sqlite(url)
        raise StoreUrlError(f"The store URL '{url}' names no store. {_FORMS}")
    match scheme.lower():
        case "memory" if not rest:
            from perdure.store.memory import MemoryStore

            return MemoryStore()
        case "sqlite" if rest.startswith("/") and len(rest) > 1 and "?" not in rest and "#" not in rest:
            # As elsewhere: what follows the third slash is the path, so a fourth one makes it absolute.
            return _sqlite(unquote(rest[1:]))
        case "postgresql" | "postgres":
            return _postgres(url)
        case "memory" | "sqlite":
            raise StoreUrlError(f"The store URL '{url}' has a part that {scheme} stores don't have, or lacks one. {_FORMS}")
        case _:
            # Not all of it: it may hold a password.
            raise StoreUrlError(f"The store URL has the unknown scheme '{scheme}'. {_FORMS}")


def _sqlite(path: str) -> "SqliteStore":
    try:
        from perdure.store.sqlite import SqliteStore
    except ImportError as error:
        raise StoreUrlError(
            f"The SQLite store for '{path}' can't be loaded here: {error}. It needs Python's sqlite3 and "
            "fcntl modules (Linux, macOS); use another store on this machine."
        ) from error
    return SqliteStore(Path(path))


def _postgres(url: str) -> "PostgresStore":
    try:
        from perdure.store.postgres import PostgresStore
    except ImportError as error:
        # Not the URL itself: it may hold a password.
        raise StoreUrlError(
            f"The PostgreSQL store can't be loaded here: {error}. It needs the driver asyncpg: pip install 'perdure[postgres]'."
        ) from error
    return PostgresStore(url)
