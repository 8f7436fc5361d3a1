"""Where functions go that decorators found: names, kinds, source places, and the types of their values."""

import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from perdure.app.annotations import annotations, return_type
from perdure.core.errors import PerdureError
from perdure.core.functions import ActivityFunction, EntityFunction, OrchestratorFunction, Pool


class FunctionDefinitionError(PerdureError):
    """A decorated function can't be used. The message names it, its file and line, and the fix."""

    code = "PD1401"


def place_of(function: Callable[..., Any]) -> str:
    """File and line of a function's definition; of a class its module."""
    if isinstance(function, type):
        return f"{function.__module__}.{function.__qualname__}"
    code = inspect.unwrap(function).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


def function_label(function: Callable[..., Any]) -> str:
    """Name and place, for messages."""
    return f"function '{function.__name__}' ({place_of(function)})"


def check_callable(function: object, decorator: str) -> None:
    """Guarantees a plain function.

    Raises:
        FunctionDefinitionError: it is something else.
    """
    if not isinstance(function, types.FunctionType):
        raise FunctionDefinitionError(
            f"@{decorator} decorates functions, not {type(function).__name__} ({function!r}). "
            "Put it directly above a def, with parentheses."
        )


def check_parameter(function: Callable[..., Any], parameter: str, decorator: str) -> bool:
    """Whether the function takes the decorator's parameter; a function without parameters takes none.

    Raises:
        FunctionDefinitionError: its only parameter has another name, or there are others without default.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters:
        return False
    first, *others = parameters
    if first.name != parameter:
        raise FunctionDefinitionError(
            f"{function_label(function)}: @{decorator} says that the parameter is called '{parameter}', but it is called "
            f"'{first.name}'. Make the two equal."
        )
    for other in others:
        if other.default is other.empty and other.kind not in (other.VAR_POSITIONAL, other.VAR_KEYWORD):
            raise FunctionDefinitionError(
                f"{function_label(function)}: nothing is passed for parameter '{other.name}'. Give it a default, or put what it "
                f"carries into '{parameter}'."
            )
    return True


def check_transactional(function: Callable[..., Any], parameter: str) -> None:
    """Guarantees that the function takes its input and a connection, and nothing else.

    Raises:
        FunctionDefinitionError: it doesn't.
    """
    names = list(inspect.signature(function).parameters)
    if names != [parameter, "connection"]:
        raise FunctionDefinitionError(
            f"{function_label(function)}: a transactional activity has exactly two parameters, '{parameter}' and 'connection'; "
            f"this one has ({', '.join(names)})."
        )


class Registered:
    """One decorated function and what its decorator said."""

    def __init__(
        self,
        kind: str,
        name: str,
        function: Callable[..., Any],
        *,
        parameter: str,
        takes_input: bool = True,
        input_type: object = None,
        pool: Pool = "thread",
        timeout: timedelta | None = None,
        raises: tuple[type[Exception], ...] = (),
        transactional: bool = False,
        make_entity: Callable[[], EntityFunction] | None = None,
    ) -> None:
        self.kind = kind
        self.name = name
        self.function = function
        self.parameter = parameter
        self.takes_input = takes_input
        self.input_type = input_type
        self.pool: Pool = pool
        self.timeout = timeout
        self.raises = raises
        self.transactional = transactional
        self._make_entity = make_entity

    def entity(self) -> EntityFunction:
        """As the engine sees it."""
        if self._make_entity is not None:
            return self._make_entity()
        return EntityFunction(self.name, self.function, raises=self.raises)

    def orchestrator(self) -> OrchestratorFunction:
        """As the engine sees it."""
        return OrchestratorFunction(self.name, self.function, self.input_type, return_type(self.function), self.raises)

    def activity(self) -> ActivityFunction:
        """As the engine sees it."""
        return ActivityFunction(
            self.name,
            self.function,
            self.pool,
            self.takes_input,
            annotations(self.function).get(self.parameter),
            return_type(self.function),
            self.timeout,
            self.raises,
            transactional=self.transactional,
        )


class Registry:
    """The functions of an app or a blueprint, by kind and case-folded name."""

    def __init__(self) -> None:
        self._registered: dict[tuple[str, str], Registered] = {}

    def __iter__(self) -> Iterator[Registered]:
        return iter(self._registered.values())

    def add(self, entry: Registered) -> None:
        """Takes a function in.

        Raises:
            FunctionDefinitionError: there is one of that name, in any case.
        """
        key = (entry.kind, entry.name.casefold())
        other = self._registered.get(key)
        if other is not None:
            raise FunctionDefinitionError(
                f"two {entry.kind} functions have the name '{entry.name}' (case does not matter): {place_of(other.function)} and "
                f"{place_of(entry.function)}. Rename one, or give it another name in its decorator."
            )
        self._registered[key] = entry

    def rename(self, function: Callable[..., Any], name: str) -> bool:
        """Gives a registered function another name, unless its decorator said one. Whether it has it now.

        Raises:
            FunctionDefinitionError: there is one of that name, in any case.
        """
        for key, entry in self._registered.items():
            if entry.function is function and entry.name == function.__name__:
                del self._registered[key]
                entry.name = name
                self.add(entry)
                return True
        return False

    def functions(self) -> "RegisteredFunctions":
        """A snapshot for the engine. Annotations are looked at now, when all names of the user's modules exist."""
        return RegisteredFunctions(
            {key[1]: entry.orchestrator() for key, entry in self._registered.items() if entry.kind == "orchestrator"},
            {key[1]: entry.activity() for key, entry in self._registered.items() if entry.kind == "activity"},
            {key[1]: entry.entity() for key, entry in self._registered.items() if entry.kind == "entity"},
        )


class RegisteredFunctions:
    """Implements ``core.functions.Functions``."""

    def __init__(
        self,
        orchestrators: Mapping[str, OrchestratorFunction],
        activities: Mapping[str, ActivityFunction],
        entities: Mapping[str, EntityFunction],
    ) -> None:
        self.orchestrators = orchestrators
        self.activities = activities
        self.entities = entities
