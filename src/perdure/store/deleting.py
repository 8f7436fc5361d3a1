"""Deleting a hub with everything in it."""

import asyncio
from pathlib import Path
from urllib.parse import unquote

from perdure.store.errors import StoreUrlError


async def delete_store(url: str) -> None:
    """Leaves nothing of the closed hub at ``url``. One that doesn't exist is fine; one in memory is gone when it is closed.

    Raises:
        HubInUseError: an engine has it open.
        StoreUrlError: the URL can't be understood.
        StoreError: in PostgreSQL, see ``postgres.deleting.delete_hub``.
    """
    scheme, separator, rest = url.partition("://")
    match scheme.lower() if separator else "":
        case "memory":
            return
        case "sqlite" | "":
            path = Path(unquote(rest[1:])) if separator else Path(url)
            await asyncio.to_thread(_delete_sqlite, path)
        case "postgresql" | "postgres":
            from perdure.store.postgres.deleting import delete_hub

            await delete_hub(url)
        case _:
            raise StoreUrlError(f"the store URL has the unknown scheme '{scheme}', so that its hub can't be deleted.")


def _delete_sqlite(path: Path) -> None:
    from perdure.store.sqlite.lock import HubLock

    if not path.parent.is_dir():
        return
    lock = HubLock(path)
    lock.acquire()
    try:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    finally:
        lock.release()
