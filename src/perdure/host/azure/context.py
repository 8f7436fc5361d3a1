"""The orchestrator context of an app of azure-functions-durable 1.x: its members, parameters and values are those of 1.7.0."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from perdure.core.code import durable_tasks
from perdure.core.context import DurableOrchestrationContext
from perdure.core.entity_id import EntityId, entity_id
from perdure.core.events import AnyEvent, ExecutionStarted
from perdure.core.functions import Functions
from perdure.core.recorder import Recorder
from perdure.core.retry import RetryOptions
from perdure.core.tasks import Task
from perdure.core.times import to_us
from perdure.host.azure import sdk
from perdure.host.azure.history import history_fields
from perdure.host.azure.inputs import input_value
from perdure.host.azure.names import called_name
from perdure.host.azure.tasks import AzureTask, AzureTimer, AzureWhenAll, AzureWhenAny

_POLL_MILLISECONDS = 30_000


class AzureOrchestrationContext(DurableOrchestrationContext):
    """What the user's function gets instead of the SDK's ``DurableOrchestrationContext``."""

    def __init__(
        self,
        recorder: Recorder,
        started: ExecutionStarted,
        functions: Functions,
        custom_status: str | None,
        histories: Callable[[], list[AnyEvent]],
    ) -> None:
        super().__init__(recorder, started, functions, custom_status, histories)
        self._shown_status: Any = None

    # --- calls ----------------------------------------------------------------------------------------------------

    def call_activity(  # pyright: ignore[reportIncompatibleMethodOverride] - not overloaded
        self, name: Any, input_: Any = None, expected_type: Any = None
    ) -> AzureTask:
        """Calls an activity, given its name or its decorated function."""
        called, text, type_ = self._activity_call(name, input_, expected_type)
        return AzureTask(lambda: self._recorder.schedule_activity(called, text, type_))

    def call_activity_with_retry(self, name: Any, retry_options: Any, input_: Any = None, expected_type: Any = None) -> AzureTask:
        """The same, again after a failure; takes the SDK's ``RetryOptions`` as well as Perdure's."""
        called, text, type_ = self._activity_call(name, input_, expected_type)
        options = _retry_options(retry_options)
        return AzureTask(lambda: self._retried_activity(called, text, type_, options))

    def call_sub_orchestrator(
        self,
        name: Any,
        input_: Any = None,
        instance_id: str | None = None,
        version: str | None = None,
        expected_type: Any = None,
    ) -> AzureTask:
        """Calls a sub-orchestrator, given its name or its decorated function."""
        called, text, type_ = self._orchestrator_call(name, input_, expected_type)
        return AzureTask(lambda: self._sub_orchestration(called, text, instance_id, version, type_))

    def call_sub_orchestrator_with_retry(
        self,
        name: Any,
        retry_options: Any,
        input_: Any = None,
        instance_id: str | None = None,
        version: str | None = None,
        expected_type: Any = None,
    ) -> AzureTask:
        """The same, again after a failure."""
        called, text, type_ = self._orchestrator_call(name, input_, expected_type)
        options = _retry_options(retry_options)
        return AzureTask(lambda: self._retried_sub_orchestration(called, text, instance_id, version, type_, options))

    def call_http(  # pyright: ignore[reportIncompatibleMethodOverride] - 1.7 has no more parameters
        self,
        method: str,
        uri: str,
        content: Any = None,
        headers: Mapping[str, str] | None = None,
        token_source: Any = None,
        is_raw_str: bool = False,
    ) -> AzureTask:
        """Makes an HTTP request durably and polls after a 202."""
        request = self._http_request(method, uri, content, headers, token_source, is_raw_str)
        return AzureTask(lambda: self._http(request, None))

    def call_entity(  # pyright: ignore[reportIncompatibleMethodOverride] - not overloaded
        self,
        entityId: Any,  # noqa: N803
        operationName: str,  # noqa: N803
        operationInput: Any = None,  # noqa: N803
        expected_type: Any = None,
    ) -> AzureTask:
        """Calls an operation of an entity."""
        entity = entity_id(entityId)
        text = self._operation_input(entity, operationName, operationInput)
        return AzureTask(lambda: self._entities.call(entity, operationName, text, expected_type))

    def signal_entity(  # pyright: ignore[reportIncompatibleMethodOverride] - 1.7 has no more parameters
        self,
        entityId: Any,  # noqa: N803
        operationName: str,  # noqa: N803
        operationInput: Any = None,  # noqa: N803
    ) -> None:
        """Sends an operation to an entity, at once and without waiting."""
        entity = entity_id(entityId)
        self._entities.signal(entity, operationName, self._operation_input(entity, operationName, operationInput), None)

    # --- time and events ------------------------------------------------------------------------------------------

    def create_timer(self, fire_at: datetime) -> AzureTimer:  # pyright: ignore[reportIncompatibleMethodOverride] - as in 1.7
        """A durable timer of any length; naive means UTC.

        Raises:
            ValueError: ``fire_at`` is no datetime.
        """
        if not isinstance(fire_at, datetime):  # pyright: ignore[reportUnnecessaryIsInstance] - user code isn't checked
            raise ValueError(f"create_timer takes a datetime, not {fire_at!r}")  # noqa: TRY004 - what 1.7 raises
        return AzureTimer(lambda: self._recorder.create_timer(to_us(fire_at)))

    def wait_for_external_event(  # pyright: ignore[reportIncompatibleMethodOverride] - 1.7 has no more parameters
        self, name: str, expected_type: Any = None
    ) -> AzureTask:
        """Waits for an event. What 1.7's ``raise_event`` sends arrives as the JSON text that it makes of its data."""
        return AzureTask(lambda: self._recorder.wait_for_event(name, expected_type))

    def task_all(self, activities: Sequence[Task[Any]]) -> AzureWhenAll:
        """Completes with all results, or fails with the first failure."""
        return AzureWhenAll(durable_tasks("task_all", activities))

    def task_any(self, activities: Sequence[Task[Any]]) -> AzureWhenAny:
        """Completes with the first task that completes."""
        return AzureWhenAny(durable_tasks("task_any", activities))

    # --- this instance --------------------------------------------------------------------------------------------

    def continue_as_new(self, input_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - 1.7 has no more
        """Begins the next generation as soon as the code yields or returns. Events nobody waited for are kept, unlike in 1.7."""
        super().continue_as_new(self._recorder.converter.encode(input_, "input of continue_as_new", self._started.name))

    def set_custom_status(self, status: Any) -> None:
        """Shows ``status`` to whoever queries the instance."""
        super().set_custom_status(status)
        self._shown_status = status

    @property
    def custom_status(self) -> Any:
        """The last value given to ``set_custom_status``."""
        return self._shown_status

    def get_input(self, expected_type: Any = None) -> Any:
        """The input. Clients, sub-orchestrator calls and ``continue_as_new`` send JSON text as a JSON string; both layers go."""
        definition = self._functions.orchestrators.get(self._started.name.casefold())
        return input_value(self._started.input, expected_type or (definition.input_type if definition else None))

    @property
    def histories(self) -> list[Any]:
        """The history so far, as the SDK's ``HistoryEvent`` objects."""
        return [sdk.history_event(fields) for fields in history_fields(self._histories())]

    @property
    def function_context(self) -> Any:
        """What the host passes besides."""
        return sdk.function_context(defaultHttpAsyncRequestSleepTimeMillseconds=_POLL_MILLISECONDS)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _activity_call(self, name: Any, input_: Any, expected_type: Any) -> tuple[str, str | None, object]:
        type_ = expected_type or sdk.type_discovery().activity_output_type(name)
        called = called_name(name, "activityTrigger")
        return called, self._recorder.converter.encode(input_, "input of activity", called), type_

    def _orchestrator_call(self, name: Any, input_: Any, expected_type: Any) -> tuple[str, str | None, object]:
        called = called_name(name, "orchestrationTrigger")
        encode, what = self._recorder.converter.encode, "input of orchestrator"
        return called, encode(encode(input_, what, called), what, called), expected_type

    def _operation_input(self, entity: EntityId, operation: str, input_: Any) -> str | None:
        # JSON text as a JSON string, as the SDK's client sends it too: then the entity need not guess.
        text = super()._operation_input(entity, operation, input_)
        return super()._operation_input(entity, operation, text)


def _retry_options(options: Any) -> RetryOptions:
    if isinstance(options, RetryOptions):
        return options
    return RetryOptions(options.first_retry_interval_in_milliseconds, options.max_number_of_attempts)
