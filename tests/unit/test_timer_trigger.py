"""Timer functions on a virtual clock: once per occurrence, across restarts, and nothing that was missed is made up for."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import pytest

import perdure as df
from perdure.core.times import from_us
from perdure.host.functions import HostFunctions
from perdure.host.model import TriggeredFunction
from perdure.host.triggers.errors import MissingAppSettingError, ScheduleError
from perdure.host.triggers.invoke import Clients, Invoker, QueueSender
from perdure.host.triggers.timer import ORCHESTRATOR, Timers
from perdure.store.memory import MemoryData, MemoryStore
from perdure.testing.virtual_clock import VirtualClock, run_simulation
from tests.unit.host_lab import timer


class TimerRequest(Protocol):
    past_due: bool
    schedule_status: dict[str, str]


class Fired(NamedTuple):
    """One run of a timer function; starts at 08:00:00 of virtual time."""

    at: str
    past_due: bool


class World:
    """One hub's data, and hosts that come and go."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.data = MemoryData()
        self.fired: list[Fired] = []
        self.client: df.DurableClient

    @property
    def now(self) -> str:
        return f"{from_us(self.clock.now_us()):%H:%M:%S}"

    def function(
        self, schedule: str, work: Callable[[], Coroutine[Any, Any, None]] | None = None, **options: Any
    ) -> TriggeredFunction:
        async def tick(timer: TimerRequest) -> None:
            self.fired.append(Fired(self.now, timer.past_due))
            if work is not None:
                await work()

        return timer(tick, schedule, **options)

    def invoker(self) -> Invoker:
        nobody = cast("Any", None)
        return Invoker(cast("Clients", nobody), cast("QueueSender", nobody), folder=Path(), threads=1, timeout=None)

    @asynccontextmanager
    async def host(self, *functions: TriggeredFunction, zone: str = "UTC", **settings: str) -> AsyncGenerator[None]:
        timers = Timers(functions, self.invoker(), self.clock, settings=settings, time_zone=zone)
        app = HostFunctions(df.DFApp().functions(), [timers.orchestrator()], [timers.activity()], None)
        store = MemoryStore(self.data, clock=self.clock.now_us)
        async with df.TaskHub(app, store, clock=self.clock) as hub:
            self.client = hub.client
            await timers.start(hub.client)
            yield

    async def runs(self, *functions: TriggeredFunction, minutes: float, **options: Any) -> list[Fired]:
        """What a host fires in its life."""
        self.fired = []
        async with self.host(*functions, **options):
            await pause(minutes)
        return self.fired


async def pause(minutes: float) -> None:
    """Virtual minutes; off the full second, so that nothing is due in the same moment."""
    import asyncio

    await asyncio.sleep(minutes * 60 + 0.5)


def virtual(test: Callable[[World], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test on virtual time."""

    def run() -> None:
        run_simulation(lambda clock: test(World(clock)))

    run.__name__ = test.__name__
    return run


def on_time(*moments: str) -> list[Fired]:
    return [Fired(moment, False) for moment in moments]


@virtual
async def test_each_occurrence_fires_once_and_on_time(world: World) -> None:
    assert await world.runs(world.function("0 */5 * * * *"), minutes=15) == on_time("08:05:00", "08:10:00", "08:15:00")


@virtual
async def test_a_time_span_counts_from_the_start(world: World) -> None:
    await pause(1)
    fired = await world.runs(world.function("00:05:00"), minutes=11)
    assert fired == on_time("08:06:00", "08:11:00")


@virtual
async def test_an_occurrence_that_was_missed_fires_once_at_the_next_start_as_past_due(world: World) -> None:
    function = world.function("0 */5 * * * *")
    assert await world.runs(function, minutes=6) == on_time("08:05:00")
    await pause(60)  # nobody runs: twelve occurrences are missed
    assert await world.runs(function, minutes=5) == [Fired("09:06:01", True), Fired("09:10:00", False)]


@virtual
async def test_a_restart_between_occurrences_neither_repeats_nor_skips(world: World) -> None:
    function = world.function("0 */5 * * * *")
    fired: list[Fired] = []
    for _ in range(6):
        fired += await world.runs(function, minutes=2)
    assert fired == on_time("08:05:00", "08:10:00")


@virtual
async def test_without_monitor_what_was_missed_is_forgotten(world: World) -> None:
    function = world.function("0 */5 * * * *", use_monitor=False)
    assert await world.runs(function, minutes=6) == on_time("08:05:00")
    await pause(60)
    assert await world.runs(function, minutes=5) == on_time("09:10:00")


@virtual
async def test_run_on_startup_runs_at_each_start_and_keeps_the_schedule(world: World) -> None:
    function = world.function("0 */5 * * * *", run_on_startup=True)
    assert await world.runs(function, minutes=6) == on_time("08:00:00", "08:05:00")
    assert await world.runs(function, minutes=5) == on_time("08:06:00", "08:10:00")


@virtual
async def test_a_slow_function_never_overlaps_itself(world: World) -> None:
    async def slow() -> None:
        await pause(7)

    fired = await world.runs(world.function("0 */5 * * * *", slow), minutes=30)
    assert fired == on_time("08:05:00", "08:15:00", "08:25:00")


@virtual
async def test_a_function_that_fails_fires_again_next_time(world: World) -> None:
    async def fail() -> None:
        raise ValueError("not today")

    assert await world.runs(world.function("0 */5 * * * *", fail), minutes=10) == on_time("08:05:00", "08:10:00")


@virtual
async def test_a_changed_schedule_counts_from_the_restart(world: World) -> None:
    assert await world.runs(world.function("0 0 12 * * *"), minutes=1) == []
    assert await world.runs(world.function("0 */5 * * * *"), minutes=10) == on_time("08:05:00", "08:10:00")
    assert await world.runs(world.function("0 0 9 * * *"), minutes=60) == on_time("09:00:00")


@virtual
async def test_a_changed_time_zone_counts_too(world: World) -> None:
    function = world.function("0 30 9 * * *")
    assert await world.runs(function, minutes=1) == []
    assert await world.runs(function, minutes=60, zone="Europe/Berlin") == on_time("08:30:00")


@virtual
async def test_a_timer_that_the_app_no_longer_has_is_gone(world: World) -> None:
    await world.runs(world.function("0 */5 * * * *"), minutes=1)
    assert await world.runs(minutes=10) == []
    async with world.host():
        assert await world.client.get_status_all() == []


@virtual
async def test_a_timer_is_an_instance_that_can_be_suspended_and_resumed(world: World) -> None:
    async with world.host(world.function("0 */5 * * * *")):
        [status] = await world.client.get_status_all()
        assert (status.instance_id, status.name) == ("perdure-timer-tick", ORCHESTRATOR)
        await pause(6)
        await world.client.suspend(status.instance_id)
        await pause(12)
        assert world.fired == on_time("08:05:00")
        await world.client.resume(status.instance_id)
        await pause(3)
    assert [fired.at for fired in world.fired] == ["08:05:00", "08:18:01", "08:20:00"]
    assert world.fired[1].past_due


@virtual
async def test_a_terminated_timer_begins_anew_with_the_next_host(world: World) -> None:
    function = world.function("0 */5 * * * *")
    async with world.host(function):
        await world.client.terminate("perdure-timer-tick")
        await pause(10)
    assert world.fired == []
    assert await world.runs(function, minutes=5) == on_time("08:15:00")


@virtual
async def test_a_timer_leaves_no_history_behind(world: World) -> None:
    async with world.host(world.function("*/10 * * * * *")):
        await pause(30)
        status = await world.client.get_status("perdure-timer-tick", show_history=True)
    assert len(world.fired) == 180
    assert status.history is not None
    assert len(status.history) < 5


@virtual
async def test_app_settings_may_hold_the_schedule(world: World) -> None:
    assert await world.runs(world.function("%EVERY%"), minutes=2, EVERY="00:01:00") == on_time("08:01:00", "08:02:00")


@virtual
async def test_the_function_learns_its_schedule(world: World) -> None:
    seen: list[dict[str, str]] = []

    async def look(timer: TimerRequest) -> None:
        seen.append(timer.schedule_status)

    await world.runs(timer(look, "0 */5 * * * *"), minutes=10)
    assert [status["Next"] for status in seen] == ["2027-01-15T08:10:00+00:00", "2027-01-15T08:15:00+00:00"]
    assert seen[1]["Last"].startswith("2027-01-15T08:05:00")


@virtual
async def test_what_is_wrong_with_a_schedule_is_told_with_the_functions_place(world: World) -> None:
    with pytest.raises(ScheduleError, match=r"function 'tick' \(function_app.py:\d+\): the schedule '5 times a day'"):
        await world.runs(world.function("5 times a day"), minutes=1)
    with pytest.raises(MissingAppSettingError, match=r"function 'tick' .*no app setting 'NOPE'"):
        await world.runs(world.function("%NOPE%"), minutes=1)


@virtual
async def test_two_starts_in_a_row_change_nothing(world: World) -> None:
    function = world.function("0 */5 * * * *")
    for _ in range(3):
        async with world.host(function):
            pass
    assert await world.runs(function, minutes=6) == on_time("08:05:00")
