"""A throw-away PostgreSQL server, and hubs on it.

Debian keeps the server's programs off the PATH; as root they refuse to run, so the server belongs to the user ``postgres`` then.
"""

import asyncio
import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg

from perdure.store.postgres import PostgresStore

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "logging_collector": "off",
    "log_min_messages": "warning",
    # Nothing of these tests is about how fast a disk is.
    "fsync": "off",
    "full_page_writes": "off",
}


class Cluster:
    """One server with one database, from ``start`` to ``stop``."""

    def __init__(self, settings: Mapping[str, str] | None = None, directory: Path | None = None) -> None:
        """``directory``: where the server's folder goes, if not to the temporary files."""
        self.settings = _SETTINGS | dict(settings or {})
        self.folder = Path(tempfile.mkdtemp(prefix="perdure-postgres-", dir=directory))
        self.port = _free_port()
        self._bin = server_programs()
        self._user = _user()
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            shutil.chown(self.folder, self._user)
            if directory is not None:
                directory.chmod(0o711)  # the server has to get through it
        self._run(
            "initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "-D", "data"
        )

    @property
    def url(self) -> str:
        """Of the database, for its superuser."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        """Of the server's first process, whose children are all others; 0 while it doesn't run."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Returns when the server takes connections."""
        options = [f"--{name}={value}" for name, value in (self.settings | {"port": str(self.port)}).items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", "data", "-k", self.folder, *options],
                cwd=self.folder,
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
            )
        self._run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-d", "postgres", until_it_works=True)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends the server: SIGINT breaks off all connections, SIGQUIT is a crash."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(60)

    def remove(self) -> None:
        """Ends the server and deletes everything."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder)

    def log(self) -> str:
        """What the server has written so far."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def _run(self, program: str, *arguments: str, until_it_works: bool = False) -> None:
        while True:
            done = subprocess.run(
                [self._bin / program, *arguments],
                cwd=self.folder,
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                capture_output=True,
                check=False,
            )
            if done.returncode == 0:
                return
            if not until_it_works or self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"{program} failed: {done.stderr.decode()} {self.log() if until_it_works else ''}")


class Database:
    """Statements of a test, beside all event loops, so that a test may run them wherever it stands."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="test database")
        self._thread.start()
        self._connection: asyncpg.Connection[Any] = self._call(asyncpg.connect(url))

    def execute(self, sql: str) -> None:
        """Runs statements that give nothing."""
        self._call(self._connection.execute(sql))

    def value(self, sql: str, *arguments: Any) -> Any:
        """The first column of the first row."""
        return self._call(self._connection.fetchval(sql, *arguments))

    def close(self) -> None:
        """Ends the connection and the thread."""
        self._call(self._connection.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Any) -> Any:
        async def run() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(60)


class PostgresHarness:
    """A new, empty hub whose clock stands still: what the contract suite asks for."""

    exclusive = False

    def __init__(self, url: str, database: Database, schema: str, partition_count: int = 16) -> None:
        self.url = f"{url}?schema={schema}"
        self.schema = schema
        self.database = database
        self._partition_count = partition_count
        asyncio.run_coroutine_threadsafe(self._make(), database._loop).result(60)  # noqa: SLF001
        database.execute(
            f"""
            CREATE TABLE {schema}.test_clock AS SELECT 1800000000000000::bigint AS now;
            CREATE OR REPLACE FUNCTION {schema}.now_us() RETURNS bigint LANGUAGE sql VOLATILE
                AS 'SELECT now FROM {schema}.test_clock';
            """
        )

    async def _make(self) -> None:
        store = self.store()
        await store.open()
        await store.close()

    def store(self) -> PostgresStore:
        return PostgresStore(self.url, partition_count=self._partition_count)

    def set_clock(self, now: int) -> None:
        """Puts the hub's clock to a time."""
        self.database.execute(f"UPDATE {self.schema}.test_clock SET now = {now}")

    def advance(self, microseconds: int) -> None:
        self.database.execute(f"UPDATE {self.schema}.test_clock SET now = now + {microseconds}")


@contextlib.contextmanager
def running_cluster(settings: Mapping[str, str] | None = None, directory: Path | None = None) -> Iterator[Cluster]:
    """A server for as long as the context lasts."""
    cluster = Cluster(settings, directory)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


def server_programs() -> Path:
    """The folder of ``initdb`` and its like.

    Raises:
        RuntimeError: there is none.
    """
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parent.parent.name))
    if not versions:
        raise RuntimeError("A PostgreSQL server has to be started: install it (Debian: apt-get install postgresql).")
    return versions[-1].parent


def _user() -> str | None:
    if os.geteuid() != 0:
        return None
    pwd.getpwnam("postgres")
    return "postgres"


def _die_with_parent() -> None:
    # A test run that is killed must not leave a server behind.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
