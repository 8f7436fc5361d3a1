"""Entities in a world where everything goes wrong, by seed. ``PERDURE_SEEDS=5000`` looks at more of them."""

import asyncio
import os
from contextlib import suppress
from typing import Any

import pytest

from perdure.engine import partition_loop
from perdure.testing.faults import Plan
from perdure.testing.virtual_clock import VirtualClock, run_simulation
from tests.simulation.bank import Bank, build_bank
from tests.simulation.test_remote import unreliable_workers
from tests.simulation.test_simulation import (  # noqa: F401 - the fixture is used by being there
    CrashPoint,
    Trouble,
    UntilLate,
    accidents,
    little_engine,
    nothing,
    unhang,
)
from tests.simulation.world import World

SEEDS = int(os.environ.get("PERDURE_SEEDS", "150"))
FIRST_SEED = int(os.environ.get("PERDURE_FIRST_SEED", "0"))
_WITH_WORKERS = (SEEDS + 2) // 3
_BATCH = 50
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


@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + SEEDS, _BATCH))
def test_random_worlds(first: int) -> None:
    checked = 0
    for seed in range(first, min(first + _BATCH, FIRST_SEED + SEEDS)):

        async def main(clock: VirtualClock) -> World:
            rate = [0, 0.01, 0.1, 0.3][seed % 4]  # noqa: B023
            return await one_bank(clock, seed, UntilLate(clock, seed, rate), 1 + seed % 7, accidents, unhang)  # noqa: B023

        world = run_simulation(main, seed)
        checked += world.checked
        assert not world.facts.violations, (
            f"seed {seed}: {world.facts.violations[:5]}\n"
            f"to see it again: PERDURE_SEEDS=1 PERDURE_FIRST_SEED={seed} python -m pytest tests/simulation/test_entities.py"
        )
    assert checked  # the replay checker was at work


@pytest.mark.parametrize("when", ["hang", "after"])
@pytest.mark.parametrize("seed", range(6))
def test_a_crash_at_every_commit(seed: int, when: Any) -> None:
    n = 0
    fired = True
    while fired:
        n += 1
        plan = CrashPoint(n, when)

        async def main(clock: VirtualClock) -> World:
            async def crash(troubled: World) -> None:
                await plan.reached.wait()  # noqa: B023
                await troubled.crash()

            return await one_bank(clock, seed, plan, 2, nothing, crash)  # noqa: B023

        world = run_simulation(main, seed)
        assert not world.facts.violations, f"seed {seed}, crash at commit {n}: {world.facts.violations[:5]}"
        fired = plan.fired
    assert n > 5


@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + _WITH_WORKERS, _BATCH))
def test_random_worlds_with_workers(first: int) -> None:
    for seed in range(first, min(first + _BATCH, FIRST_SEED + _WITH_WORKERS)):

        async def main(clock: VirtualClock) -> World:
            rate = [0, 0.01, 0.1, 0.3][seed % 4]  # noqa: B023
            plan, mix = UntilLate(clock, seed, rate), _MIXES[seed % 3]  # noqa: B023
            return await one_bank(clock, seed, plan, 1 + seed % 7, accidents, unreliable_workers, mix)  # noqa: B023

        world = run_simulation(main, seed)
        assert not world.facts.violations, (
            f"seed {seed}: {world.facts.violations[:5]}\n"
            f"to see it again: PERDURE_SEEDS=1 PERDURE_FIRST_SEED={seed} python -m pytest tests/simulation/test_entities.py"
        )
