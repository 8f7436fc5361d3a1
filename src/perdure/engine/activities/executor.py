"""Decides which activity runs when; where and how it runs is up to the pools."""

import logging
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from difflib import get_close_matches

from perdure.core.converter import JsonConverter
from perdure.core.effects import DispatchActivity
from perdure.core.failures import FailureDetails, failure_from_exception
from perdure.core.functions import ActivityFunction, Functions, Pool, user_names
from perdure.engine.activities.context import ActivityContext, CancellationToken
from perdure.engine.activities.errors import ActivityNotRegisteredError
from perdure.engine.activities.importable import check_importable
from perdure.engine.activities.job import ActivityOutcome, Job, Phase
from perdure.engine.activities.lane import Lane
from perdure.engine.activities.tasks import TaskPool
from perdure.engine.activities.threads import ThreadPool
from perdure.engine.activities.transactional import Settling, TransactionalRunner, no_transactions

_NAMES_SHOWN = 20
_MARGIN = 5.0
"""Seconds beyond the kill grace that something killed may take to be gone."""
_LAST_LOOK = 0.5
"""Seconds that pools get to end when the waiting is over; threads hanging in user code don't end in any time."""

logger = logging.getLogger("perdure.activities")


class ActivityExecutor:
    """Runs every dispatched activity and reports its outcome once, unless its instance is cancelled or the executor closed first.

    Each pool has a backlog of its own, so that no kind of activity waits for another kind's slots. Only when ``max_concurrent``
    activities run in all pools together do they wait for each other, in the order in which they came: it should be well above
    ``max_threads + max_processes``.
    """

    def __init__(
        self,
        functions: Functions,
        converter: JsonConverter,
        on_outcomes: Callable[[list[ActivityOutcome]], None],
        *,
        max_concurrent: int,
        max_threads: int,
        max_processes: int,
        kill_grace: timedelta,
        settling: Settling | None = None,
    ) -> None:
        """``on_outcomes`` is called on the loop thread, never from within a method, with all outcomes that are ready at once.

        ``settling`` is what transactional activities need.
        """
        self._functions = functions
        self._converter = converter
        self._on_outcomes = on_outcomes
        self._max_concurrent = max_concurrent
        self._max_threads = max_threads
        self._max_processes = max_processes
        self._kill_grace = kill_grace.total_seconds()
        self._settling = settling
        self._transactional = None if settling is None else TransactionalRunner(settling)
        self._loop: AbstractEventLoop
        self._activities: Mapping[str, ActivityFunction] = {}
        self._lanes: dict[Pool, Lane] = {}
        self._live: dict[str, dict[tuple[str, int, int], Job]] = {}
        """What is queued or running and not cancelled, by instance id, then by execution id, generation and task id."""
        self._refused: dict[tuple[str, str, int, int], ActivityOutcome] = {}
        """Outcomes of activities that can't even start, until they are reported."""
        self._done: deque[Job] = deque()
        """Jobs that the pools hand back, from any thread."""
        self._draining = False
        """Whether the loop has been told to look at what is done. Lowered before it looks, so that nothing is overlooked."""
        self._dispatched = 0
        self._queued = 0
        self._running = 0
        self._closing = False
        self._idle: Future[None] | None = None
        self._hurried = False

    def start(self, loop: AbstractEventLoop) -> None:
        """Makes it ready to dispatch on ``loop``. Activities see the context variables that are set here."""
        grace, converter, runner = self._kill_grace, self._converter, self._transactional
        self._loop = loop
        self._activities = self._functions.activities
        self._lanes = {
            "loop": Lane(TaskPool(loop, converter, grace, self._max_concurrent, self._hand_back, runner)),
            "thread": Lane(ThreadPool(loop, converter, self._max_threads, self._done, self._report, runner)),
        }

    @property
    def backlog(self) -> int:
        """How many activities wait for a slot."""
        return self._queued

    @property
    def running(self) -> int:
        """How many activities have a slot."""
        return self._running

    def crowded(self, name: str) -> bool:
        """Whether an activity would wait here for longer than it takes to run as many as its pool can."""
        function = self._activities.get(name.casefold())
        lane = self._lanes.get(function.pool) if function is not None else None
        return lane is not None and len(lane.backlog) >= lane.pool.capacity

    def rooms(self) -> list[tuple[list[str], int]]:
        """How many more activities can run at once: the case-folded names of a pool's activities, and its free slots, if any."""
        by_pool: dict[Pool, list[str]] = {}
        for name, function in self._activities.items():
            by_pool.setdefault(function.pool, []).append(name)
        spare = self._max_concurrent - self._running
        rooms: list[tuple[list[str], int]] = []
        for pool, names in by_pool.items():
            lane = self._lanes.get(pool)
            capacity = lane.pool.capacity if lane is not None else self._max_processes
            free = min(spare, capacity - (lane.running + len(lane.backlog) if lane is not None else 0))
            rooms.append((names, max(free, 0)))
        return rooms

    @property
    def capacity(self) -> int:
        """How many of the app's activities can run at once."""
        pools = {function.pool for function in self._activities.values() if not function.name.startswith("BuiltIn::")}
        sizes = {"loop": self._max_concurrent, "thread": self._max_threads, "process": self._max_processes}
        return min(self._max_concurrent, sum(sizes[pool] for pool in pools))

    def dispatch(self, work: DispatchActivity) -> None:
        """Sees to it that the activity runs, once however often it is dispatched before its outcome is reported.

        Never blocks; loop thread only. Does nothing while closing: the activity is durable, and dispatched again after a restart.
        """
        if self._closing:
            return
        key = (work.execution_id, work.generation, work.task_id)
        tasks = self._live.get(work.instance_id)
        if tasks is not None and key in tasks:
            return
        function = self._activities.get(work.name.casefold())
        if function is None:
            self._refuse(work, self._not_registered(work.name))
            return
        if function.transactional and self._transactional is None:
            self._refuse(work, no_transactions(function.name))
            return
        if function.pool == "process":
            problem = check_importable(function)
            if problem is not None:
                self._refuse(work, problem)
                return
            if "process" not in self._lanes:
                self._open_process_lane()
        self._dispatched += 1
        context = ActivityContext(
            function.name, work.instance_id, work.task_id, work.attempt, work.idempotency_key, CancellationToken()
        )
        job = Job(work, function, self._dispatched, context)
        if tasks is None:
            self._live[work.instance_id] = {key: job}
        else:
            tasks[key] = job
        lane = self._lanes[function.pool]
        if self._running < self._max_concurrent and lane.running < lane.pool.capacity:
            self._running += 1
            lane.start(job)
        else:
            self._queued += 1
            lane.backlog.append(job)

    def cancel_instance(self, instance_id: str) -> None:
        """Drops the instance's queued activities and stops its running ones; no outcome of them is reported. Loop thread only."""
        for key in [key for key in self._refused if key[0] == instance_id]:
            del self._refused[key]
        for job in self._live.pop(instance_id, {}).values():
            self._drop(job)

    def cancel(self, key: tuple[str, str, int, int]) -> None:
        """Like ``cancel_instance``, but for one activity: ``(instance_id, execution_id, generation, task_id)``."""
        self._refused.pop(key, None)
        job = self._live.get(key[0], {}).get(key[1:])
        if job is not None:
            self._forget(job.work)
            self._drop(job)

    def void(self, chosen: Callable[[DispatchActivity], bool]) -> None:
        """Undoes the ``chosen`` transactional activities, whose partitions may be somebody else's by now.

        One that is being committed goes on, and the store decides. It keeps nobody from dispatching the activity again.
        """
        for job in [job for tasks in self._live.values() for job in tasks.values()]:
            if job.function.transactional and chosen(job.work):
                self._forget(job.work)
                self._drop(job)

    def hand_over(self, chosen: Callable[[DispatchActivity], bool]) -> tuple[list[DispatchActivity], list[DispatchActivity]]:
        """The activities that are ``chosen``: those that wait, which are dropped here, and those that go on running."""
        waiting: list[DispatchActivity] = []
        running: list[DispatchActivity] = []
        for job in [job for tasks in self._live.values() for job in tasks.values() if chosen(job.work)]:
            if job.phase is Phase.QUEUED:
                waiting.append(job.work)
                self._forget(job.work)
                self._drop(job)
            else:
                running.append(job.work)
        return waiting, running

    async def close(self, grace: timedelta) -> None:
        """Drops what is queued, lets what runs finish within ``grace``, then stops it. Afterwards no outcome is reported.

        What was dropped or stopped is still pending in its history. Threads that don't end are left behind, with a warning; they
        are daemons and don't keep the interpreter from exiting.
        """
        if self._closing:
            return
        self._closing = True
        jobs = [job for tasks in self._live.values() for job in tasks.values()]
        for job in jobs:
            if job.phase is Phase.QUEUED:
                job.phase = Phase.ENDED
        for lane in self._lanes.values():
            lane.backlog.clear()
        self._queued = 0
        self._refused.clear()
        await self._wait_until_idle(grace.total_seconds())
        for job in jobs:
            if job.phase is Phase.RUNNING:
                job.wanted = False
                self._lanes[job.function.pool].pool.stop(job)
        await self._wait_until_idle(self._kill_grace + _MARGIN)
        for lane in self._lanes.values():
            hanging = await lane.pool.close(_LAST_LOOK)
            if hanging:
                logger.warning("activities that couldn't be stopped are left behind: %s", ", ".join(sorted(hanging)))

    def hurry(self) -> None:
        """Ends the waits of ``close``: what still runs is stopped, or left behind, at once."""
        self._hurried = True
        if self._idle is not None:
            _resolve(self._idle)

    async def _wait_until_idle(self, seconds: float) -> None:
        if self._running == 0 or self._hurried:
            return
        idle = self._idle = self._loop.create_future()
        timer = self._loop.call_later(seconds, _resolve, idle)
        await idle
        timer.cancel()

    def _open_process_lane(self) -> None:
        # Imported on use: most applications have no process activity and needn't pay for multiprocessing.
        from perdure.engine.activities.processes import ProcessPool

        pool = ProcessPool(self._loop, self._converter, self._kill_grace, self._max_processes, self._done, self._report)
        self._lanes["process"] = Lane(pool)

    def _refuse(self, work: DispatchActivity, failure: FailureDetails) -> None:
        key = (work.instance_id, work.execution_id, work.generation, work.task_id)
        self._refused[key] = ActivityOutcome(work, failure=failure)
        self._report()

    def _not_registered(self, name: str) -> FailureDetails:
        known = user_names(self._activities.values())
        close = get_close_matches(name, known, n=3)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        shown = ", ".join(known[:_NAMES_SHOWN]) or "none"
        more = f" and {len(known) - _NAMES_SHOWN} more" if len(known) > _NAMES_SHOWN else ""
        return failure_from_exception(
            ActivityNotRegisteredError(f"activity {name!r} isn't registered in this app.{hint} Registered: {shown}{more}."),
            non_retriable=True,
        )

    def _hand_back(self, job: Job) -> None:
        self._done.append(job)
        if not self._draining:
            self._draining = True
            self._loop.call_soon(self._drain)

    def _report(self) -> None:
        """Makes the loop look at what is done, from any thread."""
        if not self._draining:
            self._draining = True
            with suppress(RuntimeError):  # The loop is closed: nobody wants to know any more.
                self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._draining = False
        outcomes = list(self._refused.values())
        self._refused.clear()
        settled: list[Job] = []
        done, lanes = self._done, self._lanes
        # What comes in from now on has caused another call.
        for _ in range(len(done)):
            job = done.popleft()
            if job.phase is not Phase.RUNNING:
                continue
            self._running -= 1
            lanes[job.function.pool].release(job)
            if job.settlement is not None:
                settled.append(job)
                if job.wanted:
                    self._forget(job.work)
            elif job.wanted:
                work = job.work
                self._forget(work)
                failure = job.timeout_failure() if job.expired else job.failure
                if failure is not None and job.function.transactional and self._settling and self._settling.failed:
                    self._settling.failed(work, failure)
                else:
                    outcomes.append(ActivityOutcome(work, None if job.expired else job.result, failure))
        self._fill_slots()
        if self._running == 0 and self._idle is not None:
            _resolve(self._idle)
        if outcomes:
            self._on_outcomes(outcomes)
        for job in settled:
            if self._settling is not None and job.settlement is not None:
                self._settling.settled(job.work, job.settlement)

    def _drop(self, job: Job) -> None:
        job.wanted = False
        lane = self._lanes[job.function.pool]
        if job.phase is Phase.QUEUED:
            self._queued -= 1
            lane.cancel(job)
        else:
            lane.pool.stop(job)

    def _forget(self, work: DispatchActivity) -> None:
        tasks = self._live[work.instance_id]
        if len(tasks) == 1:
            del self._live[work.instance_id]
        else:
            del tasks[(work.execution_id, work.generation, work.task_id)]

    def _fill_slots(self) -> None:
        """Starts what may start, the longest waiting first."""
        ready = [lane for lane in self._lanes.values() if lane.backlog and lane.running < lane.pool.capacity]
        while ready and self._running < self._max_concurrent:
            lane = ready[0] if len(ready) == 1 else min(ready, key=_waiting_since)
            job = lane.next()
            if job is not None:
                self._queued -= 1
                self._running += 1
                lane.start(job)
            if not lane.backlog or lane.running >= lane.pool.capacity:
                ready.remove(lane)


def _waiting_since(lane: Lane) -> int:
    return lane.backlog[0].order


def _resolve(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)
