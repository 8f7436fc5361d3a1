"""Several engines on one hub in a world where everything goes wrong, by seed. ``PERDURE_SEEDS=5000`` looks at more of them."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from perdure.engine import inbox, partition_loop
from perdure.store.errors import LeaseLostError
from perdure.testing.faults import Fault, SeededFaults
from perdure.testing.virtual_clock import VirtualClock, run_simulation
from tests.simulation import test_simulation
from tests.simulation.bank import Bank, build_bank
from tests.simulation.fleet import Fleet
from tests.simulation.seeds import batches, check_worlds, first_of
from tests.simulation.test_simulation import little_engine  # noqa: F401 - the fixture is used by being there
from tests.simulation.workload import Client, build_app, left_open

_LONG_ENOUGH = 2 * 3600.0
_CALLS = (
    *("open", "acquire", "release", "commit", "load", "inbox", "with_pending", "due", "get", "history"),
    *("beat", "leave", "claim", "offered", "still_stored", "nudge"),
)
_PAUSES = (0, 0.01, 1, 8)


@pytest.fixture(autouse=True)
def little_inbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the inbox takes more than one look."""
    monkeypatch.setattr(inbox, "_PAGE", 2)
    monkeypatch.setattr(inbox, "_ALL", 3)
    monkeypatch.setattr(inbox, "_ENOUGH", 5)


class Faults(SeededFaults):
    """For a while; then the world heals, so that everything can end."""

    def __init__(self, clock: VirtualClock, seed: int, rate: float) -> None:
        super().__init__(seed, rate, _CALLS, [Fault("before"), Fault("after"), Fault("hang"), Fault("before", LeaseLostError)])
        self._clock = clock

    def fault(self, method: str) -> Fault | None:
        """See ``Plan``."""
        found = super().fault(method) if self._clock.elapsed() < 60 else None
        # Renewals find out that a lease is lost, too, but not where there is none; and they do so often enough by themselves.
        return Fault("before") if found is not None and found.error is LeaseLostError and method != "commit" else found


async def accidents(fleet: Fleet) -> None:
    """Machines come and go at random times; in calm worlds in order, in others not."""
    luck = fleet.luck
    await fleet.join("all")
    events: list[Callable[[], Coroutine[Any, Any, None]]] = [fleet.join, fleet.join, fleet.leave]
    if not fleet.calm:
        events += [fleet.crash, fleet.freeze]
    for _ in range(luck.choice([1, 3, 8])):
        await asyncio.sleep(luck.choice([0, 0.01, 0.5, 3, 20]) * luck.random())
        await luck.choice(events if len(fleet.machines) < 4 else events[2:])()
    await fleet.heal()


async def unhang(fleet: Fleet) -> None:
    """Whatever hangs goes on some time."""
    while True:
        await asyncio.sleep(fleet.luck.choice([0.5, 5, 15]))
        fleet.let_go()


def make_fleet(clock: VirtualClock, seed: int) -> Fleet:
    """Every third world is calm."""
    test_simulation._ids.seed(seed)  # noqa: SLF001 - the fixture's
    rate = [0, 0, 0, 0.01, 0.05, 0.2][seed % 6]
    return Fleet(clock, seed, Faults(clock, seed, rate), calm=seed % 3 == 0 and not rate)


async def to_the_end(fleet: Fleet, work: Callable[[], Coroutine[Any, Any, None]], left: Callable[[], list[str]]) -> Fleet:
    """Runs ``work`` in a troubled world, until nothing is left to do."""
    helper = asyncio.create_task(unhang(fleet))
    try:
        async with asyncio.timeout(_LONG_ENOUGH):
            async with asyncio.TaskGroup() as everybody:
                everybody.create_task(accidents(fleet))
                everybody.create_task(work())
            while left() or fleet.left_on_offer():  # noqa: ASYNC110 - time passes in the simulated world
                await asyncio.sleep(1)
            await fleet.shut_down()
    except TimeoutError:
        fleet.facts.check(False, f"stuck: {left()} {fleet.left_on_offer()}")
        with suppress(Exception):
            await fleet.shut_down()
    finally:
        helper.cancel()
    return fleet


def programs(seed: int) -> Fleet:
    """A world of random programs."""

    async def main(clock: VirtualClock) -> Fleet:
        fleet = make_fleet(clock, seed)
        fleet.build_app = build_app

        async def work() -> None:
            async with asyncio.TaskGroup() as clients:
                for number in range(1 + seed % 5):
                    clients.create_task(Client(fleet, f"i{number}", _PAUSES).live(runs=fleet.luck.choice([1, 1, 2])))

        return await to_the_end(fleet, work, lambda: left_open(fleet))

    return run_simulation(main, seed)


def bank(seed: int) -> Fleet:
    """A world of entities."""

    async def main(clock: VirtualClock) -> Fleet:
        fleet = make_fleet(clock, seed)
        fleet.build_app = build_bank
        bank = Bank(fleet, 1 + seed % 5)

        async def work() -> None:
            await bank.live()
            while bank.left_open():  # noqa: ASYNC110 - time passes in the simulated world
                await asyncio.sleep(1)
            await bank.check()

        return await to_the_end(fleet, work, bank.left_open)

    return run_simulation(main, seed)


@pytest.mark.parametrize("seeds", batches(60, 50), ids=first_of)
@pytest.mark.parametrize("world", [programs, bank])
def test_random_fleets(world: Callable[[int], Fleet], seeds: range, monkeypatch: pytest.MonkeyPatch) -> None:
    if world is bank:
        monkeypatch.setattr(partition_loop, "_MAX_GATHERED", 3)
    check_worlds(world, seeds, f"tests/simulation/test_fleet.py -k {world.__name__}")
