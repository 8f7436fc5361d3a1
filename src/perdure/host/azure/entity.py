"""Entities of an app of azure-functions-durable 1.x, run natively; operations are undone if they fail, which 1.7 doesn't do."""

from collections.abc import Callable
from typing import Any

from perdure.core.entity_context import DurableEntityContext
from perdure.core.functions import EntityFunction
from perdure.host.azure.converter import AzureConverter
from perdure.host.azure.inputs import input_value


class AzureEntityContext:
    """What the user's function gets instead of the SDK's ``DurableEntityContext``: its members, and no others."""

    def __init__(self, context: DurableEntityContext) -> None:
        self._context = context

    @property
    def entity_name(self) -> str:
        """The entity's name, in small letters."""
        return self._context.entity_name

    @property
    def entity_key(self) -> str:
        """The entity's key."""
        return self._context.entity_key

    @property
    def operation_name(self) -> str:
        """The operation."""
        return self._context.operation_name

    @property
    def is_newly_constructed(self) -> bool:
        """Whether the operation creates the entity. In 1.7 it is always false."""
        return self._context.is_newly_constructed

    def get_input(self, expected_type: Any = None) -> Any:
        """The operation's input."""
        return input_value(self._context.input_text, expected_type)

    def get_state(self, initializer: Callable[[], Any] | None = None, expected_type: Any = None) -> Any:
        """The state, or what ``initializer`` gives."""
        return self._context.get_state(initializer, expected_type)

    def set_state(self, state: Any) -> None:
        """Changes the state."""
        self._context.set_state(state)

    def set_result(self, result: Any) -> None:
        """What the caller gets."""
        self._context.set_result(result)

    def destruct_on_exit(self) -> None:
        """Deletes the entity."""
        self._context.destruct_on_exit()


def entity_function(name: str, handle: Any) -> EntityFunction:
    """The user's function behind what ``df.Entity.create`` returned."""
    function: Callable[[AzureEntityContext], Any] = handle.entity_function

    def call(context: DurableEntityContext) -> None:
        function(AzureEntityContext(context))  # what it returns isn't the result, unlike what set_result gets

    return EntityFunction(name, call, converter=AzureConverter)
