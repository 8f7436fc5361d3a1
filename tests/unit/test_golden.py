"""Histories of every release replay unchanged, and what is written today is what was written then (rule 12)."""

import json
from pathlib import Path
from typing import Any

import pytest

from perdure.core.orchestration import Orchestration
from tests.golden import orchestrators, record
from tests.unit.driver import Style, World, messages_of, without_tracebacks

FILES = sorted(record.FOLDER.glob("*.json"))


def world_of(style: Style) -> World:
    world = World(style)
    world.describe = without_tracebacks
    orchestrators.register(world)
    return world


def test_every_run_has_been_recorded():
    assert {file.stem for file in FILES} >= {f"{record.RELEASE}-{name}" for name in record.RUNS}


@pytest.mark.parametrize("style", ["generator", "coroutine"])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_turn_of_a_golden_history_comes_out_the_same_again(file: Path, style: Style):
    world = world_of(style)
    turns = 0
    histories: dict[str, list[list[Any]]] = json.loads(file.read_text(encoding="utf-8"))
    for instance_id, generations in histories.items():
        for segments in generations:
            stored = [json.dumps(segment).encode() for segment in segments]
            for cut, segment in enumerate(segments):
                orchestration = Orchestration(instance_id, world.app, world.converter, 0, world.describe)
                orchestration.replay(enumerate(stored[:cut]), None)
                at, messages = messages_of(stored[cut], instance_id)
                turn = orchestration.turn(messages, at)
                assert turn.events is not None
                assert not turn.reset
                assert json.loads(turn.events) == segment
                turns += 1
    assert turns == sum(len(segments) for generations in histories.values() for segments in generations)


@pytest.mark.parametrize("name", record.RUNS)
def test_todays_runs_are_the_recorded_ones(name: str):
    file = record.FOLDER / f"{record.RELEASE}-{name}.json"
    assert record.recorded(record.RUNS[name]) == json.loads(file.read_text(encoding="utf-8"))


def test_golden_histories_hold_every_kind_of_event():
    seen: set[str] = set()
    for file in FILES:
        histories = json.loads(file.read_text(encoding="utf-8"))
        seen |= {
            event["type"]
            for generations in histories.values()
            for segments in generations
            for segment in segments
            for event in segment
        }
    assert len(seen) == 23, sorted(seen)
