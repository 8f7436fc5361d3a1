"""Every example is run as its user runs it, as a program of its own, and says what it should."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXPECTED = {
    "hello": [
        "hello_generator: Completed, ['Hello Tokyo!', 'Hello Seattle!', 'Hello London!']",
        "hello_coroutine: Completed, ['Hello Tokyo!', 'Hello Seattle!', 'Hello London!']",
    ],
    "fan_out_fan_in": ["21 words in 3 texts; most frequent: [('the', 4), ('a', 3)]"],
    "human_interaction": ["new chair: approved by Grace", "new boat: nobody answered; passed on to the next level"],
    "monitor": ["nightly import was done at look 5; the last generation's history has 3 events"],
    "retries_and_failures": [
        "book_trip(Tokyo): Completed, ['room in Tokyo (attempt 3)', 'flight to HND']",
        "book_trip(Atlantis): Completed, ['no trip: there is no airport in Atlantis', 'cancelled: room in Atlantis (attempt 3)']",
        "book_flight_only(Atlantis): Failed, perdure.TaskFailedError: ",
        "  ValueError: there is no airport in Atlantis",
        "  KeyError: 'Atlantis'",
    ],
    "typed_payloads": ["Completed: {'order': '5f0c3c9e-7d1b-4e0a-9d53-0c1f6f6a7a11', 'due': '2026-02-28T04:05:00Z', "],
    "sub_orchestrations": [
        "{'north': 'table shipped, lamp shipped', 'south': 'failed: the sofa does not fit through the door'}",
        "move-7-north: Completed",
        "move-7-south: Failed",
    ],
    "blocking_script": ["the-one-run: Completed, ['step 1 done', 'step 2 done', 'step 3 done'], created "],
    "entity_counter": [
        "2 items for 650 cents; luck costs less than nothing",
        "items: 2",
        "later: 12",
        "left: ['@counter@items']",
    ],
    "bank_transfer": ["40 of 40 done, 400 in all accounts"],
    "order_transactions": [
        "order 1 again: UNIQUE constraint failed: orders.number",
        "order-1: 4 chairs shipped",
        "order-2: refused: not enough chairs",
        "order-3: never was",
        "6 chairs left, 1 booking",
    ],
    "process_pool": ["5133 primes below 50,000; counted outside of this process: True"],
}


def run(name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", f"examples.{name}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", EXPECTED)
def test_example_prints_its_result(name: str) -> None:
    done = run(name)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for expected in EXPECTED[name]:
        assert any(line.startswith(expected) for line in lines), f"{expected!r} is not in:\n{done.stdout}{done.stderr}"


def test_a_second_run_of_the_blocking_script_finds_the_first_ones_result() -> None:
    first, second = run("blocking_script").stdout.splitlines()
    assert first == second  # the time of creation is part of the line


def test_every_example_is_tested() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} - {"__init__"} == EXPECTED.keys()
