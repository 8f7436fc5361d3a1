"""The lock that gives a database file to one engine process."""

import fcntl
import os
import socket
import weakref
from datetime import UTC, datetime
from pathlib import Path

from perdure.store.errors import HubInUseError

_held: "weakref.WeakSet[HubLock]" = weakref.WeakSet()


class HubLock:
    """Exclusive ownership of a database file, for as long as this process lives or until ``release``.

    The kernel drops the lock with its process, even after kill -9, so a lock file that was left behind is no obstacle.
    The file itself is never deleted: a second process could then lock another file of the same name.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(database.name + ".lock")
        self._fd: int | None = None

    def acquire(self) -> None:
        """Takes the lock and writes into it who has it.

        Raises:
            HubInUseError: another store object, here or in another process, has it.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            owner = f"pid {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}\n"
            os.ftruncate(fd, 0)
            os.pwrite(fd, owner.encode(), 0)
        except BlockingIOError:
            owner = os.pread(fd, 200, 0).decode(errors="replace").strip() or "a process that is just starting"
            os.close(fd)
            raise HubInUseError(
                f"The SQLite hub '{self._database}' is in use by {owner}. Only one engine process can own it: stop that process, "
                "use another database file, or use a store that many processes can share."
            ) from None
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        _held.add(self)

    def release(self) -> None:
        """Lets the next process in."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            self.forget()

    def forget(self) -> None:
        """Closes this process's handle only; whoever shares the lock keeps it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            _held.discard(self)


def _forget_in_child() -> None:
    # A forked child shares the lock of its parent: a worker process that outlives a killed engine would keep the hub locked.
    for lock in list(_held):
        lock.forget()


os.register_at_fork(after_in_child=_forget_in_child)
