"""The user's orchestrator in motion: a generator, a coroutine or a plain function, behind one interface."""

import inspect
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextlib import suppress
from typing import Any, cast

from perdure.core.errors import PerdureError
from perdure.core.recorder import Dehydrated
from perdure.core.tasks import EventTask, Task, TaskCanceledError, TimerTask

Frames = Generator[Any, Any, Any] | Coroutine[Any, Any, Any]


class NotDurableError(PerdureError):
    """The orchestrator waited for something that isn't a durable task (raised into its code at that place), or returned one."""

    code = "PD1202"


class Code:
    """One activation of an orchestrator function. ``ended`` when it returned or raised."""

    __slots__ = ("_frames", "_is_generator", "ended", "error", "output", "waiting_for")

    def __init__(self) -> None:
        self._frames: Frames | None = None
        self._is_generator = False
        self.waiting_for: Task[Any] | None = None
        self.ended = False
        self.output: Any = None
        self.error: BaseException | None = None

    def begin(self, call: Callable[[Any], Any], context: object) -> None:
        """Enters the function and runs it until it waits or ends."""
        try:
            made = call(context)
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is the instance's failure, nobody else's
            self._end(None, error)
            return
        self._is_generator = inspect.isgenerator(made)
        if self._is_generator or inspect.iscoroutine(made):
            self._frames = made
            self._step(None, None)
        else:
            self._end(made, None)

    def resume(self) -> None:
        """Runs on, if what it waited for is there."""
        task = self.waiting_for
        if task is None or not task.is_completed or self._frames is None:
            return
        self.waiting_for = None
        self._step(task, None)

    def close(self) -> None:
        """Drops the frames. The recorder is closed, so ``finally`` blocks of user code end at their first durable call."""
        frames, self._frames = self._frames, None
        self.ended = True
        if frames is not None:
            # Whatever clean-up code raises here is no longer part of any history.
            with suppress(Exception, Dehydrated):
                frames.close()

    def position(self) -> str:
        """File and line where the code stands."""
        frames: Any = self._frames
        place = "its end" if self.ended else "its beginning"
        while frames is not None:
            frame = getattr(frames, "gi_frame", None) or getattr(frames, "cr_frame", None)
            if frame is None:
                break
            # What the user awaits may be a coroutine of asyncio or of a task; the line to show is the one that awaits it.
            if not str(frame.f_globals.get("__name__")).startswith(("perdure.", "asyncio.")):
                place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
            frames = getattr(frames, "gi_yieldfrom", None) or getattr(frames, "cr_await", None)
        return place

    def _step(self, settled: Task[Any] | None, thrown: BaseException | None) -> None:
        """Sends results in until the code waits for an open task or ends. A coroutine fetches results from the task itself."""
        frames = self._frames
        assert frames is not None
        is_generator = self._is_generator
        send, throw = frames.send, frames.throw
        try:
            while True:
                if settled is not None and is_generator:
                    thrown = settled.error
                    awaited = throw(thrown) if thrown is not None else send(settled.result)
                elif thrown is not None:
                    awaited = throw(thrown)
                else:
                    awaited = send(None)
                thrown = None
                if not isinstance(awaited, Task):
                    settled = None
                    thrown = _not_durable(awaited, self.position())
                elif cast("Task[Any]", awaited).is_completed:
                    settled = cast("Task[Any]", awaited)
                elif isinstance(awaited, (TimerTask, EventTask)) and awaited.is_cancelled:
                    settled = None
                    thrown = TaskCanceledError(f"the task awaited at {self.position()} was cancelled before")
                else:
                    self.waiting_for = cast("Task[Any]", awaited)
                    return
        except StopIteration as stop:
            self._end(stop.value, None)
        except BaseException as error:  # noqa: BLE001 - see begin
            self._end(None, error)

    def _end(self, output: Any, error: BaseException | None) -> None:
        self._frames = None
        self.ended = True
        self.output = output
        self.error = error


def durable_tasks(method: str, tasks: Iterable[object]) -> list[Task[Any]]:
    """The tasks as a list.

    Raises:
        NotDurableError: something else is among them.
    """
    checked: list[Task[Any]] = []
    for position, task in enumerate(tasks):
        if not isinstance(task, Task):
            raise NotDurableError(
                f"context.{method} got {type(task).__name__} at position {position}; it joins durable tasks only. "
                "Pass what the context's methods return, without awaiting it first."
            )
        checked.append(cast("Task[Any]", task))
    return checked


def check_output(output: object, orchestrator: str) -> None:
    """A task isn't taken for an output: somebody forgot to wait for it.

    Raises:
        NotDurableError: it is one.
    """
    if isinstance(output, Task):
        raise NotDurableError(
            f"orchestrator '{orchestrator}' returned a task instead of its result; "
            "write 'yield' before it, in an async def 'await'."
        )


def _not_durable(awaited: object, place: str) -> NotDurableError:
    if awaited is None or hasattr(awaited, "_asyncio_future_blocking"):
        found = "something of asyncio"
        instead = "do I/O in an activity; wait with context.create_timer; join tasks with context.task_all or context.task_any"
    else:
        found = f"a value of type {type(awaited).__name__}"
        instead = "await what the context's methods return, and call activities through context.call_activity"
    return NotDurableError(
        f"the orchestrator awaited {found} at {place}; only durable tasks can be awaited here. Instead: {instead}."
    )
