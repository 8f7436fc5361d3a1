"""The ``OrchestratorFlavour`` of azure-functions-durable 1.x."""

from collections.abc import Callable

from perdure.core.converter import JsonConverter
from perdure.core.events import AnyEvent, ExecutionStarted
from perdure.core.failures import FailureDetails
from perdure.core.functions import Functions
from perdure.core.recorder import Recorder
from perdure.host.azure.code import AzureCode
from perdure.host.azure.context import AzureOrchestrationContext
from perdure.host.azure.converter import AzureConverter
from perdure.host.azure.errors import AzureTaskFailedError, Kind


class _Azure:
    def code(self) -> AzureCode:
        return AzureCode()

    def converter(self, standard: JsonConverter) -> AzureConverter:
        return AzureConverter(standard)

    def context(
        self,
        recorder: Recorder,
        started: ExecutionStarted,
        functions: Functions,
        custom_status: str | None,
        histories: Callable[[], list[AnyEvent]],
    ) -> AzureOrchestrationContext:
        return AzureOrchestrationContext(recorder, started, functions, custom_status, histories)

    def failure(self, kind: Kind, name: str, task_id: int, details: FailureDetails) -> AzureTaskFailedError:
        return AzureTaskFailedError(kind, name, task_id, details)


FLAVOUR = _Azure()
