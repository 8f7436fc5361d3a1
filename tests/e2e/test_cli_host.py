"""``perdure start``, and ``perdure instances`` against it."""

import os
import re
import signal
import stat
from pathlib import Path

import httpx
import pytest

from perdure.cli.new import Flavour, Template, create
from tests.e2e.cli import Host, perdure, running


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    create(folder, Template.HUMAN_INTERACTION, Flavour.PERDURE)
    return folder


def test_start_shows_every_function_and_where_it_is(shop: Path) -> None:
    with running(shop, "--store", "memory://") as (host, url):
        host.says(re.compile("Ctrl-C ends it"))
        shown = "".join(host.lines)
        assert re.search(rf"submit_expense +http +POST {url}/api/expenses\s", shown)
        assert re.search(rf"decide +http +POST {url}/api/expenses/{{id}}/decision\s", shown)
        assert re.search(r"approve_expense +orchestrator", shown)
        assert re.search(r"ask +activity", shown)
        assert "Task hub        HumanInteraction in memory://" in shown
    assert not (shop / ".perdure" / "hub.db").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_host_with_0(number: signal.Signals, shop: Path) -> None:
    host = Host(shop)
    try:
        host.listening()
        assert host.end(number) == 0, "".join(host.lines)
    finally:
        host.kill()


def test_the_whole_life_of_an_instance_from_the_shell(shop: Path) -> None:
    expense = '{"purpose": "chair", "amount": 5, "patience_seconds": 600}'
    with running(shop) as (_, url):
        reach = ("--url", url)

        def instances(*arguments: str, stdin: str = ""):
            return perdure("instances", *arguments, *reach, folder=shop, stdin=stdin)

        started = instances("start", "approve_expense", "--id", "e1", "--input", expense)
        assert (started.exit_code, started.out) == (0, "e1\n"), started.err
        assert instances("suspend", "e1").exit_code == 0
        assert instances("resume", "e1").exit_code == 0
        timed_out = instances("wait", "e1", "--timeout", "0.05")
        assert timed_out.exit_code == 5
        assert timed_out.err == "perdure: instance 'e1' has not ended after 0.05 s; it goes on.\n"
        assert instances("raise-event", "e1", "Approved").exit_code == 0
        ended = instances("wait", "e1", "--timeout", "30", "--json")
        assert ended.exit_code == 0, ended.err
        assert ended.json()["output"] == "chair: approved"
        shown = instances("show", "e1")
        assert re.search(r"status +Completed", shown.out)
        assert re.search(r"input +\{.*chair", shown.out)
        events = [event["EventType"] for event in instances("history", "e1", "--json").json()]
        assert events[0] == "ExecutionStarted"
        assert events[-1] == "ExecutionCompleted"
        again = instances("restart", "e1").out.strip()
        assert again != "e1"
        assert instances("terminate", again, "--reason", "twice").exit_code == 0
        assert instances("wait", again).exit_code == 1
        broken = instances("start", "approve_expense", "--input", "{}", "--id", "e3", "--wait", "--timeout", "30")
        assert broken.exit_code == 1, broken.err
        assert re.search(r"status +Failed", broken.out)
        assert instances("rewind", "e3").exit_code == 0
        listed = instances("list", "--json", "--name", "approve_expense").json()
        assert {each["instanceId"] for each in listed} == {"e1", again, "e3"}
        instances("wait", "e3", "--timeout", "30")
        purged = instances("purge", "--all", "--yes")
        assert purged.out == "3 deleted\n", purged.err
        assert instances("show", "e1").exit_code == 3
        unknown = instances("start", "aprove")
        assert unknown.exit_code == 1
        assert "approve_expense" in unknown.err
        assert unknown.err.count("\n") == 1


def test_the_host_of_this_folder_is_found_with_its_key(shop: Path) -> None:
    with running(shop) as (_, url):
        keys = shop / ".perdure" / "keys.json"
        assert stat.S_IMODE(keys.stat().st_mode) == 0o600
        found = perdure("instances", "list", "--json", folder=shop, variables={"PERDURE_URL": url})
        assert (found.exit_code, found.json()) == (0, []), found.err
        elsewhere = perdure("instances", "list", folder=shop.parent, variables={"PERDURE_URL": url})
        assert elsewhere.exit_code == 4
        assert "key" in elsewhere.err
        wrong = perdure("instances", "list", "--url", url, "--code", "wrong", folder=shop)
        assert wrong.exit_code == 4


def test_a_store_that_a_host_has_open_names_the_host(shop: Path) -> None:
    with running(shop) as (host, _):
        done = perdure("instances", "list", "--store", "sqlite:///.perdure/hub.db", folder=shop)
        assert done.exit_code == 4
        assert f"pid {host.pid}" in done.err
        assert "--url" in done.err
        second = perdure("start", "--port", "0", folder=shop)
        assert second.exit_code == 4
        assert f"pid {host.pid}" in second.err


def test_a_host_that_does_not_answer_is_named_with_what_to_do(shop: Path) -> None:
    with running(shop):
        pass
    done = perdure("instances", "list", "--url", "http://127.0.0.1:9", folder=shop)
    assert done.exit_code == 4
    assert "perdure start" in done.err
    assert "--store sqlite:///.perdure/hub.db" in done.err
    assert done.err.count("\n") == 1


def test_instances_survive_a_kill_of_the_host(shop: Path) -> None:
    host = Host(shop)
    try:
        url = host.listening()
        expense = {"purpose": "chair", "amount": 5}
        instance_id = httpx.post(f"{url}/api/expenses", json=expense).json()["id"]
    finally:
        host.kill()
    assert (
        perdure(
            "instances", "raise-event", instance_id, "Rejected", "--store", "sqlite:///.perdure/hub.db", folder=shop
        ).exit_code
        == 0
    )
    with running(shop) as (_, url):
        done = perdure("instances", "wait", instance_id, "--timeout", "30", "--url", url, "--json", folder=shop)
    assert done.json()["output"] == "chair: rejected"


def test_reload_starts_again_with_the_new_code_and_the_old_instances(shop: Path) -> None:
    code = shop / "function_app.py"
    host = Host(shop, "--reload")
    try:
        url = host.listening()
        instance_id = httpx.post(f"{url}/api/expenses", json={"purpose": "chair", "amount": 5}).json()["id"]
        code.write_text(code.read_text(encoding="utf-8").replace("'approved'", "'granted'"), encoding="utf-8")
        url = host.listening()
        assert httpx.post(f"{url}/api/expenses/{instance_id}/decision", json={"approved": True}).status_code == 202
        done = perdure("instances", "wait", instance_id, "--timeout", "30", "--url", url, "--json", folder=shop)
        assert done.json()["output"] == "chair: granted"
        code.write_text("this is no Python", encoding="utf-8")
        host.says(re.compile("starts again when a file changes"))
        create(shop.parent / "fresh", Template.CHAINING, Flavour.PERDURE)
        code.write_text((shop.parent / "fresh" / "function_app.py").read_text(encoding="utf-8"), encoding="utf-8")
        host.listening()
        assert host.end() == 0, "".join(host.lines)
    finally:
        host.kill()


def test_a_bad_app_ends_with_one_error(tmp_path: Path) -> None:
    (tmp_path / "function_app.py").write_text("import nothing_of_that_name\n", encoding="utf-8")
    done = perdure("start", "--port", "0", folder=tmp_path)
    assert done.exit_code == 1
    assert "nothing_of_that_name" in done.err
    assert "Traceback" not in done.err


def test_without_the_extra_the_command_says_what_to_install(tmp_path: Path) -> None:
    hidden = tmp_path / "typer.py"
    hidden.write_text("raise ImportError('no typer')\n", encoding="utf-8")
    done = perdure("--version", folder=tmp_path, variables={"PYTHONPATH": os.pathsep.join([str(tmp_path)])})
    assert done.exit_code == 2
    assert done.err == "perdure: the command line needs more than the library. Run: pip install 'perdure[host]'\n"
