"""Entities written as classes: public methods are operations, annotated attributes (or the class itself, a model) the state."""

import copy
import inspect
import types
import typing
from collections.abc import Callable, Coroutine
from dataclasses import is_dataclass
from typing import Any, ClassVar, TypedDict, cast, get_origin

import msgspec

from perdure.app.annotations import annotations, return_type
from perdure.app.registry import FunctionDefinitionError, place_of
from perdure.core.entity_context import DurableEntityContext, entity_context
from perdure.core.errors import PerdureError
from perdure.core.functions import EntityFunction

_DELETE = "delete"


class EntityOperationError(PerdureError):
    """An operation can't be applied: the class has no such method, or its input or its state doesn't fit. The caller gets it."""

    code = "PD1112"


class DurableEntity:
    """A base for entities that are classes. It isn't needed: any class will do. It gives the class the context's methods."""

    @property
    def entity_context(self) -> DurableEntityContext:
        """The context of the operation in progress."""
        return entity_context()

    def get_state(self, expected_type: Any = None, default: Any = None) -> Any:
        """The state of an entity without annotated attributes; ``default`` where there is none."""
        return entity_context().get_state(lambda: default, expected_type)

    def set_state(self, state: Any) -> None:
        """Changes the state of an entity without annotated attributes. ``None`` deletes it."""
        entity_context().set_state(state)


def check_entity_class(cls: type) -> None:
    """Guarantees that objects can be made without arguments and that operations take one input at most.

    Raises:
        FunctionDefinitionError: that isn't so.
    """
    for name, function in _methods(cls).items():
        parameters = list(inspect.signature(function).parameters.values())[1:]
        needed = [parameter for parameter in parameters if parameter.default is parameter.empty]
        variadic = any(parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) for parameter in parameters)
        if variadic or len(needed) > 1 or any(parameter.kind is parameter.KEYWORD_ONLY for parameter in needed):
            raise FunctionDefinitionError(
                f"class '{cls.__qualname__}': operation '{name}' ({place_of(function)}) must take one input at most. Put several "
                "values into one, such as a dataclass, or begin the method's name with an underscore if it isn't an operation."
            )
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        raise FunctionDefinitionError(
            f"class '{cls.__qualname__}' can't be an entity: a new one is made without arguments, but {error}. Give its "
            "attributes defaults."
        ) from error


def entity_from_class(cls: type, name: str, raises: tuple[type[Exception], ...]) -> EntityFunction:
    """The entity function that a class stands for.

    Raises:
        FunctionDefinitionError: its annotations can't be resolved.
    """
    state = _state_of(cls)
    operations = {method.casefold(): _Operation(method, function) for method, function in _methods(cls).items()}
    known = ", ".join(sorted(operation.name for operation in operations.values())) or "none"

    def call(context: DurableEntityContext) -> Any:
        operation = operations.get(context.operation_name.casefold())
        if operation is None:
            if context.operation_name.casefold() == _DELETE:
                context.delete_state()
                return None
            raise EntityOperationError(
                f"entity '{context.entity_id}' has no operation '{context.operation_name}'. Those of {cls.__qualname__}: {known}."
            )
        entity, untouched = state.load(context)
        result = operation.call(entity, context)
        if inspect.iscoroutine(result):
            return _finish(result, state, entity, untouched, context)
        state.save(entity, untouched, context)
        return result

    return EntityFunction(name, call, {key: operation.result_type for key, operation in operations.items()}, raises)


async def _finish(
    running: Coroutine[Any, Any, Any], state: "_State", entity: Any, untouched: str | None, context: DurableEntityContext
) -> Any:
    result = await running
    state.save(entity, untouched, context)
    return result


class _Operation:
    """A method, and the type of its one parameter."""

    def __init__(self, name: str, function: types.FunctionType) -> None:
        self.name = name
        self._function: Callable[..., Any] = function
        parameters = list(inspect.signature(function).parameters.values())[1:]
        self._takes_input = bool(parameters)
        self._optional = all(parameter.default is not parameter.empty for parameter in parameters)
        self._input_type = annotations(function).get(parameters[0].name) if parameters else None
        self.result_type = return_type(function)

    def call(self, entity: Any, context: DurableEntityContext) -> Any:
        """Runs it with the operation's input."""
        if not self._takes_input:
            if context.input_text is not None:
                raise EntityOperationError(
                    f"operation '{self.name}' of entity '{context.entity_id}' takes no input, but got one."
                )
            return self._function(entity)
        if context.input_text is None and self._optional:
            return self._function(entity)
        return self._function(entity, context.argument(self._input_type))


class _State:
    """How the objects of a class become the entity's state and come back. ``untouched`` is what a new one would be stored as."""

    def load(self, context: DurableEntityContext) -> tuple[Any, str | None]:
        """The object, and what it would be stored as if it is new."""
        raise NotImplementedError

    def save(self, entity: Any, untouched: str | None, context: DurableEntityContext) -> None:
        """Makes the object the state. Looking at an entity that doesn't exist must not create it."""
        if not context.state_is_set:
            value = self.value(entity, context)
            if untouched is None or context.text_of(value) != untouched:
                context.set_state(value)

    def value(self, entity: Any, context: DurableEntityContext) -> Any:
        """What is stored of the object."""
        raise NotImplementedError


class _Model(_State):
    """The class is a dataclass, a Struct or a pydantic model: its objects are the state."""

    def __init__(self, cls: type) -> None:
        self._cls = cls

    def load(self, context: DurableEntityContext) -> tuple[Any, str | None]:
        entity = context.get_state(expected_type=self._cls)
        if entity is not None:
            return entity, None
        entity = self._cls()
        return entity, context.text_of(entity)

    def value(self, entity: Any, context: DurableEntityContext) -> Any:
        return entity


class _Attributes(_State):
    """The annotated attributes of an ordinary class; one alone that is called ``state`` stands for the whole."""

    def __init__(self, cls: type, fields: dict[str, Any]) -> None:
        self._cls = cls
        self._names = frozenset(fields)
        self._single = list(fields) == ["state"]
        self._type: Any = fields["state"] if self._single else _typed_dict(fields)
        self._defaults = {name: getattr(cls, name) for name in fields if hasattr(cls, name)}

    def load(self, context: DurableEntityContext) -> tuple[Any, str | None]:
        entity = self._cls()
        for name, default in self._defaults.items():
            if name not in vars(entity):
                setattr(entity, name, copy.deepcopy(default))
        stored = context.get_state(expected_type=self._type)
        if stored is None:
            if self._single and not hasattr(entity, "state"):
                entity.state = self._new_state()
            return entity, context.text_of(self.value(entity, context))
        if self._single:
            entity.state = stored
        else:
            for name, value in stored.items():
                setattr(entity, name, value)
        return entity, None

    def value(self, entity: Any, context: DurableEntityContext) -> Any:
        attributes = cast("dict[str, Any]", vars(entity))
        lost = [name for name in attributes if name not in self._names and not name.startswith("_")]
        if lost:
            raise EntityOperationError(
                f"'self.{lost[0]}' of entity '{context.entity_id}' would be lost: only annotated attributes of "
                f"{self._cls.__qualname__} are its state. Annotate it in the class body, or begin its name with an underscore."
            )
        if self._single:
            return attributes.get("state")
        return {name: attributes[name] for name in sorted(self._names) if name in attributes}

    def _new_state(self) -> Any:
        try:
            return self._type()
        except Exception:  # noqa: BLE001 - a type that needs arguments: then the entity begins without state
            return None


class _ByHand(_State):
    """A ``DurableEntity`` without annotated attributes keeps its state itself, with ``get_state`` and ``set_state``."""

    def __init__(self, cls: type) -> None:
        self._cls = cls

    def load(self, context: DurableEntityContext) -> tuple[Any, str | None]:
        return self._cls(), None

    def save(self, entity: Any, untouched: str | None, context: DurableEntityContext) -> None:
        """Nothing: it has done so."""


def _state_of(cls: type) -> _State:
    if _is_model(cls):
        return _Model(cls)
    fields = _annotated_attributes(cls)
    return _ByHand(cls) if not fields and issubclass(cls, DurableEntity) else _Attributes(cls, fields)


def _typed_dict(fields: dict[str, Any]) -> Any:
    make: Any = TypedDict  # made at run time, which type checkers don't expect
    return make("State", fields, total=False)


def _is_model(cls: Any) -> bool:
    return is_dataclass(cls) or issubclass(cls, msgspec.Struct) or hasattr(cls, "model_validate_json")


def _annotated_attributes(cls: type) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise FunctionDefinitionError(
            f"class '{cls.__qualname__}' can't be an entity: its annotations can't be resolved ({error}). Import what they name "
            "outside of 'if TYPE_CHECKING'."
        ) from error
    return {name: hint for name, hint in hints.items() if not name.startswith("_") and ClassVar not in (hint, get_origin(hint))}


def _methods(cls: type) -> dict[str, types.FunctionType]:
    """The public methods, of the class and of the user's own base classes."""
    found: dict[str, types.FunctionType] = {}
    for base in reversed(cls.__mro__):
        if base is object or base is DurableEntity or base.__module__.partition(".")[0] in ("msgspec", "pydantic"):
            continue
        members = vars(base).items()
        found |= {name: member for name, member in members if isinstance(member, types.FunctionType) and not name.startswith("_")}
    return found
