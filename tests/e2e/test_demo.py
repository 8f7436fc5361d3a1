"""The demo as a real process with real workers: what it claims is checked against what is on disk."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = 60


def demo(*arguments: str | Path, wrapper: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*wrapper, sys.executable, "-m", "examples.backup.demo", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=os.environ | {"COLUMNS": "100"},
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "a tree"
    for number in range(FILES):
        file = root / f"folder {number % 7}" / f"file {number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"line {number}\n" * number)  # the first one is empty
    (root / "ünï cödé.bin").write_bytes(bytes(range(256)) * 4096)
    (root / "link").symlink_to("folder 1")
    return root


def files_below(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def is_hub_in_use(place: Path) -> bool:
    """Whether a process has the hub open: the kernel drops this lock with its process, never earlier."""
    with (place / "hub.db.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell that runs the tests in the background has them, and what they start, ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_killed_backup_is_finished_by_the_next_worker_and_nothing_is_copied_twice(tree: Path, tmp_path: Path) -> None:
    place = tmp_path / "kept"
    done = demo(tree, "--keep", place)
    assert done.returncode == 0, done.stdout + done.stderr

    killed = re.search(r"killed with SIGKILL: (\d+) of 61 files were finished", done.stdout)
    assert killed, done.stdout
    assert 24 <= int(killed[1]) < 61
    assert len(set(re.findall(r"^worker (\d+) (?:started|opened)", done.stdout, re.MULTILINE))) == 2
    assert re.search(r"finished files copied twice\W+0\b", done.stdout)
    assert re.search(
        r"list_files completed[\s\S]*worker killed[\s\S]*verify_manifest completed[\s\S]*ended: Completed", done.stdout
    )

    expected = files_below(tree)
    assert files_below(place / "files") == expected
    manifest = [json.loads(line) for line in (place / "manifest.jsonl").read_text().splitlines()]
    assert {entry["path"]: entry["sha256"] for entry in manifest} == expected
    assert json.loads((place / "report.json").read_text())["skipped"] == 1  # the link

    log = [json.loads(line) for line in (place / "work" / "copies.log").read_text().splitlines()]
    ended: set[str] = set()
    begun: Counter[str] = Counter()
    for what, path, _ in log:
        if what == "begin":
            assert path not in ended, f"{path} was copied again"
            begun[path] += 1
        else:
            ended.add(path)
    assert begun.keys() == ended == expected.keys()
    assert sum(begun.values()) - len(begun) <= 8  # at most what was in flight
    assert not is_hub_in_use(place)


def test_a_single_file_is_killed_in_mid_copy(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "file").write_text("content")
    done = demo(tmp_path / "one")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed with SIGKILL: 0 of 1 files were finished, 1 in flight" in done.stdout


def test_a_large_tree_goes_through_sub_orchestrations(tmp_path: Path) -> None:
    tree = tmp_path / "large"
    tree.mkdir()
    for number in range(2100):
        (tree / f"{number}").write_text(str(number))
    done = demo(tree, "--keep", tmp_path / "kept")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"copy_batch sub-orchestration\W+2\b", done.stdout), done.stdout
    assert files_below(tmp_path / "kept" / "files") == files_below(tree)


def test_a_directory_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    done = demo(tmp_path / "nowhere")
    assert done.returncode == 2
    assert done.stderr == f"demo: '{tmp_path / 'nowhere'}' does not exist. Name a directory to back up.\n"


def test_a_file_is_refused_as_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = demo(tmp_path / "file")
    assert done.returncode == 2
    assert done.stderr == f"demo: '{tmp_path / 'file'}' is not a directory. Name the directory that it is in.\n"


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    done = demo(tmp_path / "empty")
    assert done.returncode == 2
    assert done.stderr == f"demo: There is no file to back up in '{tmp_path / 'empty'}'.\n"


def test_an_unreadable_file_is_named(tree: Path) -> None:
    wrapper: tuple[str, ...] = ()
    if os.geteuid() == 0:  # root may read everything, unless it gives that right up
        if shutil.which("setpriv") is None:
            pytest.skip("as root this needs setpriv")
        wrapper = ("setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search")
    (tree / "folder 3" / "file 3.txt").chmod(0)
    done = demo(tree, wrapper=wrapper)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith(f"demo: 1 file(s) in '{tree}' can't be read: folder 3/file 3.txt. ")


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("sent", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_no_worker_outlives_the_demo(sent: signal.Signals, exit_code: int, tree: Path, tmp_path: Path) -> None:
    place = tmp_path / "kept"
    deadline = time.monotonic() + 60
    with subprocess.Popen(
        [sys.executable, "-m", "examples.backup.demo", tree, "--keep", place],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while not (place / "work" / "copies.log").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert is_hub_in_use(place)
        process.send_signal(sent)
        assert process.wait(60) == exit_code
    while sent is signal.SIGKILL and is_hub_in_use(place):  # a killed demo can't wait for its worker
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not is_hub_in_use(place)
