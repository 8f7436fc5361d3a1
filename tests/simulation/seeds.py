"""Runs simulated worlds by seed, so that whatever is found can be seen again: random ones, and one for each thing that fails."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from perdure.testing.faults import Fault, NthCall, Plan
from perdure.testing.virtual_clock import VirtualClock, run_simulation
from tests.simulation.world import Facts, World

FIRST_SEED = int(os.environ.get("PERDURE_FIRST_SEED", "0"))
Trouble = Callable[[World], Coroutine[Any, Any, None]]


class Checked(Protocol):
    """A world that has come to its end."""

    facts: Facts
    checked: int


def batches(default: int, size: int, *, part: int = 1) -> list[range]:
    """The seeds that a module looks at: ``default`` of them, or ``PERDURE_SEEDS``; of these one in ``part``."""
    count = (int(os.environ.get("PERDURE_SEEDS", default)) + part - 1) // part
    end = FIRST_SEED + count
    return [range(first, min(first + size, end)) for first in range(FIRST_SEED, end, size)]


def first_of(seeds: range) -> str:
    """What a batch is called among the tests."""
    return str(seeds.start)


def check_worlds(run: Callable[[int], Checked], seeds: Iterable[int], tests: str) -> None:
    """Nothing may be wrong in any of them. ``tests`` names them on pytest's command line."""
    checked = 0
    for seed in seeds:
        world = run(seed)
        checked += world.checked
        assert not world.facts.violations, (
            f"seed {seed}: {world.facts.violations[:5]}\n"
            f"to see it again: PERDURE_SEEDS=1 PERDURE_FIRST_SEED={seed} python -m pytest {tests}"
        )
    assert checked  # the replay checker was at work


class CrashPoint(NthCall):
    """Tells when the n-th commit has come. It hangs, or takes effect before anybody learns of it."""

    def __init__(self, n: int, when: Any) -> None:
        super().__init__(n, ["commit"], Fault(when))
        self.reached = asyncio.Event()

    def fault(self, method: str) -> Fault | None:
        """See ``Plan``."""
        fault = super().fault(method)
        if fault is not None:
            self.reached.set()
        return fault


def check_crashes(seed: int, when: Any, live: Callable[[VirtualClock, Plan, Trouble], Coroutine[Any, Any, World]]) -> int:
    """Lets the machine crash at the first commit, in another world at the second, and so on. Returns in how many worlds."""
    n = 0
    fired = True
    while fired:
        n += 1
        plan = CrashPoint(n, when)
        world = run_simulation(lambda clock, plan=plan: live(clock, plan, _crash_at(plan)), seed)
        assert not world.facts.violations, f"seed {seed}, crash at commit {n}: {world.facts.violations[:5]}"
        fired = plan.fired
    return n


def _crash_at(plan: CrashPoint) -> Trouble:
    async def crash(world: World) -> None:
        await plan.reached.wait()
        await world.crash()

    return crash


def check_failing_calls(
    seed: int, plans: Iterable[Plan], live: Callable[[VirtualClock, Plan], Coroutine[Any, Any, World]]
) -> int:
    """Runs a world with each of the plans. Returns how many there were."""
    count = 0
    for plan in plans:
        world = run_simulation(lambda clock, plan=plan: live(clock, plan), seed)
        assert not world.facts.violations, f"seed {seed}, {plan}: {world.facts.violations[:5]}"
        count += 1
    return count
