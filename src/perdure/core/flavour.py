"""The seam for orchestrators written for another SDK: same engine and history, but what they see is what that SDK shows."""

from collections.abc import Callable
from typing import Literal, Protocol

from perdure.core.code import Code
from perdure.core.context import DurableOrchestrationContext
from perdure.core.converter import Converter, JsonConverter
from perdure.core.events import AnyEvent, ExecutionStarted
from perdure.core.failures import FailureDetails
from perdure.core.functions import Functions
from perdure.core.recorder import Recorder


class OrchestratorFlavour(Protocol):
    """What differs for such an orchestrator. Without state: one serves all instances."""

    def code(self) -> Code:
        """What runs the function."""
        ...

    def converter(self, standard: JsonConverter) -> Converter:
        """What takes the orchestrator's values to JSON and back, within the limits of the engine's converter."""
        ...

    def context(
        self,
        recorder: Recorder,
        started: ExecutionStarted,
        functions: Functions,
        custom_status: str | None,
        histories: Callable[[], list[AnyEvent]],
    ) -> DurableOrchestrationContext:
        """What the function gets as its argument; parameters as those of ``DurableOrchestrationContext``."""
        ...

    def failure(
        self, kind: Literal["activity", "sub-orchestration", "entity operation"], name: str, task_id: int, details: FailureDetails
    ) -> Exception:
        """What the orchestrator's code gets thrown when a task of its has failed."""
        ...
