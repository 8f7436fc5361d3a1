"""Exactly one effect per call of a transactional activity, whenever its process is killed or stopped."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import perdure as df
from tests.chaos.transactional_worker import LEASE
from tests.effects import Place
from tests.transactional_app import transactional_app

KILLS = int(os.environ.get("PERDURE_KILLS", "50")) // 5

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@pytest.fixture
def postgres_place(postgres_url: str, postgres_schema: str) -> Place:
    return Place(postgres_url, f"{postgres_schema}_effects")


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place(f"sqlite:///{tmp_path / 'hub.db'}")
    return request.getfixturevalue("postgres_place")


def worker(place: Place, style: str, inputs: list[list[str]], moment: str = "never") -> "subprocess.Popen[bytes]":
    arguments = [place.url, place.table, style, json.dumps(inputs), moment]
    return subprocess.Popen([sys.executable, "-m", "tests.chaos.transactional_worker", *arguments], stderr=subprocess.PIPE)


def end_of(process: "subprocess.Popen[bytes]") -> int:
    _, errors = process.communicate(timeout=120)
    sys.stderr.write(errors.decode()[-2000:])
    return process.returncode


def prepare(place: Place) -> None:
    """The hub with its tables, and nobody in it."""

    async def once() -> None:
        async with df.TaskHub(transactional_app(place, "async"), place.url):
            place.make_table()

    asyncio.run(once())


@pytest.mark.parametrize("style", ["def", "async"])
@pytest.mark.parametrize("moment", ["written", "committed"])
def test_a_process_that_is_killed_around_the_commit_leaves_one_effect(place: Place, style: str, moment: str) -> None:
    prepare(place)
    inputs = [["a", "b", "c"]]
    assert end_of(worker(place, style, inputs, f"{moment}:SIGKILL")) == -signal.SIGKILL
    assert place.rows() == (["a"] if moment == "written" else ["a", "b"])
    assert end_of(worker(place, style, inputs)) == 0
    assert place.rows() == ["a", "b", "c"]


@pytest.mark.parametrize("style", ["def", "async"])
def test_random_kills_neither_lose_nor_repeat_an_effect(place: Place, style: str) -> None:
    seed = int(os.environ.get("PERDURE_CHAOS_SEED", random.randrange(10**6)))
    print(f"PERDURE_CHAOS_SEED={seed}")
    luck = random.Random(seed)
    prepare(place)
    inputs = [[f"{number}/{step}" for step in range(60)] for number in range(10)]
    expected = sorted(name for names in inputs for name in names)
    kills = 0
    for _ in range(KILLS):
        process = worker(place, style, inputs)
        time.sleep(luck.uniform(0.5, 1.5))
        process.kill()
        kills += end_of(process) == -signal.SIGKILL
        rows = place.rows()
        assert len(set(rows)) == len(rows), f"seed {seed}: repeated"
    assert end_of(worker(place, style, inputs)) == 0
    assert place.rows() == expected, f"seed {seed}"
    print(f"{kills} kills")


def _until(place: Place, rows: list[str]) -> None:
    while place.rows() != rows:
        time.sleep(0.05)


@pytest.mark.parametrize("style", ["def", "async"])
@pytest.mark.parametrize("moment", ["written", "committed"])
async def test_a_process_that_wakes_up_after_its_lease_cant_commit(postgres_place: Place, style: str, moment: str) -> None:
    place = postgres_place
    await asyncio.to_thread(prepare, place)
    inputs = [["a", "b"]]
    sleeper = await asyncio.to_thread(worker, place, style, inputs, f"{moment}:SIGSTOP")
    try:
        await asyncio.to_thread(_until, place, ["a"] if moment == "written" else ["a", "b"])
        runs: list[str] = []
        app = transactional_app(place, style, written=runs.append)
        async with df.TaskHub(app, place.url, settings=df.EngineSettings(lease_duration=LEASE)) as hub:
            status = await hub.client.wait_for_completion("i0", timeout=60)
            assert status.output == ["wrote a", "wrote b"]
            assert runs == (["b"] if moment == "written" else [])
            os.kill(sleeper.pid, signal.SIGCONT)
            assert await asyncio.to_thread(end_of, sleeper) == 0
        assert place.rows() == ["a", "b"]
    finally:
        sleeper.kill()
        sleeper.wait()
