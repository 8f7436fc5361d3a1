"""Timer triggers: each occurrence fires once, across restarts, and never while the one before is still running.

Every timer function has one eternal orchestration in the hub, ``perdure-timer-<function>``: it waits until the next occurrence is
due, runs the function as an activity, which also says when the one after that is due, and continues as new. So a timer can be
looked at, suspended and resumed like any instance.

Not guaranteed: exactly once. A host that dies while the function runs runs it again, with ``past_due``.
"""

import asyncio
import logging
from collections.abc import Generator, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
from azure.functions.timer import TimerRequest

from perdure.client import DurableClient
from perdure.core.context import DurableOrchestrationContext
from perdure.core.functions import ActivityFunction, OrchestratorFunction
from perdure.core.messages import ReusePolicy
from perdure.core.tasks import Task
from perdure.core.times import from_us
from perdure.engine.clock import Clock
from perdure.engine.errors import InstanceAlreadyExistsError, InstanceNotFoundError, NobodyAnswersError
from perdure.host.model import TimerTrigger, TriggeredFunction
from perdure.host.triggers.app_settings import expand
from perdure.host.triggers.errors import ScheduleError
from perdure.host.triggers.invoke import Invoker, log_failure
from perdure.host.triggers.schedule import Schedule

ORCHESTRATOR = "BuiltIn::Timer"
ACTIVITY = "BuiltIn::TimerFire"
INSTANCE_PREFIX = "perdure-timer-"
_CHANGE = "change"
_LATE = timedelta(minutes=1)
_log = logging.getLogger("perdure.functions")


class TimerState(msgspec.Struct, frozen=True, kw_only=True):
    """Input of a timer's orchestration, renewed by each occurrence."""

    function: str
    schedule: str
    time_zone: str
    due: datetime
    last: datetime | None = None


class TimerChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a host that has started tells a timer's orchestration."""

    state: TimerState | None = None
    """The schedule is another one now."""
    run: bool = False
    """``run_on_startup``."""


class Timers:
    """The timer functions of one app."""

    def __init__(
        self,
        functions: Iterable[TriggeredFunction],
        invoker: Invoker,
        clock: Clock,
        *,
        settings: Mapping[str, str],
        time_zone: str,
    ) -> None:
        """Understands all schedules.

        Raises:
            ScheduleError, MissingAppSettingError: with the function and its place.
        """
        self._invoker = invoker
        self._clock = clock
        self._started = self._now()
        self._timers: dict[str, tuple[TriggeredFunction, TimerTrigger, Schedule]] = {}
        for function in functions:
            if isinstance(function.trigger, TimerTrigger):
                where = f"function '{function.name}' ({function.place})"
                try:
                    schedule = Schedule(expand(function.trigger.schedule, settings, where), time_zone)
                except ScheduleError as error:
                    raise ScheduleError(f"{where}: {error.message}") from None
                self._timers[function.name] = (function, function.trigger, schedule)

    def orchestrator(self) -> OrchestratorFunction:
        """What the hub has to know to keep timers going."""
        return OrchestratorFunction(ORCHESTRATOR, _timer, input_type=TimerState)

    def activity(self) -> ActivityFunction:
        """What the hub has to know to run them."""
        return ActivityFunction(ACTIVITY, self._fire, "loop", input_type=_Firing, output_type=TimerState)

    async def start(self, client: DurableClient) -> None:
        """Makes the hub's timers those of the app: new ones begin, changed ones follow their new schedule, others end.

        Other hosts may be doing the same at this moment. If no engine owns partitions yet, it happens as soon as one does.
        """
        known = await client.get_status_by(instance_id_prefix=INSTANCE_PREFIX, names=[ORCHESTRATOR])
        running = {status.instance_id for status in known if not status.is_terminal}
        wanted = {INSTANCE_PREFIX + name: name for name in self._timers}
        unwanted = [status.instance_id for status in known if status.instance_id not in wanted]
        await asyncio.gather(
            *(_end(client, instance_id) for instance_id in unwanted),
            *(self._begin(client, instance_id, name, instance_id in running) for instance_id, name in wanted.items()),
        )

    async def _begin(self, client: DurableClient, instance_id: str, name: str, running: bool) -> None:
        _, trigger, schedule = self._timers[name]
        fresh = TimerState(
            function=name, schedule=schedule.text, time_zone=schedule.time_zone, due=schedule.next_after(self._started)
        )
        with suppress(InstanceAlreadyExistsError, NobodyAnswersError):
            if not running:
                await client.start_new(ORCHESTRATOR, instance_id, fresh, reuse_policy=ReusePolicy.ONLY_IF_TERMINAL)
            elif not await self._is_current(client, instance_id, schedule):
                await client.raise_event(instance_id, _CHANGE, TimerChange(state=fresh))
        if trigger.run_on_startup:
            with suppress(NobodyAnswersError):
                await client.raise_event(instance_id, _CHANGE, TimerChange(run=True))

    async def _is_current(self, client: DurableClient, instance_id: str, schedule: Schedule) -> bool:
        status = await client.get_status(instance_id, show_input=True)
        state = cast("dict[str, Any]", status.input_)
        return (state["schedule"], state["time_zone"]) == (schedule.text, schedule.time_zone)

    async def _fire(self, firing: "_Firing") -> TimerState:
        """Runs the function, and says what comes next. The function's failure is logged; the schedule goes on."""
        state = firing.state
        function, trigger, schedule = self._timers[state.function]
        now = self._now()
        missed = firing.is_due and state.due < self._started
        if missed and not trigger.use_monitor:
            _log.info("timer '%s' was due at %s, when no host ran; use_monitor=False skips it", state.function, state.due)
        else:
            past_due = firing.is_due and (missed or now - state.due > _LATE)
            upcoming = schedule.next_due(state.due, now) if firing.is_due else state.due
            request = TimerRequest(
                past_due=past_due,
                schedule_status={
                    "Last": (state.last or datetime.min.replace(tzinfo=UTC)).isoformat(),
                    "Next": upcoming.isoformat(),
                    "LastUpdated": (state.last or datetime.min.replace(tzinfo=UTC)).isoformat(),
                },
                schedule={"AdjustForDST": True},
            )
            try:
                await self._invoker.call(function, {trigger.parameter: request})
            except Exception as error:  # noqa: BLE001 - user code
                log_failure(function, error)
        due = schedule.next_due(state.due, self._now()) if firing.is_due else state.due
        return TimerState(function=state.function, schedule=schedule.text, time_zone=schedule.time_zone, due=due, last=now)

    def _now(self) -> datetime:
        return from_us(self._clock.now_us())


class _Firing(msgspec.Struct, frozen=True, kw_only=True):
    state: TimerState
    is_due: bool
    """``False``: it runs because the host has started."""


async def _end(client: DurableClient, instance_id: str) -> None:
    with suppress(InstanceNotFoundError, NobodyAnswersError):
        await client.terminate(instance_id, "the app has no such timer any more")
        await client.purge_instance_history(instance_id)


def _timer(context: DurableOrchestrationContext) -> Generator[Task[Any], Any, None]:
    """One occurrence of a timer, or one change of it."""
    state: TimerState = context.get_input()
    due = context.create_timer(state.due)
    change = context.wait_for_external_event(_CHANGE, TimerChange)
    yield context.task_any([due, change])
    if change.is_completed:
        told = change.result
        if told.state is not None:
            state = msgspec.structs.replace(told.state, last=state.last)
        if told.run:
            state = yield context.call_activity(ACTIVITY, _Firing(state=state, is_due=False), expected_type=TimerState)
        if not due.is_completed:
            due.cancel()  # else the next generation finds that it is due
    else:
        change.cancel()
        state = yield context.call_activity(ACTIVITY, _Firing(state=state, is_due=True), expected_type=TimerState)
    context.continue_as_new(state)
