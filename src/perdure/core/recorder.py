"""The recorder: between the context that user code sees and the history. It hands out tasks and writes down actions."""

import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from perdure.core.converter import Converter
from perdure.core.events import (
    Action,
    EventRaised,
    SubOrchestrationInstanceCreated,
    TaskScheduled,
    TimerCanceled,
    TimerCreated,
)
from perdure.core.tasks import EventTask, LeafTask, Task, TimerTask

_PACKAGE = __file__[: -len("core/recorder.py")]
"""Path prefix of Perdure's own files, with its separator: a user's package may be called perdure_something."""


class Dehydrated(BaseException):
    """Raised into user code that runs after its session was dropped (``finally`` blocks), so that it ends at once.

    A ``BaseException``, because ``except Exception`` in user code must not catch it.
    """


class Recorder:
    """The actions and open tasks of one generation. Task ids count from 0 in the order in which the code asks."""

    __slots__ = (
        "_arrivals",
        "_buffered",
        "_fired_unseen",
        "_fold",
        "_waiters",
        "actions",
        "closed",
        "continued_at",
        "converter",
        "instance_id",
        "next_task_id",
        "now_us",
        "place",
        "replaying",
        "sources",
        "tasks",
    )

    def __init__(self, instance_id: str, converter: Converter, fold: Callable[[Action], None]) -> None:
        self._fold = fold
        self.instance_id = instance_id
        self.converter = converter
        self.actions: list[Action] = []
        """Of the turn in progress."""
        self.sources: list[str] = []
        """Where the code asked for each action; kept only while replaying, for the message about a mismatch."""
        self.place: Callable[[], str] = user_source
        """Tells where the code is that asks."""
        self.tasks: dict[int, LeafTask[Any]] = {}
        self.next_task_id = 0
        self.now_us = 0
        self.replaying = False
        self.closed = False
        self.continued_at = ""
        """Where the code called ``continue_as_new``; kept only while replaying, as ``sources``."""
        self._buffered: dict[str, deque[tuple[int, EventRaised]]] = {}
        self._waiters: dict[str, list[EventTask[Any]]] = {}
        self._arrivals = 0
        self._fired_unseen: dict[int, None] = {}  # a set: but an empty dict is smaller, and no garbage to collect

    def add(self, action: Action) -> None:
        """Writes an action down.

        Raises:
            Dehydrated: the session is gone; this is a ``finally`` block of code that nobody runs any more.
        """
        if self.closed:
            raise Dehydrated
        self.actions.append(action)
        if self.replaying:
            self.sources.append(self.place())  # the state takes the recorded action, not this one
        else:
            self._fold(action)

    def new_task_id(self) -> int:
        """The next sequence number."""
        task_id = self.next_task_id
        self.next_task_id = task_id + 1
        return task_id

    def schedule_activity(
        self, name: str, input_: str | None, result_type: object, attempt: int = 1, origin: int | None = None
    ) -> LeafTask[Any]:
        """Asks for an activity."""
        task_id = self.next_task_id
        self.add(TaskScheduled(task_id, name, input_, attempt, origin))
        self.next_task_id = task_id + 1
        task: LeafTask[Any] = LeafTask(task_id, name, result_type)
        self.tasks[task_id] = task
        return task

    def schedule_sub_orchestration(
        self, task_id: int, name: str, instance_id: str, input_: str | None, version: str | None, result_type: object
    ) -> LeafTask[Any]:
        """Asks for a sub-orchestration; the caller took ``task_id`` from ``new_task_id`` because the default id contains it."""
        self.add(SubOrchestrationInstanceCreated(task_id, name, instance_id, input_, version))
        task: LeafTask[Any] = LeafTask(task_id, name, result_type)
        self.tasks[task_id] = task
        return task

    def create_timer(self, fire_at: int) -> TimerTask:
        """Asks to be woken at ``fire_at`` (microseconds)."""
        task_id = self.next_task_id
        self.add(TimerCreated(task_id, fire_at))
        self.next_task_id = task_id + 1
        task = TimerTask(task_id, self)
        self.tasks[task_id] = task
        return task

    def cancel_timer(self, task_id: int) -> None:
        """Takes that back. A timer whose firing is recorded, and only kept from the code, has nothing left to cancel."""
        if self.closed:
            raise Dehydrated
        if task_id not in self._fired_unseen:
            self.add(TimerCanceled(task_id))
        del self.tasks[task_id]

    def timer_fired_unseen(self, task_id: int) -> None:
        """A timer has fired while events are kept from the code."""
        self._fired_unseen[task_id] = None

    # --- external events ------------------------------------------------------------------------------------------

    def wait_for_event(self, name: str, result_type: object) -> EventTask[Any]:
        """Takes the oldest buffered event of that name (in any case), or queues up for the next one."""
        if self.closed:
            raise Dehydrated
        task: EventTask[Any] = EventTask(name, result_type, self)
        key = name.casefold()
        buffered = self._buffered.get(key)
        if buffered:
            self._give(task, buffered.popleft()[1])
        else:
            self._waiters.setdefault(key, []).append(task)
        return task

    def event_arrived(self, event: EventRaised, awaited: Task[Any] | None) -> None:
        """Hands the event to one waiter, or buffers it.

        Waiters are served in the order in which they began to wait; but one that the code is awaiting right now
        goes before those it has left behind (the losers of earlier ``task_any`` calls), which would swallow the event.
        """
        key = event.name.casefold()
        waiters = self._waiters.get(key)
        if not waiters:
            self._arrivals += 1
            self._buffered.setdefault(key, deque()).append((self._arrivals, event))
            return
        chosen = next((index for index, waiter in enumerate(waiters) if waiter.leads_to(awaited)), 0)
        self._give(waiters.pop(chosen), event)

    def stop_waiting(self, task: EventTask[Any]) -> None:
        """The code gave up on an event."""
        waiters = self._waiters.get(task.name.casefold(), [])
        if task in waiters:
            waiters.remove(task)

    def unprocessed_events(self) -> list[EventRaised]:
        """The buffered events in the order of their arrival."""
        waiting = sorted((entry for buffered in self._buffered.values() for entry in buffered), key=lambda entry: entry[0])
        return [event for _, event in waiting]

    def _give(self, task: EventTask[Any], event: EventRaised) -> None:
        try:
            value = self.converter.decode(event.input, task.result_type, "payload of event", event.name)
        except Exception as error:  # noqa: BLE001 - the wait fails with it, in the user's code
            task.settle(None, error)
        else:
            task.settle(value)


def user_source() -> str:
    """File and line of the innermost frame that isn't Perdure's own."""
    frame = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - documented in spite of its name
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        if frame.f_code.co_filename.endswith("orchestration.py"):
            return "its end, or by its retry policy"  # no user frame asked for this
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
