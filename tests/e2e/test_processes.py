"""``perdure start --processes``: several processes behave like one host that doesn't die."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from perdure.cli.new import Flavour, Template, create
from tests.e2e.cli import Host, perdure, running

_ENDED = re.compile(r"a process has ended with signal SIGKILL; another one starts in 1 s")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    create(folder, Template.HUMAN_INTERACTION, Flavour.PERDURE)
    return folder


def _pids(folder: Path, store: str) -> list[int]:
    """Of the processes that work on the hub."""
    members = perdure("store", "status", store, "--json", folder=folder).json()["members"]
    return [int(member["owner"].split(":")[1]) for member in members]


def _wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"


@pytest.mark.slow
def test_processes_share_port_and_hub_and_one_that_dies_is_replaced(shop: Path, postgres_url: str) -> None:
    with running(shop, "--processes", "2", "--store", postgres_url) as (host, url):
        _wait_for(lambda: len(_pids(shop, postgres_url)) == 2)
        first, second = _pids(shop, postgres_url)
        assert host.pid not in (first, second)
        os.kill(first, signal.SIGKILL)
        host.says(_ENDED)
        # One is enough to be served, and the partitions of the dead one come to the others when its lease ends.
        assert httpx.get(f"{url}/admin/host/ping").status_code == 200
        _wait_for(lambda: len(set(_pids(shop, postgres_url)) - {first}) == 2)
        code = perdure("instances", "start", "approve_expense", "--url", url, "--input", "{}", "--id", "e1", folder=shop)
        assert code.exit_code == 0, code.err
        left = set(_pids(shop, postgres_url)) - {first}
    assert all(_is_gone(pid) for pid in left)
    assert "".join(host.lines).count("Management API") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_all_of_them(number: signal.Signals, shop: Path, postgres_url: str) -> None:
    host = Host(shop, "--processes", "3", "--store", postgres_url)
    try:
        host.listening()
        assert host.end(number) == 0, "".join(host.lines)
        # Whatever state each of them was in, none has left anything behind.
        assert _pids(shop, postgres_url) == []
    finally:
        host.kill()


def test_they_drain_when_the_first_one_is_killed(shop: Path, postgres_url: str) -> None:
    host = Host(shop, "--processes", "2", "--store", postgres_url)
    try:
        host.listening()
        _wait_for(lambda: len(_pids(shop, postgres_url)) == 2)
        pids = _pids(shop, postgres_url)
    finally:
        host.kill()
    _wait_for(lambda: all(_is_gone(pid) for pid in pids))
    assert _pids(shop, postgres_url) == []


def test_an_app_that_cannot_be_loaded_ends_all_of_them_with_its_error(shop: Path, postgres_url: str) -> None:
    (shop / "function_app.py").write_text("import none_such\n", encoding="utf-8")
    done = perdure("start", "--processes", "2", "--port", "0", "--store", postgres_url, folder=shop)
    assert done.exit_code == 1
    assert "none_such" in done.err
    assert "another one starts" not in done.err


@pytest.mark.parametrize("store", ["memory://", "sqlite:///hub.db"])
def test_a_store_that_cannot_be_shared_is_refused(store: str, shop: Path) -> None:
    done = perdure("start", "--processes", "2", "--store", store, folder=shop)
    assert done.exit_code == 2
    assert re.fullmatch(r"perdure: --processes 2 needs a hub that several processes can share.*--store postgresql.*\n", done.err)
    done = perdure("start", "--role", "worker", "--port", "0", "--store", store, folder=shop)
    assert done.exit_code == 2
    assert "role 'worker' is for hubs that several processes share" in done.err


def test_reloading_several_processes_is_refused(shop: Path) -> None:
    done = perdure("start", "--processes", "2", "--reload", folder=shop)
    assert done.exit_code == 2
    assert "exclude each other" in done.err


def test_a_worker_shows_its_role_and_no_password(shop: Path, postgres_url: str) -> None:
    secret = postgres_url.replace("postgres@", "postgres:hunter2@")
    host = Host(shop, "--role", "worker", "--store", secret)
    try:
        assert host.says(re.compile(r"Health +(http://\S+/admin/host/ping)")).startswith("http://127.0.0.1:")
        host.says(re.compile("Role +worker"))
        host.says(re.compile("Ctrl-C ends it"))
        assert host.end() == 0
    finally:
        host.kill()
    assert "hunter2" not in "".join(host.lines)
    assert "expenses" not in "".join(host.lines)
    configured = perdure("config", folder=shop, variables={"PERDURE_STORE": secret})
    assert "postgres:***@" in configured.out
    assert "hunter2" not in configured.out
