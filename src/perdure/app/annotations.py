"""What the annotations of a user's function say about the types of its values."""

import inspect
import types
import typing
from collections.abc import Callable, Coroutine, Generator
from typing import Any


def annotations(function: Callable[..., Any]) -> dict[str, Any]:
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


def return_type(function: Callable[..., Any]) -> object:
    """What callers get: of a generator function its return value, of a coroutine function what it returns."""
    annotation = annotations(function).get("return")
    origin = typing.get_origin(annotation)
    if annotation is type(None):
        return None
    if inspect.isgeneratorfunction(function):
        arguments = typing.get_args(annotation)
        return arguments[2] if origin is Generator and len(arguments) == 3 and arguments[2] is not type(None) else None
    if origin in (Coroutine, Generator):
        return None
    return annotation
