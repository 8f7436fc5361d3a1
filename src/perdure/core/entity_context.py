"""What the code of an entity sees during one operation. What it asks for counts only if the operation succeeds."""

from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast, overload

from perdure.core import features
from perdure.core.context import function_name
from perdure.core.converter import Converter
from perdure.core.entity_calls import moment_us
from perdure.core.entity_id import EntityId, entity_id
from perdure.core.errors import PerdureError
from perdure.core.events import EntityOperationCalled, EntityOperationSignaled, ExecutionStarted
from perdure.core.functions import Functions, no_orchestrator
from perdure.core.ids import check_instance_id, check_name
from perdure.core.messages import Message

T = TypeVar("T")
_UNREAD: Any = object()
_IMMUTABLE = frozenset({int, float, str, bool, type(None)})

current: "ContextVar[DurableEntityContext | None]" = ContextVar("perdure_entity_context", default=None)
"""The operation in progress."""


class NoEntityOperationError(PerdureError):
    """``entity_context()`` was called outside of an entity's operation."""

    code = "PD1109"


def entity_context() -> "DurableEntityContext":
    """The context of the operation in progress, for entities written as classes.

    Raises:
        NoEntityOperationError: there is none.
    """
    context = current.get()
    if context is None:
        raise NoEntityOperationError("entity_context() works only inside of an entity's operation")
    return context


class DurableEntityContext:
    """One operation on one entity: its input, the state, and what it may set off. Nothing leaves if it raises."""

    __slots__ = (
        "_converter",
        "_elsewhere",
        "_functions",
        "_make_id",
        "_newly_constructed",
        "_now_us",
        "_operation",
        "_result",
        "_state",
        "_state_is_set",
        "_state_text",
        "entity_id",
        "messages",
    )

    def __init__(
        self,
        entity: EntityId,
        operation: EntityOperationCalled | EntityOperationSignaled,
        state: str | None,
        converter: Converter,
        functions: Functions,
        now_us: int,
        make_id: Callable[[], str],
        elsewhere: bool = False,
    ) -> None:
        self._elsewhere = elsewhere
        self.entity_id = entity
        self.messages: list[Message] = []
        """What the operation sends, once it has succeeded."""
        self._operation = operation
        self._state_text = state
        self._state: Any = _UNREAD
        self._state_is_set = False
        self._result: Any = _UNREAD
        self._converter = converter
        self._functions = functions
        self._now_us = now_us
        self._make_id = make_id
        self._newly_constructed = state is None

    @property
    def entity_name(self) -> str:
        """The entity's name, in small letters."""
        return self.entity_id.name

    @property
    def entity_key(self) -> str:
        """The entity's key."""
        return self.entity_id.key

    @property
    def operation_name(self) -> str:
        """The operation, as its caller wrote it."""
        return self._operation.operation

    @property
    def is_newly_constructed(self) -> bool:
        """Whether the entity doesn't exist: true in the operation that creates it, and in none after that."""
        return self._newly_constructed

    # --- input and result -----------------------------------------------------------------------------------------

    @overload
    def get_input(self, expected_type: None = None) -> Any: ...
    @overload
    def get_input(self, expected_type: type[T]) -> T: ...
    def get_input(self, expected_type: Any = None) -> Any:
        """The operation's input; ``None`` where there is none.

        Raises:
            DeserializationError: it doesn't fit ``expected_type``.
        """
        return self._converter.decode(self._operation.input, expected_type, "input of entity operation", self._name)

    def set_result(self, result: Any) -> None:
        """What the caller gets. Without it, what the entity function returns."""
        self._result = result

    # --- state ----------------------------------------------------------------------------------------------------

    def get_state(self, initializer: Callable[[], Any] | None = None, expected_type: Any = None) -> Any:
        """The state. Changing the object that this returns changes the state, without ``set_state``.

        Args:
            initializer: gives a value where there is no state. It becomes the state with ``set_state`` only.
            expected_type: what the state is converted to. Only the first call of an operation converts.

        Raises:
            DeserializationError: the state doesn't fit ``expected_type``.
        """
        if self._state is _UNREAD:
            self._state = self._converter.decode(self._state_text, expected_type, "state of entity", self.entity_id.name)
        if self._state is None and initializer is not None:
            return initializer()
        return self._state

    def set_state(self, state: Any) -> None:
        """Changes the state. ``None`` deletes the entity."""
        self._state = state
        self._state_is_set = True

    def delete_state(self) -> None:
        """Deletes the entity, unless the operation sets a state afterwards."""
        self.set_state(None)

    def destruct_on_exit(self) -> None:
        """The same, under the name that azure-functions-durable has for it."""
        self.set_state(None)

    # --- what it may set off --------------------------------------------------------------------------------------

    def signal_entity(
        self,
        entityId: EntityId | str,  # noqa: N803 - as in azure-functions-durable
        operationName: str,  # noqa: N803
        operationInput: Any = None,  # noqa: N803
        *,
        signal_time: datetime | timedelta | None = None,
    ) -> None:
        """Sends an operation to an entity, itself included. It is applied exactly once, in the order of sending.

        Args:
            entityId: whom to tell.
            operationName: what it shall do.
            operationInput: with what.
            signal_time: not before then: a moment (naive means UTC), or how long from now.

        Raises:
            InvalidEntityIdError: ``entityId`` isn't one.
            SerializationError, PayloadTooLargeError: the input can't be stored.
        """
        target = str(entity_id(entityId))
        text = self._converter.encode(operationInput, "input of entity operation", f"{target}.{operationName}")
        due = None if signal_time is None else moment_us(signal_time, self._now_us)
        event = EntityOperationSignaled(target, operationName, input=text, scheduled_time=due, sender=str(self.entity_id))
        self.messages.append(Message(target, event))

    def start_new(
        self,
        orchestration_function_name: str | Callable[..., Any],
        instance_id: str | None = None,
        client_input: Any = None,
        version: str | None = None,
    ) -> str:
        """Starts an orchestration. Nobody learns of it if ``instance_id`` is taken by one that hasn't ended.

        Args:
            orchestration_function_name: the orchestrator's name or its decorated function.
            instance_id: its id; by default a new one.
            client_input: its input.
            version: what ``context.version`` shows.

        Returns:
            The instance id.

        Raises:
            OrchestratorNotRegisteredError: the app has no orchestrator of that name.
            InvalidInstanceIdError: the id breaks the rules.
            InvalidNameError: name or version has a NUL character.
            SerializationError, PayloadTooLargeError: the input can't be stored.
        """
        name = function_name(orchestration_function_name)
        function = self._functions.orchestrators.get(name.casefold())
        if function is not None:
            name = function.name
        elif not self._elsewhere:
            raise no_orchestrator(name, self._functions)
        if instance_id is None:
            instance_id = self._make_id()
        else:
            check_instance_id(instance_id)
        check_name(name, version)
        text = self._converter.encode(client_input, "input of orchestrator", name)
        started = ExecutionStarted(
            name=name, execution_id=self._make_id(), input=text, version=version, features=features.CURRENT
        )
        self.messages.append(Message(instance_id, started))
        return instance_id

    def schedule_new_orchestration(
        self,
        name: str | Callable[..., Any],
        input: Any = None,  # noqa: A002 - as in durabletask
        instance_id: str | None = None,
    ) -> str:
        """``start_new`` under the name that the durabletask SDK has for it."""
        return self.start_new(name, instance_id, input)

    # --- inside ---------------------------------------------------------------------------------------------------

    @property
    def input_text(self) -> str | None:
        """The operation's input as JSON text; ``None`` if it came without."""
        return self._operation.input

    @property
    def state_is_set(self) -> bool:
        """Whether this operation has called ``set_state`` or deleted the state."""
        return self._state_is_set

    def argument(self, expected_type: Any) -> Any:
        """The input for a parameter that has to have one; no input at all counts as null."""
        return self._converter.decode(self._operation.input or "null", expected_type, "input of entity operation", self._name)

    def text_of(self, value: Any) -> str | None:
        """The JSON text that ``value`` would be stored as."""
        return self._converter.encode(value, "state of entity", self.entity_id.name)

    def outcome(self, returned: object) -> tuple[str | None, str | None]:
        """The new state and the result, as JSON texts."""
        state = self._state_text
        if self._state_is_set or (self._state is not _UNREAD and type(cast("object", self._state)) not in _IMMUTABLE):
            state = self._converter.encode(self._state, "state of entity", self.entity_id.name)
        result = returned if self._result is _UNREAD else self._result
        return state, None if result is None else self._converter.encode(result, "result of entity operation", self._name)

    @property
    def _name(self) -> str:
        return f"{self.entity_id}.{self._operation.operation}"
