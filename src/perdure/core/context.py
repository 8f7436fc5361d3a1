"""The context that orchestrator code sees. No clock, no I/O: each method writes an action down and returns a task.

Names, parameters and defaults are those of azure-functions-durable 1.7 (``DurableOrchestrationContext``); what is
keyword-only beyond them is Perdure's.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast, overload
from uuid import UUID

from perdure.core.code import durable_tasks
from perdure.core.critical_section import LockTask
from perdure.core.durable_http import HTTP_ACTIVITY, HttpTask, http_request
from perdure.core.entity_calls import EntityCalls
from perdure.core.entity_id import EntityId, entity_id
from perdure.core.errors import PerdureError
from perdure.core.events import AnyEvent, ExecutionStarted
from perdure.core.failures import TaskFailedError
from perdure.core.functions import Functions
from perdure.core.ids import (
    InvalidInstanceIdError,
    check_instance_id,
    check_name,
    child_instance_id,
    deterministic_guid,
    deterministic_uuid,
)
from perdure.core.recorder import Dehydrated, Recorder, user_source
from perdure.core.retry import RetryOptions, next_delay_us
from perdure.core.tasks import EventTask, RetryTask, Task, TimerTask, WhenAll, WhenAny
from perdure.core.times import duration_us, from_us, to_us

T = TypeVar("T")
FUNCTION_NAME_ATTRIBUTE = "perdure_function_name"
"""Set on decorated functions, so that a function object can stand for its registered name."""


class FunctionReferenceError(PerdureError):
    """A call names something that is neither a string nor a decorated function, or a function of the wrong kind."""

    code = "PD1104"


def function_name(function: object) -> str:
    """The registered name that a string or a decorated function stands for.

    Raises:
        FunctionReferenceError: it is neither.
    """
    if isinstance(function, str):
        return function
    name = getattr(function, FUNCTION_NAME_ATTRIBUTE, None)
    if not isinstance(name, str):
        raise FunctionReferenceError(
            f"{function!r} is not a registered function. Pass the name as a string, or a function that was decorated with "
            "@app.activity_trigger or @app.orchestration_trigger."
        )
    return name


class DurableOrchestrationContext:
    """What an orchestrator may use instead of the world: activities, timers, events, time and unique ids that replay alike."""

    __slots__ = (
        "_custom_status",
        "_entity_calls",
        "_functions",
        "_histories",
        "_next_input",
        "_own_status",
        "_recorder",
        "_started",
        "_unique_ids",
    )

    def __init__(
        self,
        recorder: Recorder,
        started: ExecutionStarted,
        functions: Functions,
        custom_status: str | None,
        histories: Callable[[], list[AnyEvent]],
    ) -> None:
        self._recorder = recorder
        self._started = started
        self._functions = functions
        self._histories = histories
        self._custom_status = custom_status
        self._own_status: str | None = None
        """Without what earlier generations left, which a replay could not tell from what this one sets later."""
        self._next_input: tuple[str | None, bool, str | None] | None = None
        self._unique_ids = 0
        self._entity_calls: EntityCalls | None = None

    # --- calls ----------------------------------------------------------------------------------------------------

    @overload
    def call_activity(self, name: str, input_: Any = None, expected_type: None = None) -> Task[Any]: ...
    @overload
    def call_activity(self, name: str, input_: Any = None, *, expected_type: type[T]) -> Task[T]: ...
    @overload
    def call_activity(self, name: Callable[..., Awaitable[T]], input_: Any = None) -> Task[T]: ...
    @overload
    def call_activity(self, name: Callable[..., T], input_: Any = None) -> Task[T]: ...
    def call_activity(self, name: str | Callable[..., Any], input_: Any = None, expected_type: object = None) -> Task[Any]:
        """Schedules an activity; it runs at least once, and its result is recorded exactly once.

        Args:
            name: the activity's name (case does not matter) or its decorated function.
            input_: its input; anything that serializes to JSON.
            expected_type: type of the result where the function's annotation doesn't tell.

        Returns:
            A task whose result is the activity's. It fails with ``TaskFailedError``, or with the original where the
            activity's decorator lists its type in ``raises``.

        Raises:
            SerializationError: ``input_`` can't be written as JSON.
            PayloadTooLargeError: its JSON is longer than the limit.
        """
        name, input_text, result_type = self._activity_call(name, input_, expected_type)
        return self._recorder.schedule_activity(name, input_text, result_type)

    def call_activity_with_retry(
        self, name: str | Callable[..., Any], retry_options: RetryOptions, input_: Any = None, expected_type: object = None
    ) -> Task[Any]:
        """Like ``call_activity``, and calls again after a failure as ``retry_options`` say. The last failure is what you get."""
        name, input_text, result_type = self._activity_call(name, input_, expected_type)
        return self._retried_activity(name, input_text, result_type, retry_options)

    def call_sub_orchestrator(
        self,
        name: str | Callable[..., Any],
        input_: Any = None,
        instance_id: str | None = None,
        version: str | None = None,
        expected_type: object = None,
    ) -> Task[Any]:
        """Starts another orchestration and waits for it.

        Args:
            name: the orchestrator's name or its decorated function.
            input_: its input.
            instance_id: its id; by default one is derived from this instance's.
            version: its version; by default this instance's.
            expected_type: type of the result where the function's annotation doesn't tell.

        Raises:
            InvalidInstanceIdError: ``instance_id`` breaks the rules, or is this instance's or its parent's.
        """
        name, input_text, result_type = self._orchestrator_call(name, input_, expected_type)
        return self._sub_orchestration(name, input_text, instance_id, version, result_type)

    def call_sub_orchestrator_with_retry(
        self,
        name: str | Callable[..., Any],
        retry_options: RetryOptions,
        input_: Any = None,
        instance_id: str | None = None,
        version: str | None = None,
        expected_type: object = None,
    ) -> Task[Any]:
        """Like ``call_sub_orchestrator``, and starts it again after a failure. All attempts have the same instance id."""
        name, input_text, result_type = self._orchestrator_call(name, input_, expected_type)
        return self._retried_sub_orchestration(name, input_text, instance_id, version, result_type, retry_options)

    def call_http(
        self,
        method: str,
        uri: str,
        content: Any = None,
        headers: Mapping[str, str] | None = None,
        token_source: Any = None,
        is_raw_str: bool = False,
        *,
        timeout: timedelta | None = None,
        retry_options: RetryOptions | None = None,
        status_codes_to_retry: Sequence[int] = (),
        asynchronous_pattern_enabled: bool = True,
    ) -> Task[dict[str, Any]]:
        """Makes an HTTP request durably, and follows a 202 answer by polling its ``Location`` until the answer is another one.

        Args:
            method: the verb.
            uri: an absolute http(s) address.
            content: the body. It is sent as JSON, unless ``is_raw_str``.
            headers: of the request.
            token_source: where the host gets a bearer token from: a mapping with ``resource`` and ``kind``, or an object whose
                ``to_json()`` gives one.
            is_raw_str: ``content`` is a string that is sent as it is.
            timeout: of one request; the call fails with it.
            retry_options: repeat a request that fails, or that is answered with one of ``status_codes_to_retry``.
            status_codes_to_retry: by default all but 2xx. Without ``retry_options`` every answer is a result.
            asynchronous_pattern_enabled: ``False`` makes a 202 a result like any other.

        Returns:
            A task whose result is ``{"statusCode": ..., "headers": {...}, "content": "..."}``.

        Raises:
            TypeError: ``is_raw_str``, but ``content`` is no string.
            DurableHttpError: the request can't be made as described.
        """
        request = self._http_request(
            method,
            uri,
            content,
            headers,
            token_source,
            is_raw_str,
            timeout=timeout,
            status_codes_to_retry=tuple(status_codes_to_retry) if retry_options is not None else None,
            follow=asynchronous_pattern_enabled,
        )
        return self._http(request, retry_options)

    # --- entities -------------------------------------------------------------------------------------------------

    @overload
    def call_entity(
        self,
        entityId: EntityId | str,  # noqa: N803 - as in azure-functions-durable
        operationName: str,  # noqa: N803
        operationInput: Any = None,  # noqa: N803
        expected_type: None = None,
    ) -> Task[Any]: ...
    @overload
    def call_entity(
        self,
        entityId: EntityId | str,  # noqa: N803 - as in azure-functions-durable
        operationName: str,  # noqa: N803
        operationInput: Any = None,  # noqa: N803
        *,
        expected_type: type[T],
    ) -> Task[T]: ...
    def call_entity(
        self,
        entityId: EntityId | str,  # noqa: N803 - as in azure-functions-durable
        operationName: str,  # noqa: N803
        operationInput: Any = None,  # noqa: N803
        expected_type: object = None,
    ) -> Task[Any]:
        """Calls an operation of an entity and waits for it. It is applied exactly once, after all that was sent there before.

        Args:
            entityId: whom to call.
            operationName: what it shall do.
            operationInput: with what; anything that serializes to JSON.
            expected_type: type of the result where the entity's annotation doesn't tell.

        Returns:
            A task whose result is the operation's. It fails with ``TaskFailedError``, or with the original where the
            entity's decorator lists its type in ``raises``; what the operation had changed is undone then.

        Raises:
            InvalidEntityIdError: ``entityId`` isn't one.
            CriticalSectionError: there is a critical section, and it doesn't allow this call.
            SerializationError, PayloadTooLargeError: the input can't be stored.
        """
        entity = entity_id(entityId)
        text = self._operation_input(entity, operationName, operationInput)
        return self._entities.call(entity, operationName, text, expected_type)

    def signal_entity(
        self,
        entityId: EntityId | str,  # noqa: N803 - as in azure-functions-durable
        operationName: str,  # noqa: N803
        operationInput: Any = None,  # noqa: N803
        *,
        signal_time: datetime | timedelta | None = None,
    ) -> None:
        """Sends an operation to an entity and doesn't wait for it. It is applied exactly once, in the order of sending.

        Args:
            entityId: whom to tell.
            operationName: what it shall do.
            operationInput: with what; anything that serializes to JSON.
            signal_time: not before then: a moment (naive means UTC), or how long from now.

        Raises:
            InvalidEntityIdError: ``entityId`` isn't one.
            CriticalSectionError: this orchestration has the entity locked; call it instead.
            SerializationError, PayloadTooLargeError: the input can't be stored.
        """
        entity = entity_id(entityId)
        text = self._operation_input(entity, operationName, operationInput)
        self._entities.signal(entity, operationName, text, signal_time)

    def lock_entities(self, *entities: EntityId | str | Sequence[EntityId | str]) -> LockTask:
        """Waits until this orchestration has all the entities to itself: a critical section.

        ::

            async with context.lock_entities(a, b):           # in an async def
                ...
            with (yield context.lock_entities(a, b)):         # in a generator
                ...

        Until the block is left nobody else's operations run on them, and only they may be called, with ``call_entity``. No
        deadlock can come of it: everybody locks in the same order. Completing, failing, being terminated and continuing as
        new release them too.

        Args:
            entities: whom to lock, in any order.

        Raises:
            InvalidEntityIdError: one isn't an entity id.
            CriticalSectionError: there is no entity, or there is a critical section already.
        """
        flat: list[EntityId] = []
        for entity in entities:
            if isinstance(entity, list | tuple):
                flat += [entity_id(one) for one in cast("Sequence[object]", entity)]
            else:
                flat.append(entity_id(entity))
        return self._entities.lock(tuple(flat))

    # --- time and events ------------------------------------------------------------------------------------------

    def create_timer(self, fire_at: datetime | timedelta) -> TimerTask:
        """A durable timer of any length. Never fires early; a time in the past fires at once.

        Args:
            fire_at: a moment (naive means UTC), or how long from now.
        """
        if isinstance(fire_at, timedelta):
            return self._recorder.create_timer(self._recorder.now_us + duration_us(fire_at))
        return self._recorder.create_timer(to_us(fire_at))

    @overload
    def wait_for_external_event(
        self, name: str, expected_type: None = None, *, timeout: timedelta | None = None
    ) -> EventTask[Any]: ...
    @overload
    def wait_for_external_event(self, name: str, expected_type: type[T], *, timeout: timedelta | None = None) -> EventTask[T]: ...
    def wait_for_external_event(
        self, name: str, expected_type: Any = None, *, timeout: timedelta | None = None
    ) -> EventTask[Any]:
        """Waits for ``raise_event`` with that name, in any case. Events that came earlier are kept, first in, first out.

        Args:
            name: the event's name.
            expected_type: type of its payload.
            timeout: after this long the task fails with ``TimeoutError``. The timer behind it is cleaned up.
        """
        task: EventTask[Any] = self._recorder.wait_for_event(name, expected_type)
        if timeout is not None and not task.is_completed:
            task.limit(self._recorder.create_timer(self._recorder.now_us + duration_us(timeout)))
        return task

    def task_all(self, activities: Sequence[Task[Any]]) -> Task[list[Any]]:
        """Completes with all results, in the order given; fails as soon as one fails. An empty list gives an empty list.

        Raises:
            NotDurableError: something in the list isn't a durable task.
        """
        return WhenAll(durable_tasks("task_all", activities))

    def task_any(self, activities: Sequence[Task[Any]]) -> Task[Task[Any]]:
        """Completes with the first task that completes, as a task; never fails by itself.

        Raises:
            ValueError: the list is empty.
            NotDurableError: something in the list isn't a durable task.
        """
        return WhenAny(durable_tasks("task_any", activities))

    # --- this instance --------------------------------------------------------------------------------------------

    def continue_as_new(self, input_: Any, *, save_events: bool = True, new_version: str | None = None) -> None:
        """Ends this generation and begins the next with ``input_`` and an empty history, as soon as the code returns or waits.

        Args:
            input_: input of the next generation.
            save_events: keep external events that nobody has waited for yet (the default, unlike azure-functions-durable 1.x).
            new_version: version of the next generation; by default it stays.
        """
        if self._recorder.closed:
            raise Dehydrated
        check_name(self._started.name, new_version)
        if self._recorder.replaying:
            self._recorder.continued_at = user_source()
        self._next_input = (
            self._recorder.converter.encode(input_, "input of continue_as_new", self._started.name),
            save_events,
            new_version,
        )

    def set_custom_status(self, status: Any) -> None:
        """Shows ``status`` (anything JSON) to whoever queries the instance."""
        if self._recorder.closed:
            raise Dehydrated
        self._custom_status = self._own_status = self._recorder.converter.encode(status, "custom status of", self._started.name)

    @property
    def custom_status(self) -> Any:
        """The last value that this generation gave to ``set_custom_status``."""
        return self._recorder.converter.decode(self._own_status, None, "custom status of", self._started.name)

    def get_input(self, expected_type: Any = None) -> Any:
        """The input. ``expected_type`` goes before the decorator's ``input_type``."""
        definition = self._functions.orchestrators.get(self._started.name.casefold())
        type_ = expected_type or (definition.input_type if definition else None)
        return self._recorder.converter.decode(self._started.input, type_, "input of orchestrator", self._started.name)

    @property
    def instance_id(self) -> str:
        """This instance's id."""
        return self._recorder.instance_id

    @property
    def parent_instance_id(self) -> str | None:
        """The id of the orchestration that called this one, if one did."""
        return self._started.parent.instance_id if self._started.parent else None

    @property
    def version(self) -> str | None:
        """The version this instance was started with."""
        return self._started.version

    @property
    def is_replaying(self) -> bool:
        """Whether the code is being taken through its past; log records and the like are repeats then."""
        return self._recorder.replaying

    @property
    def current_utc_datetime(self) -> datetime:
        """The time of the current turn, aware, UTC. The same on every replay."""
        return from_us(self._recorder.now_us)

    @property
    def will_continue_as_new(self) -> bool:
        """Whether ``continue_as_new`` was called."""
        return self._next_input is not None

    @property
    def histories(self) -> list[AnyEvent]:
        """The history events recorded so far, decoded anew at each call. The turn in progress is not among them."""
        return self._histories()

    def new_uuid(self) -> str:
        """A unique id that is the same on every replay."""
        timestamp = self.current_utc_datetime.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return deterministic_uuid(self.instance_id, timestamp, self._count_unique())

    def new_guid(self) -> UUID:
        """Like ``new_uuid``, as a ``UUID``."""
        return deterministic_guid(self.instance_id, str(self.current_utc_datetime), self._count_unique())

    # --- inside ---------------------------------------------------------------------------------------------------

    @property
    def custom_status_text(self) -> str | None:
        """The custom status as JSON text, for the projection."""
        return self._custom_status

    @property
    def next_generation(self) -> tuple[str | None, bool, str | None] | None:
        """``(input, save_events, new_version)`` once ``continue_as_new`` was called."""
        return self._next_input

    def _operation_input(self, entity: EntityId, operation: str, input_: Any) -> str | None:
        return self._recorder.converter.encode(input_, "input of entity operation", f"{entity}.{operation}")

    @property
    def _entities(self) -> EntityCalls:
        calls = self._entity_calls
        if calls is None:  # most orchestrations need none
            calls = self._entity_calls = EntityCalls(self._recorder, self._started, self._functions)
        return calls

    def _count_unique(self) -> int:
        counter = self._unique_ids
        self._unique_ids = counter + 1
        return counter

    def _activity_call(self, name: object, input_: Any, expected_type: object) -> tuple[str, str | None, object]:
        if not isinstance(name, str):
            name = function_name(name)
        if expected_type is None:
            definition = self._functions.activities.get(name.casefold())
            if definition is not None:
                expected_type = definition.output_type
        return name, self._recorder.converter.encode(input_, "input of activity", name), expected_type

    def _orchestrator_call(self, name: object, input_: Any, expected_type: object) -> tuple[str, str | None, object]:
        text = function_name(name)
        if expected_type is None:
            definition = self._functions.orchestrators.get(text.casefold())
            if definition is not None:
                expected_type = definition.output_type
        return text, self._recorder.converter.encode(input_, "input of orchestrator", text), expected_type

    def _sub_orchestration(
        self, name: str, input_: str | None, child_id: str | None, version: str | None, result_type: object
    ) -> Task[Any]:
        if self._entity_calls is not None:
            self._entity_calls.check_sub_orchestration()
        task_id = self._recorder.new_task_id()
        if child_id is None:
            child_id = child_instance_id(self.instance_id, self._started.generation, task_id)
        else:
            check_instance_id(child_id)
            if child_id in (self.instance_id, self.parent_instance_id):
                raise InvalidInstanceIdError(
                    f"a sub-orchestration can't have the instance id of its caller or of its caller's parent: {child_id!r}"
                )
        version = self._started.version if version is None else version
        check_name(name, version)
        return self._recorder.schedule_sub_orchestration(task_id, name, child_id, input_, version, result_type)

    def _http_request(
        self,
        method: str,
        uri: str,
        content: Any,
        headers: Mapping[str, str] | None,
        token_source: Any,
        is_raw_str: bool,
        *,
        timeout: timedelta | None = None,
        status_codes_to_retry: tuple[int, ...] | None = None,
        follow: bool = True,
    ) -> dict[str, Any]:
        if is_raw_str and not isinstance(content, str):
            raise TypeError(f"call_http: is_raw_str is for content that is a str, not {type(content).__name__}. Leave it out.")
        text = content if is_raw_str else self._recorder.converter.encode(content, "content of call_http to", uri)
        return http_request(
            method,
            uri,
            text,
            headers,
            token_source,
            timeout=timeout,
            status_codes_to_retry=status_codes_to_retry,
            follow=follow,
        )

    def _http(self, request: dict[str, Any], retry_options: RetryOptions | None) -> HttpTask:
        def send(request: dict[str, Any]) -> Task[Any]:
            text = self._recorder.converter.encode(request, "request of call_http to", request["uri"])
            if retry_options is None:
                return self._recorder.schedule_activity(HTTP_ACTIVITY, text, None)
            return self._retried_activity(HTTP_ACTIVITY, text, None, retry_options)

        return HttpTask(request, send, self._recorder)

    def _retried_activity(self, name: str, input_: str | None, result_type: object, options: RetryOptions) -> Task[Any]:
        origin = self._recorder.next_task_id

        def attempt(number: int) -> Task[Any]:
            return self._recorder.schedule_activity(name, input_, result_type, number, origin if number > 1 else None)

        return self._retrying(attempt, options, origin)

    def _retried_sub_orchestration(
        self,
        name: str,
        input_: str | None,
        child_id: str | None,
        version: str | None,
        result_type: object,
        options: RetryOptions,
    ) -> Task[Any]:
        origin = self._recorder.next_task_id
        child_id = child_id or child_instance_id(self.instance_id, self._started.generation, origin)

        def attempt(number: int) -> Task[Any]:
            return self._sub_orchestration(name, input_, child_id, version, result_type)

        return self._retrying(attempt, options, origin)

    def _retrying(self, attempt: Callable[[int], Task[Any]], options: RetryOptions, origin: int) -> Task[Any]:
        recorder = self._recorder
        first_attempt_us = recorder.now_us
        seed = f"{self._started.execution_id}:{self._started.generation}:{origin}"

        def delay(number: int, error: BaseException) -> int | None:
            failure = error if isinstance(error, TaskFailedError) else error.__cause__
            if not isinstance(failure, TaskFailedError):
                return None  # a result that can't be decoded: the next attempt would give the same
            return next_delay_us(
                options,
                attempt=number,
                first_attempt_us=first_attempt_us,
                now_us=recorder.now_us,
                error=failure,
                jitter_seed=seed,
            )

        return RetryTask(attempt, delay, lambda delay_us: recorder.create_timer(recorder.now_us + delay_us))
