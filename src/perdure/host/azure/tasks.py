"""Tasks as azure-functions-durable 1.7 shows them: scheduled when first yielded, and with a ``result`` that never raises."""

from collections.abc import Callable, Sequence
from typing import Any

from perdure.core.tasks import Composite, Task, TimerTask, WhenAll, WhenAny
from perdure.host.azure import sdk


class _Shown(Task[Any]):
    """What all tasks of such an app have in common."""

    __slots__ = ()

    def begin(self) -> None:
        """Schedules what isn't scheduled yet, in order. Called when the code yields the task, or one made of it."""
        raise NotImplementedError

    @property
    def result(self) -> Any:
        """The value, or the exception it failed with, or ``None`` while it is open."""
        return self._value if self._error is None else self._error

    @property
    def state(self) -> Any:
        """The SDK's ``TaskState``."""
        states = sdk.task_states()
        if not self.is_completed:
            return states.RUNNING
        return states.SUCCEEDED if self._error is None else states.FAILED


class AzureTask(_Shown, Composite[Any]):
    """A call, a timer or a wait, which ``start`` schedules."""

    __slots__ = ("_start",)

    def __init__(self, start: Callable[[], Task[Any]]) -> None:
        super().__init__()
        self._start: Callable[[], Task[Any]] | None = start

    def begin(self) -> None:
        """Schedules it, once."""
        start, self._start = self._start, None
        if start is None:
            return
        try:
            started = start()
        except Exception as error:  # noqa: BLE001 - the user's code made the call, so it gets the error
            self.settle(None, error)
        else:
            started.watch(self)

    def child_settled(self, child: Task[Any]) -> None:
        """What was scheduled has completed."""
        self.settle(child.result if child.error is None else None, child.error)


class AzureTimer(AzureTask):
    """A durable timer."""

    __slots__ = ("_timer", "is_cancelled")

    def __init__(self, start: Callable[[], TimerTask]) -> None:
        def started() -> TimerTask:
            self._timer = start()
            return self._timer

        super().__init__(started)
        self._timer: TimerTask | None = None
        self.is_cancelled = False

    def cancel(self) -> None:
        """The timer won't fire.

        Raises:
            ValueError: it has fired.
        """
        if self.is_completed:
            raise ValueError("cannot cancel a timer that has already fired")
        self.is_cancelled = True
        self._start = None
        if self._timer is not None:
            self._timer.cancel()


class AzureWhenAll(_Shown, WhenAll):
    """``task_all``."""

    __slots__ = ("children",)

    def __init__(self, children: Sequence[Task[Any]]) -> None:
        self.children = children
        super().__init__(children)

    def begin(self) -> None:
        """Schedules its parts."""
        _begin_all(self.children)


class AzureWhenAny(_Shown, WhenAny):
    """``task_any``."""

    __slots__ = ("children",)

    def __init__(self, children: Sequence[Task[Any]]) -> None:
        self.children = children
        super().__init__(children)

    def begin(self) -> None:
        """Schedules its parts."""
        _begin_all(self.children)


def begin(task: Task[Any] | None) -> bool:
    """Schedules what the code waits for. Whether it is there already, such as an event that came earlier."""
    if not isinstance(task, _Shown):
        return False
    task.begin()
    return task.is_completed


def _begin_all(children: Sequence[Task[Any]]) -> None:
    for child in children:
        if isinstance(child, _Shown):
            child.begin()
