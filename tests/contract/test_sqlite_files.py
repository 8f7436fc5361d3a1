"""The SQLite store and its file: who owns it, what else may be in it, and what the disk does."""

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from perdure.core.errors import EngineInvariantError
from perdure.store.contract import Commit, TurnRecord
from perdure.store.errors import HubInUseError, SchemaTooNewError, StoreError, StoreUnavailableError
from perdure.store.sqlite import SqliteStore, schema
from perdure.store.sqlite.connection import connect_writer
from perdure.testing.store_checks.harness import HOUR, OpenHub, first_turn, next_turn, opened, row, segment
from tests.contract.test_sqlite import SqliteHarness

WRITER = """
import asyncio, sys
from perdure.store.sqlite import SqliteStore, schema
from perdure.store.sqlite.connection import connect_writer
from perdure.testing.store_checks.harness import OpenHub, first_turn, next_turn

async def write():
    store = SqliteStore(sys.argv[1])
    await store.open()
    hub = OpenHub(store, await store.acquire("engine-1", range(16), 10**9))
    await hub.commit(first_turn("a"))
    seqs = iter(range(2, 10**9))

    async def one(seq):
        await hub.commit(next_turn("a", seq), *(first_turn(f"other-{seq}-{n}") for n in range(seq % 3)))
        print(seq, flush=True)

    while True:
        await asyncio.gather(*(one(next(seqs)) for _ in range(4)))

asyncio.run(write())
"""


async def test_what_was_acknowledged_survives_kill_9_and_the_dead_owner_is_no_obstacle(tmp_path: Path) -> None:
    database = tmp_path / "hub.db"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(database)], stdout=subprocess.PIPE, text=True) as writer:  # noqa: ASYNC220 - a real process is the subject
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(300)]
        with pytest.raises(HubInUseError, match=f"in use by pid {writer.pid} on .* stop that process"):
            await SqliteStore(database).open()
        writer.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout if line.endswith("\n")]
    assert writer.returncode == -signal.SIGKILL
    store = SqliteStore(database)
    await store.open()
    seqs = [found.seq for found in await store.history("a")]
    others = {seq: await store.get(f"other-{seq}-{seq % 3 - 1}") for seq in seqs if seq > 1 and seq % 3}
    await store.close()
    assert seqs == list(range(1, len(seqs) + 1))
    assert set(acknowledged) <= set(seqs)
    # Commits are whole: where the segment is, the other instances of the same commit are.
    assert all(others.values())
    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


async def test_a_second_store_in_this_process_is_refused_and_names_it(tmp_path: Path) -> None:
    database = tmp_path / "hub.db"
    async with opened(SqliteHarness(tmp_path)) as hub:
        link = tmp_path / "link.db"
        link.symlink_to(database)
        for path in (database, link):
            with pytest.raises(HubInUseError, match=f"pid {os.getpid()}"):
                await SqliteStore(path).open()
        with pytest.raises(HubInUseError):
            await hub.store.open()
        await hub.commit(first_turn("a"))


async def test_a_forked_child_does_not_keep_the_hub(tmp_path: Path) -> None:
    ready, say_ready = os.pipe()
    stop, say_stop = os.pipe()
    store = SqliteStore(tmp_path / "hub.db")
    await store.open()
    with warnings.catch_warnings():
        # Newer Pythons warn of forks beside threads; that is the situation of this test.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.write(say_ready, b"x")
        os.read(stop, 1)
        os._exit(0)
    os.read(ready, 1)
    await store.close()
    try:
        again = SqliteStore(tmp_path / "hub.db")
        await again.open()
        await again.close()
    finally:
        os.write(say_stop, b"x")
        os.waitpid(child, 0)  # noqa: ASYNC222 - it ends at once
        for handle in (ready, say_ready, stop, say_stop):
            os.close(handle)


async def test_paths_that_name_no_database_are_refused_with_the_reason(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("This is not a database, but it is long enough to have a header. " * 20)
    foreign = tmp_path / "foreign.db"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()
    for path, reason in (
        (tmp_path / "missing" / "hub.db", "There is no directory"),
        (tmp_path, "is a directory"),
        (text, "isn't an SQLite database"),
        (foreign, r"another program \(tables: customers\)"),
    ):
        for _ in range(2):  # the refused attempt must have let go of the file
            with pytest.raises(StoreError, match=reason) as caught:
                await SqliteStore(path).open()
            assert type(caught.value) is StoreError
    assert text.read_text().startswith("This is not a database")


async def test_a_damaged_database_is_reported_as_such(tmp_path: Path) -> None:
    harness = SqliteHarness(tmp_path)
    async with opened(harness) as hub:
        await hub.commit(*(first_turn(f"i{number}") for number in range(500)))
    with harness.database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (harness.database.stat().st_size - 4096))
    with pytest.raises(StoreError, match="is damaged"):
        await harness.store().open()


async def test_close_leaves_one_file_and_the_lock_file(tmp_path: Path) -> None:
    for _ in range(10):
        async with opened(SqliteHarness(tmp_path)) as hub:
            await hub.commit(TurnRecord(instance_id="a", row=row("a")))
            await hub.store.load(["a"])
            await hub.store.count()
        left = sorted(path.name for path in tmp_path.iterdir())  # noqa: ASYNC240 - nothing else runs in this loop
        assert left == ["hub.db", "hub.db.lock"]


def test_commits_wait_for_the_disk(tmp_path: Path) -> None:
    connection = connect_writer(tmp_path / "hub.db")
    settings = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    connection.close()
    assert settings == ["wal", 2]


async def test_an_open_that_is_cancelled_gives_the_hub_back(tmp_path: Path) -> None:
    for turns_of_the_loop in range(6):
        opening = asyncio.ensure_future(SqliteHarness(tmp_path).store().open())
        for _ in range(turns_of_the_loop):
            await asyncio.sleep(0)
        if opening.done():
            pytest.fail("nothing was cancelled")
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        async with opened(SqliteHarness(tmp_path)) as hub:
            assert await hub.store.count() == {}


def test_an_event_loop_that_ends_early_does_not_stop_what_was_called(tmp_path: Path) -> None:
    async def commit_and_leave() -> OpenHub:
        store = SqliteStore(tmp_path / "hub.db")
        await store.open()
        hub = OpenHub(store, await store.acquire("engine-1", range(16), HOUR))
        tasks = [asyncio.ensure_future(hub.commit(first_turn(f"i{number}"))) for number in range(20)]
        await asyncio.sleep(0)
        assert not all(task.done() for task in tasks)
        return hub

    hub = asyncio.run(commit_and_leave())

    async def close_and_count() -> dict[str, int]:
        # Behind all the others.
        await hub.store.commit(Commit(leases=hub.leases, turns=[]))
        counted = await hub.store.count()
        await hub.store.close()
        return counted

    assert asyncio.run(close_and_count()) == {"Running": 20}


async def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    harness = SqliteHarness(tmp_path)
    async with opened(harness):
        pass
    connection = sqlite3.connect(harness.database)
    connection.execute("UPDATE meta SET value = 99 WHERE key = 'schema_version'")
    connection.commit()
    with pytest.raises(SchemaTooNewError, match=r"schema version 99.*Upgrade Perdure"):
        await harness.store().open()
    assert connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone() == (99,)
    connection.close()


async def test_a_failed_first_migration_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = SqliteHarness(tmp_path)
    monkeypatch.setattr(schema, "_migrations", lambda: ["CREATE TABLE meta (key TEXT);\n", "CREATE TABLE oops (;\n"])
    with pytest.raises(StoreError):
        await harness.store().open()
    monkeypatch.undo()
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"))


async def test_the_partition_count_of_a_hub_stays(tmp_path: Path) -> None:
    for wanted in (4, 9):
        store = SqliteStore(tmp_path / "hub.db", partition_count=wanted)
        assert (await store.open()).partition_count == 4
        assert len(await store.acquire("engine-1", range(20), 1)) == 4
        await store.close()


async def test_a_database_that_another_program_keeps_locked_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.store.sqlite.connection.BUSY_TIMEOUT_SECONDS", 0.01)
    harness = SqliteHarness(tmp_path)
    async with opened(harness) as hub:
        await hub.commit(first_turn("a"))
        other = sqlite3.connect(harness.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for write in (lambda: hub.commit(next_turn("a", 2)), lambda: hub.store.release(hub.leases)):
            with pytest.raises(StoreUnavailableError, match="locked") as caught:
                await write()
            assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert (await hub.store.load(["a"]))["a"].segments == [segment(1)]
        other.execute("ROLLBACK")
        other.close()
        await hub.commit(next_turn("a", 2))
        assert await hub.seqs("a") == [1, 2]


async def test_a_full_disk_is_unavailable_and_the_store_goes_on_when_there_is_room(tmp_path: Path) -> None:
    async with opened(SqliteHarness(tmp_path)) as hub:
        await hub.commit(first_turn("a"))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        # The next megabyte doesn't fit into the write-ahead log.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
        try:
            with pytest.raises(StoreUnavailableError, match="Check free disk space"):
                await hub.commit(*(next_turn("a", seq) for seq in range(2, 9)), first_turn("b", custom_status="x" * (2 << 20)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert await hub.seqs("a") == [1]
        await hub.commit(next_turn("a", 2))
        assert await hub.seqs("a") == [1, 2]


async def test_a_nul_character_in_an_id_is_refused_not_cut(tmp_path: Path) -> None:
    async with opened(SqliteHarness(tmp_path)) as hub:
        with pytest.raises(EngineInvariantError, match="NUL"):
            await hub.commit(first_turn("a\0b"))
        assert await hub.store.count() == {}
        await hub.commit(first_turn("a", custom_status='"\\u0000"', tags={"k": "\0"}))
        loaded = (await hub.store.load(["a"]))["a"].row
        assert (loaded.custom_status, loaded.tags) == ('"\\u0000"', {"k": "\0"})


async def test_the_write_ahead_log_stays_bounded(tmp_path: Path) -> None:
    async with opened(SqliteHarness(tmp_path)) as hub:
        await hub.commit(first_turn("a"))
        for seq in range(2, 42):
            await hub.commit(next_turn("a", seq))
            await hub.commit(TurnRecord(instance_id="b", row=row("b"), segment=segment(1, b"x" * (1 << 20)), reset=True))
        log = tmp_path / "hub.db-wal"
        assert log.stat().st_size < 24 << 20


async def test_opening_ends_the_leases_of_an_owner_that_was_killed(tmp_path: Path) -> None:
    for_ever = 10**15
    killed = SqliteStore(tmp_path / "hub.db")
    await killed.open()
    before = await killed.acquire("killed", [0, 1], for_ever)
    await killed.close()  # without release, as after a kill
    store = SqliteStore(tmp_path / "hub.db")
    await store.open()
    try:
        after = await store.acquire("next", [0, 1], for_ever)
        assert [lease.epoch for lease in after] == [lease.epoch + 1 for lease in before]
    finally:
        await store.close()
