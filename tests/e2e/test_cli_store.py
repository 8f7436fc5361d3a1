"""``perdure instances`` straight on a store: what is sent waits for the next host, and nothing is lost or run meanwhile."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import perdure as df
from perdure.cli.stored import open_stored
from perdure.core import features
from perdure.core.events import ExecutionStarted
from perdure.core.ids import partition_of
from perdure.core.messages import Message, encode_message
from perdure.store.contract import Commit, StoredMessage
from perdure.store.errors import HubInUseError
from perdure.store.opening import open_store
from tests.e2e.cli import perdure

QUICK = df.EngineSettings(drain_grace=timedelta(0))
app = df.DFApp()
calls: list[str] = []


class Gate:
    """Whether activities may finish. While it is shut, they stay where they are."""

    shut = True
    reached: asyncio.Event


@app.orchestration_trigger(context_name="context")
async def greet(context: df.DurableOrchestrationContext) -> Any:
    said = await context.call_activity("say", context.get_input())
    return [said, await context.wait_for_external_event("Go")]


@app.orchestration_trigger(context_name="context")
async def parent(context: df.DurableOrchestrationContext) -> Any:
    return await context.call_sub_orchestrator("doze", None, "the-child")


@app.orchestration_trigger(context_name="context")
async def doze(context: df.DurableOrchestrationContext) -> str:
    await context.create_timer(timedelta(milliseconds=50))
    return "awake"


@app.orchestration_trigger(context_name="context")
async def fail(context: df.DurableOrchestrationContext) -> None:
    raise ValueError(context.get_input())


@app.activity_trigger(input_name="name")
async def say(name: str) -> str:
    calls.append(name)
    if Gate.shut:
        Gate.reached.set()
        await asyncio.get_running_loop().create_future()
    return f"Hello {name}!"


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """Left in the middle: one activity runs, one timer is due, one instance has failed, one has completed."""

    async def leave() -> None:
        Gate.shut, Gate.reached = True, asyncio.Event()
        async with df.TaskHub(app, f"sqlite:///{tmp_path}/hub.db", settings=QUICK) as hub:
            await hub.client.start_new("greet", "one", "Tokyo")
            await hub.client.start_new("doze", "two")
            for instance_id in ("bad-1", "bad-2"):
                await hub.client.start_new("fail", instance_id, "no luck")
                await hub.client.wait_for_completion(instance_id, 10)
            await Gate.reached.wait()

    calls.clear()
    asyncio.run(leave())
    return tmp_path


def _finish(folder: Path, *instance_ids: str) -> dict[str, Any]:
    """What the next host makes of it."""

    async def finish() -> dict[str, Any]:
        Gate.shut = False
        async with df.TaskHub(app, f"sqlite:///{folder}/hub.db", settings=QUICK) as hub:
            return {each: (await hub.client.wait_for_completion(each, 20)).output for each in instance_ids}

    return asyncio.run(finish())


def _instances(hub: Path, *arguments: str, stdin: str = "") -> Any:
    return perdure("instances", *arguments, "--store", "sqlite:///hub.db", folder=hub, stdin=stdin)


def test_looking_changes_nothing_and_runs_nothing(hub: Path) -> None:
    listed = _instances(hub, "list", "--json").json()
    assert [(each["instanceId"], each["name"], each["runtimeStatus"]) for each in listed] == [
        ("bad-1", "fail", "Failed"),
        ("bad-2", "fail", "Failed"),
        ("one", "greet", "Running"),
        ("two", "doze", "Running"),
    ]
    assert _instances(hub, "show", "one", "--json").json()["input"] == "Tokyo"
    history = [event["EventType"] for event in _instances(hub, "history", "one", "--json").json()]
    assert history == ["ExecutionStarted"]
    assert [event["EventType"] for event in _instances(hub, "history", "two", "--json").json()] == ["ExecutionStarted"]


def test_what_is_sent_waits_for_the_next_host(hub: Path) -> None:
    assert _instances(hub, "raise-event", "one", "Go", "--data", '{"by": "Grace"}').exit_code == 0
    started = _instances(hub, "start", "Greet", "--id", "three", "--input", "-", stdin='"Oslo"')
    assert (started.exit_code, started.out) == (0, "three\n")
    assert _instances(hub, "start", "parent", "--id", "four").exit_code == 0
    assert _instances(hub, "suspend", "three", "--reason", "later").exit_code == 0
    assert _instances(hub, "show", "three", "--json").json()["runtimeStatus"] == "Suspended"
    assert _instances(hub, "resume", "three").exit_code == 0
    assert _instances(hub, "raise-event", "three", "Go").exit_code == 0
    assert _instances(hub, "show", "the-child").exit_code == 3  # nothing has called it yet
    assert calls == ["Tokyo"]
    outputs = _finish(hub, "one", "two", "three", "four")
    assert outputs == {
        "one": ["Hello Tokyo!", {"by": "Grace"}],
        "two": "awake",
        "three": ["Hello Oslo!", None],
        "four": "awake",
    }


def test_an_instance_of_which_only_the_start_is_stored_can_be_terminated(hub: Path) -> None:
    new_id = _instances(hub, "start", "greet", "--json").json()["instanceId"]
    assert _instances(hub, "terminate", new_id, "--reason", "not needed").exit_code == 0
    shown = _instances(hub, "show", new_id, "--json").json()
    assert (shown["runtimeStatus"], shown["output"]) == ("Terminated", "not needed")


def test_restarting_and_rewinding_wait_for_the_next_host(hub: Path) -> None:
    new_id = _instances(hub, "restart", "bad-1").out.strip()
    assert _instances(hub, "show", new_id, "--json").json()["input"] == "no luck"
    assert _instances(hub, "rewind", "bad-2", "--reason", "fixed").exit_code == 0
    assert _instances(hub, "show", "bad-2", "--json").json()["runtimeStatus"] != "Failed"
    assert _finish(hub, new_id, "bad-2") == {new_id: "ValueError: no luck", "bad-2": "ValueError: no luck"}


def test_filters_narrow_the_list(hub: Path) -> None:
    def ids(*filters: str) -> list[str]:
        return [each["instanceId"] for each in _instances(hub, "list", "--json", *filters).json()]

    assert ids("--status", "failed") == ["bad-1", "bad-2"]
    assert ids("--status", "failed,RUNNING") == ["bad-1", "bad-2", "one", "two"]
    assert ids("--name", "Greet") == ["one"]
    assert ids("--prefix", "bad") == ["bad-1", "bad-2"]
    assert ids("--created-after", "1h") == ["bad-1", "bad-2", "one", "two"]
    assert ids("--created-before", "2020-01-01") == []
    assert ids("--limit", "1") == ["bad-1"]
    assert "there are more" in _instances(hub, "list", "--limit", "1").err


def test_the_table_shows_each_instance_on_a_line(hub: Path) -> None:
    lines = _instances(hub, "list").out.splitlines()
    assert lines[0].split() == ["INSTANCE", "ORCHESTRATOR", "STATUS", "CREATED", "UPDATED", "CUSTOM", "STATUS"]
    assert [line.split()[:3] for line in lines[1:]] == [
        ["bad-1", "fail", "Failed"],
        ["bad-2", "fail", "Failed"],
        ["one", "greet", "Running"],
        ["two", "doze", "Running"],
    ]


def test_purging_needs_to_be_told_what_and_that_it_is_meant(hub: Path) -> None:
    assert _instances(hub, "purge").exit_code == 2
    refused = _instances(hub, "purge", "--all")
    assert refused.exit_code == 2
    assert refused.err == "perdure: 2 instances would be deleted. Add --yes to do it.\n"
    assert _instances(hub, "purge", "one", "--all").exit_code == 2
    assert _instances(hub, "purge", "--all", "--yes", "--json").json() == {"instancesDeleted": 2}
    assert [each["instanceId"] for each in _instances(hub, "list", "--json").json()] == ["one", "two"]
    running = _instances(hub, "purge", "one")
    assert running.exit_code == 1
    assert "one" in running.err


def test_purging_some_that_exist_and_some_that_do_not_tells_both(hub: Path) -> None:
    done = _instances(hub, "purge", "bad-1", "nobody", "bad-2", "no-one")
    assert done.exit_code == 3
    assert done.err == "perdure: there is no instance 'nobody', 'no-one'; 2 deleted.\n"
    assert [each["instanceId"] for each in _instances(hub, "list", "--json").json()] == ["one", "two"]


def test_purging_many_leaves_nothing_on_an_error_stream_that_nobody_watches(hub: Path) -> None:
    done = _instances(hub, "purge", "--all", "--yes")
    assert (done.out, done.err) == ("2 deleted\n", "")


def test_terminating_what_has_ended_does_not_claim_to_have_done_it(hub: Path) -> None:
    done = _instances(hub, "terminate", "bad-1")
    assert (done.exit_code, done.out) == (0, "bad-1 has ended already; its status is Failed\n")
    assert _instances(hub, "terminate", "nobody").exit_code == 3


def test_waiting_for_what_nothing_runs_says_so_instead_of_waiting(hub: Path) -> None:
    done = _instances(hub, "wait", "one")
    assert done.exit_code == 1
    assert "nothing runs it: start its host" in done.err
    failed = _instances(hub, "wait", "bad-1", "--json")
    assert failed.exit_code == 1
    assert failed.json()["output"] == "ValueError: no luck"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (("show", "nobody"), 3, "there is no instance 'nobody'"),
        (("raise-event", "nobody", "Go"), 3, "there is no instance 'nobody'"),
        (("raise-event", "bad-1", "Go"), 1, "bad-1"),
        (("raise-event", "one", "Go", "--data", "hello"), 2, "--data '\"text\"'"),
        (("raise-event", "one", "Go", "--data", "@missing.json"), 2, "missing.json can't be read"),
        (("start", "greet", "--id", "one"), 1, "one"),
        (("start", "greet", "--id", "a/b"), 2, "a/b"),
        (("list", "--status", "Fine"), 2, "there is no status 'Fine'"),
        (("list", "--created-after", "yesterday"), 2, "'yesterday' is no time"),
        (("list", "--url", "http://localhost:1"), 2, "exclude each other"),
    ],
)
def test_errors_are_one_line_that_names_the_remedy(hub: Path, arguments: tuple[str, ...], exit_code: int, told: str) -> None:
    done = _instances(hub, *arguments)
    assert done.exit_code == exit_code, done.err
    assert told in done.err
    assert done.err.count("\n") == 1
    assert done.err.startswith("perdure: ")


@pytest.mark.parametrize(("store", "exit_code"), [("sqlite:///none.db", 3), ("memory://", 2), ("mysql://x", 2)])
def test_a_store_that_is_not_there_is_not_made(store: str, exit_code: int, tmp_path: Path) -> None:
    done = perdure("instances", "list", "--store", store, folder=tmp_path)
    assert done.exit_code == exit_code, done.err
    assert list(tmp_path.iterdir()) == []


async def test_a_hub_that_is_open_elsewhere_names_its_process_and_the_way_in(tmp_path: Path) -> None:
    async with df.TaskHub(app, f"sqlite:///{tmp_path}/hub.db", settings=QUICK):
        with pytest.raises(HubInUseError, match=r"(?s)pid \d+.*address of its management API as --url"):
            async with open_stored(f"sqlite:///{tmp_path}/hub.db"):
                pass
        done = await asyncio.to_thread(_instances, tmp_path, "list")
    assert done.exit_code == 4
    assert "--url" in done.err


async def test_a_passive_engine_leaves_stored_messages_alone(tmp_path: Path) -> None:
    """A sub-orchestration that was asked for, but not started before a crash, must not fail because its code isn't here."""
    url = f"sqlite:///{tmp_path}/hub.db"
    store = open_store(url)
    info = await store.open()
    leases = await store.acquire("test", range(info.partition_count), 10**9)
    started = Message("the-child", ExecutionStarted(name="doze", execution_id="e", features=features.CURRENT))
    partition = partition_of("the-child", info.partition_count)
    message = StoredMessage("m", "the-child", partition, encode_message(started))
    await store.commit(Commit(leases=[leases[partition]], turns=(), outbox=[message]))
    await store.release(leases)
    await store.close()
    async with open_stored(url) as stored:
        assert not await stored.get_status("the-child")
    async with df.TaskHub(app, url, settings=QUICK) as hub:
        # Starting it again finds the one of the message, which came first.
        await hub.client.start_new("doze", "the-child", reuse_policy=df.ReusePolicy.RETURN_EXISTING)
        assert (await hub.client.wait_for_completion("the-child", 20)).output == "awake"
    async with open_stored(url) as stored:
        assert (await stored.get_status("the-child", show_history=True)).history is not None
