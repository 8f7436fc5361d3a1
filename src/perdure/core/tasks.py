"""Tasks: what the user's code awaits or yields. Pure bookkeeping: a task is open, then has a value or an error, for ever.

A task knows the composites that watch it. Settling it costs O(watchers), so fan-in is linear in its width.
"""

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from perdure.core.errors import PerdureError

if TYPE_CHECKING:
    from perdure.core.recorder import Recorder

T_co = TypeVar("T_co", covariant=True)


class TaskNotCompletedError(PerdureError):
    """The result of a task was read before the task was awaited."""

    code = "PD1103"


class TaskCanceledError(PerdureError):
    """The code awaits a timer or an event wait that it has cancelled itself: nothing would ever come."""

    code = "PD1120"


class Task(Generic[T_co]):
    """A durable operation in progress. Await it or yield it; as often as you like once it has completed."""

    __slots__ = ("_error", "_value", "_watchers", "is_completed")

    def __init__(self) -> None:
        self.is_completed = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._watchers: list[Composite[Any]] | None = None

    def __await__(self) -> Generator[Any, Any, T_co]:
        if not self.is_completed:
            yield self
        return self.result

    @property
    def is_faulted(self) -> bool:
        """Whether it completed with an error."""
        return self._error is not None

    @property
    def error(self) -> BaseException | None:
        """The error it completed with."""
        return self._error

    @property
    def result(self) -> T_co:
        """The value.

        Raises:
            TaskNotCompletedError: it isn't completed yet.
            Exception: the error it completed with.
        """
        if self._error is not None:
            raise self._error
        if not self.is_completed:
            raise TaskNotCompletedError("this task has no result yet; await or yield it first")
        return self._value

    def watch(self, watcher: "Composite[Any]") -> None:
        """Tells ``watcher`` when this task settles; at once if it has."""
        if self.is_completed:
            watcher.child_settled(self)
        elif self._watchers is None:
            self._watchers = [watcher]
        else:
            self._watchers.append(watcher)

    def settle(self, value: object, error: BaseException | None = None) -> None:
        """Completes the task. Only the engine and composites call this; a settled task stays as it is."""
        if self.is_completed:
            return
        self.is_completed = True
        self._value = value
        self._error = error
        watchers = self._watchers
        if watchers is not None:
            self._watchers = None
            for watcher in watchers:
                watcher.child_settled(self)

    def leads_to(self, target: "Task[Any] | None") -> bool:
        """Whether settling this task could settle ``target``: it is the target, or an open composite between them is."""
        if self is target:
            return True
        return any(not watcher.is_completed and watcher.leads_to(target) for watcher in self._watchers or ())


class LeafTask(Task[T_co]):
    """A task that one history event settles."""

    __slots__ = ("name", "result_type", "task_id")

    def __init__(self, task_id: int, name: str, result_type: object) -> None:
        super().__init__()
        self.task_id = task_id
        self.name = name
        self.result_type = result_type


class TimerTask(LeafTask[None]):
    """A durable timer."""

    __slots__ = ("_recorder", "is_cancelled")

    def __init__(self, task_id: int, recorder: "Recorder") -> None:
        super().__init__(task_id, "timer", None)
        self._recorder = recorder
        self.is_cancelled = False

    def cancel(self) -> None:
        """The timer won't fire, and no longer keeps anything waiting.

        Raises:
            ValueError: it has already fired (as in azure-functions-durable).
        """
        if self.is_completed:
            raise ValueError("cannot cancel a timer that has already fired")
        if not self.is_cancelled:
            self.is_cancelled = True
            self._recorder.cancel_timer(self.task_id)


class EventTask(Task[T_co]):
    """A wait for one external event."""

    __slots__ = ("_recorder", "_timer", "is_cancelled", "name", "result_type")

    def __init__(self, name: str, result_type: object, recorder: "Recorder") -> None:
        super().__init__()
        self.name = name
        self.result_type = result_type
        self.is_cancelled = False
        self._recorder = recorder
        self._timer: TimerTask | None = None

    def cancel(self) -> None:
        """Gives up the wait: a later event of that name goes to another waiter, or stays buffered.

        Raises:
            ValueError: the event has already arrived.
        """
        if self.is_completed:
            raise ValueError(f"cannot cancel the wait for event '{self.name}': it has already arrived")
        if not self.is_cancelled:
            self.is_cancelled = True
            self._recorder.stop_waiting(self)
            self._drop_timer()

    def limit(self, timer: TimerTask) -> None:
        """Fails the wait with ``TimeoutError`` when ``timer`` fires."""
        self._timer = timer
        timer.watch(_EventTimeout(self))

    def time_out(self) -> None:
        """The timer fired first."""
        if not self.is_completed:
            self._recorder.stop_waiting(self)
            self.settle(None, TimeoutError(f"external event '{self.name}' did not arrive in time"))

    def settle(self, value: object, error: BaseException | None = None) -> None:
        """Completes the wait and drops its timer."""
        self._drop_timer()
        super().settle(value, error)

    def _drop_timer(self) -> None:
        if self._timer is not None and not self._timer.is_completed:
            self._timer.cancel()
        self._timer = None


class Composite(Task[T_co]):
    """A task made of tasks."""

    __slots__ = ()

    def child_settled(self, child: Task[Any]) -> None:
        """One of the watched tasks has completed."""
        raise NotImplementedError


class _EventTimeout(Composite[None]):
    """Ends an event wait when its timer fires."""

    __slots__ = ("_event",)

    def __init__(self, event: EventTask[Any]) -> None:
        super().__init__()
        self._event = event

    def child_settled(self, child: Task[Any]) -> None:
        self._event.time_out()


class WhenAll(Composite[list[Any]]):
    """All results in the order of the tasks; the first failure fails it at once (as ``task_all`` of azure-functions-durable)."""

    __slots__ = ("_children", "_open")

    def __init__(self, children: Sequence[Task[Any]]) -> None:
        super().__init__()
        self._children = children
        self._open = len(children)
        if not children:
            self.settle([])
        for child in children:
            child.watch(self)

    def child_settled(self, child: Task[Any]) -> None:
        """Counts down, or fails."""
        if self.is_completed:
            return
        if child.is_faulted:
            self.settle(None, child.error)
            return
        self._open -= 1
        if not self._open:
            self.settle([done.result for done in self._children])


class WhenAny(Composite[Task[Any]]):
    """The first task that completes, itself as the result; it never fails. The others go on and can be awaited later."""

    __slots__ = ()

    def __init__(self, children: Sequence[Task[Any]]) -> None:
        super().__init__()
        if not children:
            raise ValueError("task_any needs at least one task: nothing could ever complete it")
        for child in children:
            child.watch(self)

    def child_settled(self, child: Task[Any]) -> None:
        """The winner."""
        self.settle(child)


class RetryTask(Composite[T_co]):
    """A call that is made again after a failure. ``attempt`` makes one; ``delay`` tells how long to wait, or that it's over."""

    __slots__ = ("_attempt", "_delay", "_number", "_wait")

    def __init__(
        self,
        attempt: Callable[[int], Task[T_co]],
        delay: Callable[[int, BaseException], int | None],
        wait: Callable[[int], Task[None]],
    ) -> None:
        super().__init__()
        self._attempt = attempt
        self._delay = delay
        self._wait = wait
        self._number = 1
        attempt(1).watch(self)

    def child_settled(self, child: Task[Any]) -> None:
        """An attempt has ended, or the wait before the next one has."""
        if isinstance(child, TimerTask):
            self._number += 1
            self._attempt(self._number).watch(self)
        elif child.error is None:
            self.settle(child.result)
        else:
            try:
                delay_us = self._delay(self._number, child.error)
            except BaseException as error:  # noqa: BLE001 - the user's predicate raised: that is what the caller gets
                self.settle(None, error)
                return
            if delay_us is None:
                self.settle(None, child.error)
            else:
                self._wait(delay_us).watch(self)
