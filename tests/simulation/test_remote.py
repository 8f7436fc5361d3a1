"""Code in workers, in a world where everything goes wrong: machines crash, stores fail, workers vanish and give work back."""

import asyncio
import random
from contextlib import suppress
from typing import Any

import pytest

from perdure.core.answer_checks import StaleAnswerError
from perdure.engine.errors import EngineStoppedError
from perdure.testing.faults import Plan, incremental
from perdure.testing.virtual_clock import VirtualClock, run_simulation
from tests.remote_worker import HubWithWorker
from tests.simulation.seeds import Trouble, batches, check_crashes, check_failing_calls, check_worlds, first_of
from tests.simulation.test_simulation import (
    UntilLate,
    accidents,
    little_engine,
    nothing,
    one_world,
    unhang,
)
from tests.simulation.world import World

__all__ = ["little_engine"]  # a fixture, for all tests here

ALL = frozenset({"orchestrators", "activities"})
MIXES = [ALL, frozenset({"orchestrators"}), frozenset({"activities"})]


async def unreliable_workers(world: World) -> None:
    """Workers vanish in the middle of what they do, dawdle, give work back, and answer for what isn't theirs. Others come."""
    unhanging = asyncio.create_task(unhang(world))
    luck = random.Random(world.luck.random())
    try:
        while True:
            await asyncio.sleep(luck.choice([0.01, 0.5, 3, 20]) * luck.random())
            machine = world.machine
            if machine is None or not isinstance(machine.hub, HubWithWorker) or machine.hub.worker is None:
                continue
            worker = machine.hub.worker
            match luck.choice(["vanish", "vanish", "dawdle", "give back", "lie"]):
                case "vanish":
                    await worker.stop()
                    if luck.random() < 0.5:
                        await asyncio.sleep(luck.random())
                    if machine is world.machine:
                        _reconnect(machine.hub)
                case "dawdle":
                    worker.pause = luck.choice([0, 0.5, 5])  # longer than leases, it may be
                case "give back":
                    for token in list(worker.worker.tokens)[:2]:
                        with suppress(StaleAnswerError):  # it had been taken away before
                            machine.hub.remote.abandon(token)
                case _:
                    with pytest.raises(StaleAnswerError):
                        machine.hub.remote.answer_activity("nonsense", "1")
    finally:
        unhanging.cancel()


def _reconnect(hub: HubWithWorker) -> None:
    with suppress(EngineStoppedError):  # another machine is about to take over
        hub.connect()


def run(seed: int) -> World:
    async def main(clock: VirtualClock) -> World:
        rate = [0, 0.01, 0.1, 0.3][seed % 4]
        plan = UntilLate(clock, seed, rate)
        mix = MIXES[seed % 3]
        return await one_world(clock, seed, plan, 1 + seed % 6, accidents, unreliable_workers, elsewhere=mix)

    return run_simulation(main, seed)


@pytest.mark.parametrize("seeds", batches(50, 25), ids=first_of)
def test_random_worlds(seeds: range) -> None:
    check_worlds(run, seeds, "tests/simulation/test_remote.py")


@pytest.mark.parametrize(
    ("methods", "when"), [(("commit",), "before"), (("commit",), "after"), (("load", "due"), "before")], ids=str
)
def test_every_store_call_fails_once(methods: tuple[str, ...], when: Any) -> None:
    async def live(clock: VirtualClock, plan: Plan) -> World:
        return await one_world(clock, 0, plan, 2, nothing, elsewhere=ALL)

    assert check_failing_calls(0, incremental(*methods, when=when), live) > 1


@pytest.mark.parametrize("when", ["hang", "after"])
@pytest.mark.parametrize("seed", range(3))
def test_a_crash_at_every_commit(seed: int, when: str) -> None:
    async def live(clock: VirtualClock, plan: Plan, crash: Trouble) -> World:
        return await one_world(clock, seed, plan, 1, nothing, crash, elsewhere=ALL)

    assert check_crashes(seed, when, live) > 2
