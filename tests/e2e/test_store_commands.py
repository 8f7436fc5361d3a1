"""``perdure store``: hubs that are made, looked at, and moved with everything that is going on in them."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import perdure as df
from perdure.engine.copying import copy_hub
from perdure.store.sqlite import SqliteStore
from tests.e2e.cli import COMMAND, Outcome, environment, perdure
from tests.postgres import Database

QUICK = df.EngineSettings(drain_grace=timedelta(0))
app = df.DFApp()


class Gate:
    """Whether activities may finish. While it is shut, they stay where they are."""

    shut = True
    expected = 0
    reached: asyncio.Event


@app.orchestration_trigger(context_name="context")
async def greet(context: df.DurableOrchestrationContext) -> Any:
    said = await context.call_activity("say", context.get_input())
    await context.create_timer(timedelta(milliseconds=30))
    await context.call_entity(df.EntityId("counter", "c"), "add", 1)
    return [said, await context.wait_for_external_event("Go")]


@app.orchestration_trigger(context_name="context")
async def family(context: df.DurableOrchestrationContext) -> Any:
    return await context.task_all([context.call_sub_orchestrator("greet", name, f"child-{name}") for name in ("a", "b")])


@app.orchestration_trigger(context_name="context")
async def fail(context: df.DurableOrchestrationContext) -> None:
    raise ValueError(context.get_input())


@app.orchestration_trigger(context_name="context")
async def measure(context: df.DurableOrchestrationContext) -> int:
    return len(context.get_input())


@app.entity_trigger(context_name="context")
def counter(context: df.DurableEntityContext) -> None:
    context.set_state(context.get_state(lambda: 0) + (context.get_input() or 0))
    context.set_result(context.get_state())


@app.activity_trigger(input_name="name")
async def say(name: str) -> str:
    if Gate.shut:
        Gate.expected -= 1
        if not Gate.expected:
            Gate.reached.set()
        await asyncio.get_running_loop().create_future()
    return f"Hello {name}!"


async def _leave(url: str) -> None:
    """Instances in the middle of everything."""
    Gate.shut, Gate.expected, Gate.reached = True, 3, asyncio.Event()
    async with df.TaskHub(app, url, settings=QUICK) as hub:
        await hub.client.signal_entity(df.EntityId("counter", "c"), "add", 5)
        await hub.client.start_new("fail", "bad", "no luck")
        await hub.client.wait_for_completion("bad", 10)
        await hub.client.start_new("family", "f")
        await hub.client.start_new("greet", "g", "Tokyo")
        await hub.client.raise_event("g", "Go", "early")
        await Gate.reached.wait()


async def _finish(url: str) -> list[Any]:
    """What the next host makes of it."""
    Gate.shut = False
    async with df.TaskHub(app, url, settings=QUICK) as hub:
        for name in ("a", "b"):
            await hub.client.raise_event(f"child-{name}", "Go", name.upper())
        outputs: list[Any] = [(await hub.client.wait_for_completion(each, 20)).output for each in ("f", "g", "bad")]
        state = await hub.client.read_entity_state(df.EntityId("counter", "c"))
        return [*outputs, state.entity_state]


_FINISHED = [[["Hello a!", "A"], ["Hello b!", "B"]], ["Hello Tokyo!", "early"], "ValueError: no luck", 8]


def _store(folder: Path, *arguments: str, **options: Any) -> Outcome:
    return perdure("store", *arguments, folder=folder, **options)


async def test_a_hub_moves_to_postgresql_with_running_instances_and_back(tmp_path: Path, postgres_url: str) -> None:
    await _leave(f"sqlite:///{tmp_path}/hub.db")
    there = await asyncio.to_thread(_store, tmp_path, "copy", "hub.db", postgres_url, "--json")
    assert there.exit_code == 0, there.err
    assert there.err == (
        "The source is as it was. Start hosts on the copy only: from the moment that it runs, starting one on the source again "
        "would do the same work twice.\n"
    )
    numbers = there.json()
    assert numbers.keys() == {"instances", "skipped", "segments", "messages", "bytes", "seconds"}
    assert numbers["instances"] > 3
    back = await asyncio.to_thread(_store, tmp_path, "copy", postgres_url, "sqlite:///back.db")
    assert back.exit_code == 0, back.err
    assert re.match(r"\d+ instances are the same in both stores now, 0 of them were before; wrote \d+ segments and", back.out)
    # All three go on from the same moment.
    urls = (postgres_url, f"sqlite:///{tmp_path}/back.db", f"sqlite:///{tmp_path}/hub.db")
    assert [await _finish(url) for url in urls] == [_FINISHED] * 3


async def test_the_number_of_partitions_changes_by_copying(tmp_path: Path) -> None:
    await _leave(f"sqlite:///{tmp_path}/hub.db")
    made = await asyncio.to_thread(_store, tmp_path, "init", "sqlite:///other.db", "--partitions", "3")
    assert re.fullmatch(r"sqlite:///other\.db is ready: schema version \d+, 3 partitions\n", made.out)
    assert (await asyncio.to_thread(_store, tmp_path, "copy", "hub.db", "other.db")).exit_code == 0
    assert await _finish(f"sqlite:///{tmp_path}/other.db") == _FINISHED
    refused = await asyncio.to_thread(_store, tmp_path, "init", "other.db", "--partitions", "4")
    assert refused.exit_code == 1
    assert "other.db holds a hub with 3 partitions already, and that stays" in refused.err


async def _fill(database: Path, instances: int) -> None:
    async with df.TaskHub(app, f"sqlite:///{database}", settings=QUICK) as hub:
        await asyncio.gather(*(hub.client.start_new("measure", f"i{number:04}", "x" * 100_000) for number in range(instances)))
        for number in range(instances):
            await hub.client.wait_for_completion(f"i{number:04}", 30)


@contextmanager
def _copying(folder: Path, url: str, database: Database) -> Generator[subprocess.Popen[bytes]]:
    """A copy from ``hub.db`` that is in the middle of it."""
    asyncio.run(_fill(folder / "hub.db", 200))
    assert _store(folder, "init", url).exit_code == 0
    command = [*COMMAND, "store", "copy", "hub.db", url]
    with subprocess.Popen(command, cwd=folder, env=environment(), stderr=subprocess.PIPE) as process:
        while not _copied(url, database) and process.poll() is None:
            time.sleep(0.001)
        yield process


def _copied(url: str, database: Database) -> int:
    return database.value(f"SELECT count(*) FROM {url.partition('schema=')[2]}.instances")


def test_a_copy_that_was_killed_is_finished_by_the_next_one(
    tmp_path: Path, postgres_url: str, postgres_database: Database
) -> None:
    with _copying(tmp_path, postgres_url, postgres_database) as process:
        process.kill()
    left = _copied(postgres_url, postgres_database)
    assert 0 < left < 200
    refused = _store(tmp_path, "copy", "hub.db", postgres_url)
    assert refused.exit_code == 4
    assert re.search(r"the target is in use by \S+:copy-.*What was killed counts for up to 10 s more", refused.err)
    schema = postgres_url.partition("schema=")[2]
    postgres_database.execute(f"UPDATE {schema}.partitions SET expires_at = 0; DELETE FROM {schema}.members")  # time goes by
    again = _store(tmp_path, "copy", "hub.db", postgres_url, "--json")
    assert again.exit_code == 0, again.err
    assert again.json()["instances"] == 200
    # The server may have finished what the process had sent before it died.
    assert left <= again.json()["skipped"] < 200


def test_ctrl_c_gives_both_hubs_back_at_once(tmp_path: Path, postgres_url: str, postgres_database: Database) -> None:
    with _copying(tmp_path, postgres_url, postgres_database) as process:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert err == b""
    again = _store(tmp_path, "copy", "hub.db", postgres_url)
    assert again.exit_code == 0, again.err


async def test_nobody_may_work_on_either_hub(tmp_path: Path, postgres_url: str) -> None:
    async with df.TaskHub(app, f"sqlite:///{tmp_path}/hub.db", settings=QUICK):
        busy = await asyncio.to_thread(_store, tmp_path, "copy", "hub.db", postgres_url)
        assert busy.exit_code == 4
        assert f"in use by pid {os.getpid()}" in busy.err
    async with df.TaskHub(app, postgres_url, settings=QUICK):
        busy = await asyncio.to_thread(_store, tmp_path, "copy", "hub.db", postgres_url)
        assert busy.exit_code == 4
        assert f"the target is in use by {socket.gethostname()}:{os.getpid()}:" in busy.err


async def test_a_target_with_instances_of_its_own_is_refused(tmp_path: Path) -> None:
    await _fill(tmp_path / "hub.db", 1)
    await _fill(tmp_path / "other.db", 2)
    refused = await asyncio.to_thread(_store, tmp_path, "copy", "hub.db", "other.db")
    assert refused.exit_code == 1
    assert "the target holds 1 instance ('i0001') that the source does not have" in refused.err


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (("copy", "none.db", "to.db"), 3, "there is no store none.db"),
        (("copy", "memory://", "to.db"), 2, "a store in memory is gone"),
        (("copy", "hub.db", "memory://"), 2, "a store in memory is gone"),
        (("copy", "hub.db", "sqlite:///hub.db"), 2, "FROM and TO are the same store"),
        (("copy", "hub.db", "mysql://x"), 2, "unknown scheme 'mysql'"),
        (("copy", "hub.db", "none/to.db"), 1, "There is no directory"),
        (("init",), 2, "which store?"),
        (("init", "a.db", "--store", "b.db"), 2, "given twice"),
        (("init", "memory://"), 2, "a store in memory is gone"),
        (("migrate", "none.db"), 3, "there is no store none.db"),
        (("status", "--store", "none.db"), 3, "there is no store none.db"),
        (("status", "postgresql://u:secret@127.0.0.1:1/db"), 4, "127.0.0.1:1/db"),
    ],
)
def test_errors_are_one_line_that_names_the_remedy(arguments: tuple[str, ...], exit_code: int, told: str, tmp_path: Path) -> None:
    assert _store(tmp_path, "init", "hub.db").exit_code == 0
    done = _store(tmp_path, *arguments)
    assert done.exit_code == exit_code, done.err
    assert told in done.err
    assert done.err.count("\n") == 1
    assert "secret" not in done.err
    assert {path.name for path in tmp_path.iterdir()} <= {"hub.db", "hub.db.lock"}


def test_looking_at_a_schema_makes_no_hub_there(tmp_path: Path, postgres_url: str) -> None:
    """A slip in a URL must not pass for an empty hub, whose number of partitions would be fixed besides."""
    commands = (
        ("store", "status", postgres_url),
        ("store", "migrate", postgres_url),
        ("store", "copy", postgres_url, "to.db"),
        ("instances", "list", "--store", postgres_url),
    )
    for command in commands:
        done = perdure(*command, folder=tmp_path)
        assert done.exit_code == 3, done.err
        assert "there is no hub in PostgreSQL" in done.err
    assert not (tmp_path / "to.db").exists()
    assert ", 64 partitions" in _store(tmp_path, "init", postgres_url, "--partitions", "64").out


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_init_and_migrate_say_what_is_there_and_can_be_repeated(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = "sqlite:///hub.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    for arguments in (("--store", url), (url, "--partitions", "16"), ()):
        made = _store(tmp_path, "init", *arguments, variables={"PERDURE_STORE": url} if not arguments else None)
        assert re.fullmatch(r"\S+ is ready: schema version \d+, 16 partitions\n", made.out), made.err
    assert re.search(r"has schema version \d+\n", _store(tmp_path, "migrate", url).out)


async def test_status_of_a_file(tmp_path: Path) -> None:
    await _leave(f"sqlite:///{tmp_path}/hub.db")
    found = (await asyncio.to_thread(_store, tmp_path, "status", "sqlite:///hub.db", "--json")).json()
    assert (found["store"], found["kind"], found["shared"]) == ("sqlite:///hub.db", "sqlite", False)
    assert (found["schemaVersion"] >= 1, found["partitionCount"]) == (True, 16)
    assert found["instances"]["Failed"] == 1
    assert found["instancesWithOpenActivities"] >= 1
    assert (found["partitions"], found["members"]) == ([], [])
    shown = (await asyncio.to_thread(_store, tmp_path, "status", "hub.db")).out
    assert re.search(r"instances +1 Failed, \d Running", shown)
    assert "PROCESS" not in shown


async def test_status_of_a_shared_hub_shows_who_has_what_without_joining(tmp_path: Path, postgres_url: str) -> None:
    async with df.TaskHub(app, postgres_url, settings=QUICK) as hub:
        await hub.client.start_new("fail", "bad", "no luck")
        await hub.client.wait_for_completion("bad", 10)
        found = (await asyncio.to_thread(_store, tmp_path, "status", postgres_url, "--json")).json()
        again = (await asyncio.to_thread(_store, tmp_path, "status", postgres_url, "--json")).json()
        shown = (await asyncio.to_thread(_store, tmp_path, "status", postgres_url)).out
    (member,) = found["members"]
    assert member["owner"].startswith(f"{socket.gethostname()}:{os.getpid()}:")
    assert {each["owner"] for each in found["partitions"]} == {member["owner"]}
    assert again["members"] == found["members"]
    assert found["instances"] == {"Failed": 1}
    assert (found["backlogMessages"], found["oldestMessageSeconds"]) == (0, None)
    assert re.search(rf"{re.escape(member['owner'])} +yes +0 of 1000 +0-15 *\n", shown)
    left = (await asyncio.to_thread(_store, tmp_path, "status", postgres_url)).out
    assert re.search(r"\(nobody\) +0-15 *\n", left)


async def test_progress_goes_to_whoever_watches(tmp_path: Path) -> None:
    """That is, to the callback; nothing of it lands in a file."""
    await _fill(tmp_path / "hub.db", 3)
    phases: list[str] = []
    await copy_hub(
        SqliteStore(tmp_path / "hub.db"), SqliteStore(tmp_path / "to.db"), progress=lambda summary: phases.append(summary.phase)
    )
    assert list(dict.fromkeys(phases)) == ["copying", "verifying"]
