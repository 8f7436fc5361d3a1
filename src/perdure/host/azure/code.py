"""Runs an orchestrator function of azure-functions-durable 1.x."""

from collections.abc import Callable
from typing import Any, cast

from perdure.core.code import Code
from perdure.core.context import DurableOrchestrationContext
from perdure.core.tasks import Task
from perdure.host.azure.tasks import begin


class AzureCode(Code):
    """Schedules tasks when the function yields them, as that SDK does: two calls that are yielded one by one run one by one."""

    __slots__ = ("_context",)

    def begin(self, call: Callable[[Any], Any], context: object) -> None:
        """Enters the function and runs it until it waits or ends."""
        self._context = cast("DurableOrchestrationContext", context)
        super().begin(call, context)

    def _step(self, settled: Task[Any] | None, thrown: BaseException | None) -> None:
        super()._step(settled, thrown)
        # What is yielded after continue_as_new is dropped.
        while not self._context.will_continue_as_new and begin(task := self.waiting_for):
            self.waiting_for = None
            super()._step(task, None)
