"""Where functions go that decorators found: names, kinds, source places, and the types of their values."""

import inspect
import types
import typing
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping
from datetime import timedelta
from typing import Any

from perdure.core.errors import PerdureError
from perdure.core.functions import ActivityFunction, OrchestratorFunction, Pool


class FunctionDefinitionError(PerdureError):
    """A decorated function can't be used. The message names it, its file and line, and the fix."""

    code = "PD1401"


def place_of(function: Callable[..., Any]) -> str:
    """File and line of a function's definition."""
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

    def orchestrator(self) -> OrchestratorFunction:
        """As the engine sees it."""
        return OrchestratorFunction(self.name, self.function, self.input_type, _return_type(self.function), self.raises)

    def activity(self) -> ActivityFunction:
        """As the engine sees it."""
        return ActivityFunction(
            self.name,
            self.function,
            self.pool,
            self.takes_input,
            _annotations(self.function).get(self.parameter),
            _return_type(self.function),
            self.timeout,
            self.raises,
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
        )


class RegisteredFunctions:
    """Implements ``core.functions.Functions``."""

    def __init__(self, orchestrators: Mapping[str, OrchestratorFunction], activities: Mapping[str, ActivityFunction]) -> None:
        self.orchestrators = orchestrators
        self.activities = activities


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations that can be resolved. Names imported only for type checkers can't be: those values stay plain JSON."""
    try:
        return typing.get_type_hints(function)
    except (NameError, AttributeError, TypeError, SyntaxError):
        resolved: dict[str, Any] = {}
        for name, annotation in getattr(function, "__annotations__", {}).items():
            try:
                alone = types.FunctionType(function.__code__, function.__globals__)
                alone.__annotations__ = {name: annotation}
                resolved.update(typing.get_type_hints(alone))
            except (NameError, AttributeError, TypeError, SyntaxError):
                continue
        return resolved


def _return_type(function: Callable[..., Any]) -> object:
    """What callers get: of a generator function its return value, of a coroutine function what it returns."""
    annotation = _annotations(function).get("return")
    origin = typing.get_origin(annotation)
    if annotation is type(None):
        return None
    if inspect.isgeneratorfunction(function):
        arguments = typing.get_args(annotation)
        return arguments[2] if origin is Generator and len(arguments) == 3 and arguments[2] is not type(None) else None
    if origin in (Coroutine, Generator):
        return None
    return annotation
