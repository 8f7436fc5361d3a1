"""The engine in a world where everything goes wrong, by seed. ``PERDURE_SEEDS=5000`` looks at more of them."""

import asyncio
import itertools
import os
import random
import socket
from contextlib import suppress
from typing import Any, cast

import pytest

from perdure.engine import hydration, partition_loop, recovery
from perdure.engine.timers import Timers
from perdure.store.errors import LeaseLostError
from perdure.testing.faults import Fault, Plan, SeededFaults, incremental
from perdure.testing.virtual_clock import VirtualClock, run_simulation
from tests.simulation.seeds import Trouble, batches, check_crashes, check_failing_calls, check_worlds, first_of
from tests.simulation.workload import Client, build_app, left_open
from tests.simulation.world import World

_ids = random.Random()
_LONG_ENOUGH = 24 * 3600.0
_STORE_CALLS = ("open", "acquire", "commit", "load", "inbox", "with_pending", "due", "get", "history")


@pytest.fixture(autouse=True)
def little_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that comes in pages does so from the beginning, and new ids come from the seed."""
    monkeypatch.setattr(recovery, "_PAGE", 2)
    monkeypatch.setattr(hydration, "_LOAD_AT_ONCE", 2)
    monkeypatch.setattr(partition_loop, "_ROUNDS", 3)
    monkeypatch.setitem(cast("dict[str, Any]", Timers.__init__.__kwdefaults__), "capacity", 3)
    monkeypatch.setattr(os, "urandom", _ids.randbytes)
    numbers = itertools.count()
    monkeypatch.setattr(socket, "gethostname", lambda: f"machine{next(numbers)}")  # each is one of its own


class UntilLate(SeededFaults):
    """Faults for a while; then the world heals, so that everything can end."""

    def __init__(self, clock: VirtualClock, seed: int, rate: float) -> None:
        faults = [Fault("before"), Fault("after"), Fault("hang"), Fault("before", LeaseLostError)]
        super().__init__(seed, rate, _STORE_CALLS, faults)
        self._clock = clock

    def fault(self, method: str) -> Fault | None:
        """See ``Plan``."""
        found = super().fault(method) if self._clock.elapsed() < 100 else None
        # Only commits and renewals find out that a lease is lost.
        return Fault("before") if found is not None and found.error is LeaseLostError and method != "commit" else found


async def accidents(world: World) -> None:
    """Crashes, restarts and take-overs at random times."""
    luck = world.luck
    for _ in range(luck.choice([0, 1, 3, 8])):
        await asyncio.sleep(luck.choice([0, 0.01, 0.5, 3, 20]) * luck.random())
        await luck.choice([world.crash, world.crash, world.restart, world.usurp])()


async def nothing(world: World) -> None:
    """The failing call is trouble enough."""


async def unhang(world: World) -> None:
    """Whatever hangs goes on some time."""
    while True:
        await asyncio.sleep(world.luck.choice([0.5, 5]))
        world.let_go()


async def one_world(
    clock: VirtualClock,
    seed: int,
    plan: Plan,
    clients: int,
    troubles: Trouble,
    helper: Trouble = unhang,
    elsewhere: frozenset[str] = frozenset(),
) -> World:
    """Runs clients to their end in a troubled world; ``helper`` is at work as long as that takes."""
    _ids.seed(seed)
    world = World(clock, seed, plan, elsewhere)
    world.build_app = build_app
    helpers = [asyncio.create_task(help_) for help_ in (world.replace_stopped(), helper(world))]
    try:
        async with asyncio.timeout(_LONG_ENOUGH):
            await world.open()
            async with asyncio.TaskGroup() as everybody:
                everybody.create_task(troubles(world))
                for number in range(clients):
                    everybody.create_task(Client(world, f"i{number}").live(runs=world.luck.choice([1, 1, 2])))
            while left_open(world):  # noqa: ASYNC110 - time passes in the simulated world
                await asyncio.sleep(1)  # children of what was terminated or replaced
            await world.shut_down()
    except TimeoutError:
        world.facts.check(False, f"stuck: {left_open(world)}")
        with suppress(Exception):
            await world.shut_down()
    finally:
        for task in helpers:
            task.cancel()
    return world


def run(seed: int) -> World:
    async def main(clock: VirtualClock) -> World:
        rate = [0, 0.01, 0.1, 0.3][seed % 4]
        return await one_world(clock, seed, UntilLate(clock, seed, rate), 1 + seed % 6, accidents)

    return run_simulation(main, seed)


@pytest.mark.parametrize("seeds", batches(250, 50), ids=first_of)
def test_random_worlds(seeds: range) -> None:
    check_worlds(run, seeds, "tests/simulation/test_simulation.py")


METHODS = [("commit",), ("load", "inbox", "with_pending", "due"), ("open", "acquire")]
KINDS = [*((methods, when, None) for methods in METHODS for when in ("before", "after")), (("commit",), "before", LeaseLostError)]


@pytest.mark.parametrize(("methods", "when", "error"), KINDS, ids=str)
@pytest.mark.parametrize("seed", range(2))
def test_every_store_call_fails_once(seed: int, methods: tuple[str, ...], when: Any, error: Any) -> None:
    async def live(clock: VirtualClock, plan: Plan) -> World:
        return await one_world(clock, seed, plan, 2, nothing)

    plans = incremental(*methods, when=when, **({"error": error} if error else {}))
    assert check_failing_calls(seed, plans, live) > 1


@pytest.mark.parametrize("when", ["hang", "after"])
@pytest.mark.parametrize("seed", range(7))
def test_a_crash_at_every_commit(seed: int, when: str) -> None:
    async def live(clock: VirtualClock, plan: Plan, crash: Trouble) -> World:
        return await one_world(clock, seed, plan, 1, nothing, crash)

    assert check_crashes(seed, when, live) > 2


def test_the_same_seed_gives_the_same_world() -> None:
    first, second = run(7), run(7)
    assert first.facts.scheduled
    assert first.facts.scheduled == second.facts.scheduled
    assert first.clock.now_us() == second.clock.now_us()
