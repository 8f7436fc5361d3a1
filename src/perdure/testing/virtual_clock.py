"""Time that jumps: a clock and an event loop on which hours pass in milliseconds, the same way each time for the same seed."""

import asyncio
import math
import random
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

T = TypeVar("T")

START_US = 1_800_000_000_000_000
"""Where virtual time begins (2027-01-15 08:00 UTC)."""


class SimulationStuckError(AssertionError):
    """Nothing is ready, no timer runs, and nobody outside works for the loop: what it waits for can never happen."""


class VirtualClock:
    """The engine's ``Clock`` and the stores' clock at once. It moves only when everybody waits, and to the next timer exactly."""

    def __init__(self, start_us: int = START_US) -> None:
        self._start_us = start_us
        self._now_us = start_us
        self._outside = 0

    def now_us(self) -> int:
        """Microseconds since the Unix epoch, UTC."""
        return self._now_us

    def elapsed(self) -> float:
        """Seconds since the clock was made."""
        return (self._now_us - self._start_us) / 1e6

    def advance(self, seconds: float) -> None:
        """Passes time by itself, as a machine does that is busy with something else. Rounds up: never early."""
        self._now_us += math.ceil(seconds * 1e6)

    @contextmanager
    def held(self) -> Generator[None]:
        """Time stands still meanwhile: a thread or a process works for the loop, which takes real time and no virtual time."""
        self._outside += 1
        try:
            yield
        finally:
            self._outside -= 1

    @property
    def is_held(self) -> bool:
        """Whether somebody outside is at work."""
        return self._outside > 0


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time. With ``luck`` the tasks that are ready at the same time run in a random order.

    Only tasks change places: that plain callbacks run in the order of ``call_soon`` is promised by asyncio.
    """

    def __init__(self, clock: VirtualClock, luck: random.Random | None = None) -> None:
        super().__init__(_JumpingSelector(clock))
        self._virtual = clock
        self._luck = luck

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual.elapsed()

    async def shutdown_default_executor(self, *arguments: Any) -> None:
        """Waits for a real thread."""
        with self._virtual.held():
            await super().shutdown_default_executor(*arguments)

    def _run_once(self) -> None:
        # asyncio has no public place where a loop's order could be chosen; these two names are the same in all its versions.
        loop = cast("Any", super())
        if self._luck is not None:
            _shuffle_tasks(cast("Any", self)._ready, self._luck)  # noqa: SLF001 - see above
        loop._run_once()  # noqa: SLF001 - see above


def run_simulation(main: Callable[[VirtualClock], Coroutine[Any, Any, T]], seed: int | None = None) -> T:
    """Runs ``main`` on a virtual clock to its end. The same seed gives the same run, as long as no thread takes part.

    Raises:
        SimulationStuckError: nothing could ever happen any more.
    """
    clock = VirtualClock()
    luck = None if seed is None else random.Random(seed)
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock, luck)) as runner:
        return runner.run(main(clock))


class _JumpingSelector(selectors.BaseSelector):
    """Instead of waiting for the next timer, moves the clock there."""

    def __init__(self, clock: VirtualClock) -> None:
        self._real = selectors.DefaultSelector()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout == 0:
            return ready
        if self._clock.is_held:
            return self._real.select(None)
        if timeout is None:
            raise SimulationStuckError(
                "nothing is ready and no timer is set: what the simulation waits for can't happen any more"
            )
        self._clock.advance(timeout)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


def _shuffle_tasks(ready: deque[asyncio.Handle], luck: random.Random) -> None:
    places = [place for place, handle in enumerate(ready) if _is_task_step(handle)]
    if len(places) < 2:
        return
    handles = list(ready)
    shuffled = places.copy()
    luck.shuffle(shuffled)
    for place, source in zip(places, shuffled, strict=True):
        ready[place] = handles[source]


def _is_task_step(handle: asyncio.Handle) -> bool:
    # C tasks schedule their steps through small objects, whose only public trait is that they belong to a task.
    callback = getattr(handle, "_callback", None)
    return isinstance(getattr(callback, "__self__", None), asyncio.Task)
