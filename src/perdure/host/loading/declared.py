"""A function as its app declares it: its bindings as in function.json, whichever programming model they come from."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

from perdure.app.registry import place_of

Binding = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Declared:
    """One function."""

    name: str
    place: str
    call: Callable[..., Any]
    bindings: tuple[Binding, ...]
    http_type: str = "function"
    """``asgi`` or ``wsgi`` where it stands for a whole web application."""


def from_azure(name: str, function: Any, call: Callable[..., Any] | None = None) -> Declared:
    """What azure-functions' ``Function`` says; ``call`` is what to run, if that is another one than it knows."""
    if call is None:
        call = cast("Callable[..., Any]", function.get_user_function())
    bindings = tuple(plain(binding.get_dict_repr()) for binding in function.get_bindings())
    return Declared(name, place(call), call, bindings, function.http_type)


def user_function(call: Any) -> Any:
    """The function that the user wrote, behind what the SDK made of it."""
    for attribute in ("orchestrator_function", "entity_function"):
        call = getattr(call, attribute, call)
    return inspect.unwrap(call)


def place(call: Any) -> str:
    """File and line of the user's function."""
    function = user_function(call)
    return place_of(function) if inspect.isfunction(function) else f"{type(function).__name__} object"


def plain(value: Any) -> Any:
    """The same with the names of enum members instead of them."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, dict):
        return {key: plain(part) for key, part in _items(value)}
    if isinstance(value, list | tuple):
        return [plain(part) for part in _parts(value)]
    return value


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    return iter(value.items())


def _parts(value: Any) -> Iterator[Any]:
    return iter(value)
