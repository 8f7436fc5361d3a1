"""Entities in a world where everything goes wrong, by seed. ``PERDURE_SEEDS=5000`` looks at more of them."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from perdure.engine import partition_loop
from perdure.testing.faults import Plan
from perdure.testing.virtual_clock import VirtualClock, run_simulation
from tests.simulation.bank import Bank, build_bank
from tests.simulation.seeds import Trouble, batches, check_crashes, check_worlds, first_of
from tests.simulation.test_remote import unreliable_workers
from tests.simulation.test_simulation import (  # noqa: F401 - the fixture is used by being there
    UntilLate,
    accidents,
    little_engine,
    nothing,
    unhang,
)
from tests.simulation.world import World

_LONG_ENOUGH = 24 * 3600.0
_MIXES = [frozenset({"orchestrators", "entities"}), frozenset({"entities"}), frozenset({"orchestrators"})]


@pytest.fixture(autouse=True)
def small_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most messages find no turn in their own batch and have to be stored."""
    monkeypatch.setattr(partition_loop, "_MAX_GATHERED", 3)


async def one_bank(
    clock: VirtualClock,
    seed: int,
    plan: Plan,
    transfers: int,
    troubles: Trouble,
    helper: Trouble,
    elsewhere: frozenset[str] = frozenset(),
) -> World:
    """Runs a bank to the end of its business in a troubled world. The code of what is ``elsewhere`` is in workers."""
    world = World(clock, seed, plan, elsewhere)
    world.build_app = build_bank
    bank = Bank(world, transfers)
    helpers = [asyncio.create_task(help_) for help_ in (world.replace_stopped(), helper(world))]
    try:
        async with asyncio.timeout(_LONG_ENOUGH):
            await world.open()
            async with asyncio.TaskGroup() as everybody:
                everybody.create_task(troubles(world))
                everybody.create_task(bank.live())
            while bank.left_open():  # noqa: ASYNC110 - time passes in the simulated world
                await asyncio.sleep(1)
            await bank.check()
            await world.shut_down()
    except TimeoutError:
        world.facts.check(False, f"stuck: {bank.left_open()}")
        with suppress(Exception):
            await world.shut_down()
    finally:
        for task in helpers:
            task.cancel()
    return world


def run(seed: int) -> World:
    async def main(clock: VirtualClock) -> World:
        return await one_bank(clock, seed, _faults(clock, seed), 1 + seed % 7, accidents, unhang)

    return run_simulation(main, seed)


def run_with_workers(seed: int) -> World:
    async def main(clock: VirtualClock) -> World:
        plan, mix = _faults(clock, seed), _MIXES[seed % 3]
        return await one_bank(clock, seed, plan, 1 + seed % 7, accidents, unreliable_workers, mix)

    return run_simulation(main, seed)


def _faults(clock: VirtualClock, seed: int) -> Plan:
    return UntilLate(clock, seed, [0, 0.01, 0.1, 0.3][seed % 4])


@pytest.mark.parametrize("seeds", batches(150, 50), ids=first_of)
def test_random_worlds(seeds: range) -> None:
    check_worlds(run, seeds, "tests/simulation/test_entities.py")


@pytest.mark.parametrize("when", ["hang", "after"])
@pytest.mark.parametrize("seed", range(6))
def test_a_crash_at_every_commit(seed: int, when: Any) -> None:
    async def live(clock: VirtualClock, plan: Plan, crash: Trouble) -> World:
        return await one_bank(clock, seed, plan, 2, nothing, crash)

    assert check_crashes(seed, when, live) > 5


@pytest.mark.parametrize("seeds", batches(150, 50, part=3), ids=first_of)
def test_random_worlds_with_workers(seeds: range) -> None:
    check_worlds(run_with_workers, seeds, "tests/simulation/test_entities.py")
