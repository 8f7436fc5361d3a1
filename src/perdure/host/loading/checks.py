"""Checks of one declared function."""

import inspect
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from perdure.host.loading.declared import Binding, Declared, user_function
from perdure.host.loading.problems import Problem

TRIGGERS = (
    "httpTrigger",
    "timerTrigger",
    "queueTrigger",
    "warmupTrigger",
    "orchestrationTrigger",
    "activityTrigger",
    "entityTrigger",
)
DURABLE = frozenset({"orchestrationTrigger", "activityTrigger", "entityTrigger"})
CONTEXT = "context"
"""Parameter that gets the invocation context, without any binding."""
_KINDS = {"orchestrationtrigger": "an orchestrator", "activitytrigger": "an activity", "entitytrigger": "an entity"}
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def find_trigger(declared: Declared, problems: list[Problem]) -> Binding | None:
    """The function's trigger, its type in Azure's spelling; ``None`` if it has none that can be served."""
    triggers = [binding for binding in declared.bindings if str(binding.get("type", "")).lower().endswith("trigger")]
    if len(triggers) != 1:
        found = ", ".join(str(trigger["type"]) for trigger in triggers) or "none"
        problems.append(
            Problem(
                declared.place, f"function '{declared.name}' needs exactly one trigger; it has {found}", "leave it one trigger."
            )
        )
        return None
    trigger = triggers[0]
    kind = next((known for known in TRIGGERS if known.lower() == str(trigger["type"]).lower()), None)
    if kind is None:
        problems.append(
            Problem(
                declared.place,
                f"function '{declared.name}' has the trigger '{trigger['type']}', which isn't supported here",
                f"use one of {', '.join(TRIGGERS)}, or keep the function in an app of its own.",
            )
        )
        return None
    return {**trigger, "type": kind}


def check_parameters(declared: Declared, trigger: Binding, others: Iterable[Binding], problems: list[Problem]) -> str | None:
    """Makes sure that bindings and parameters match. Returns the name of the invocation context's parameter, if there is one."""
    bound = {str(binding.get("name", "")) for binding in (trigger, *others)} - {"$return"}
    try:
        parameters = inspect.signature(declared.call).parameters
    except ValueError:  # a function written in C need not tell
        return None
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    for name in sorted(bound - set(parameters)) if not takes_any else ():
        have = ", ".join(f"'{known}'" for known in parameters) or "none"
        problems.append(
            Problem(
                declared.place,
                f"function '{declared.name}' has a binding for the parameter '{name}', but no such parameter; it has {have}",
                "make the name in the decorator (or in function.json) and the name of the parameter equal.",
            )
        )
    for name, parameter in parameters.items():
        if name not in bound and name != CONTEXT and parameter.default is parameter.empty and parameter.kind not in _VARIABLE:
            problems.append(
                Problem(
                    declared.place,
                    f"function '{declared.name}' has the parameter '{name}', but no binding that fills it",
                    "bind it, give it a default, or delete it.",
                )
            )
    return CONTEXT if CONTEXT in parameters and CONTEXT not in bound else None


@cache
def sdk_release() -> str:
    """The version of azure-functions-durable that is installed."""
    try:
        return version("azure-functions-durable")
    except PackageNotFoundError:
        return ""


def is_preview(binding: Binding) -> bool:
    """Whether azure-functions-durable 2.x has made the binding, which speaks protobuf."""
    return bool(binding.get("durableRequiresGrpc"))


def check_durable(declared: Declared, trigger: Binding, problems: list[Problem]) -> bool:
    """Whether an orchestrator, activity or entity has the form that its kind needs."""
    kind = _KINDS[trigger["type"].lower()]
    function = user_function(declared.call)
    found = len(problems)
    may_have_client = is_preview(trigger) and trigger["type"] == "activityTrigger"
    problems.extend(
        Problem(
            declared.place,
            f"{kind} can't have other bindings than its trigger, but function '{declared.name}' has '{binding['type']}'",
            "move what needs the binding into a function with another trigger, or use a client library in the activity.",
        )
        for binding in declared.bindings
        if not str(binding["type"]).lower().endswith("trigger") and not (may_have_client and is_preview(binding))
    )
    if trigger["type"] == "activityTrigger":
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            problems.append(
                Problem(
                    declared.place,
                    f"activity '{declared.name}' is a generator function",
                    "return a value; only orchestrators yield.",
                )
            )
        return len(problems) == found
    if function is declared.call:
        maker = "df.Orchestrator.create" if trigger["type"] == "orchestrationTrigger" else "df.Entity.create"
        problems.append(
            Problem(
                declared.place,
                f"function '{declared.name}' is no {kind.split()[1]}: it wasn't made by {maker}",
                f"main = {maker}(...)",
            )
        )
    elif not is_preview(trigger) and sdk_release().startswith("2."):
        # Its decorators say so themselves.
        problems.append(
            Problem(
                declared.place,
                f"function '{declared.name}' was made by azure-functions-durable {sdk_release()}, but its trigger doesn't say so",
                'add "durableRequiresGrpc": true to every binding of its function.json that is durable, or use the decorators.',
            )
        )
    elif is_preview(trigger):
        _check_not_async(declared, kind, function, "2.x", problems)
    else:
        _check_context(declared, kind, function, problems)
        _check_not_async(declared, kind, function, "1.x", problems)
    return len(problems) == found


def _check_context(declared: Declared, kind: str, function: Callable[..., Any], problems: list[Problem]) -> None:
    try:
        inspect.signature(function).bind(object())
    except TypeError:
        problems.append(
            Problem(
                declared.place,
                f"{kind} has one parameter, its context, but function '{declared.name}' has {inspect.signature(function)}",
                f"def {function.__name__}(context): ...",
            )
        )


def _check_not_async(declared: Declared, kind: str, function: Callable[..., Any], release: str, problems: list[Problem]) -> None:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        problems.append(
            Problem(
                declared.place,
                f"'{declared.name}' is an async def; azure-functions-durable {release} runs {kind} as a plain def only",
                "def, with 'yield' where it says 'await'." if kind == "an orchestrator" else "def, without 'await'.",
            )
        )


def check_client(declared: Declared, problems: list[Problem]) -> None:
    """Makes sure that a function which gets the SDK's client is awaitable: the SDK awaits it."""
    function: Any = getattr(declared.call, "client_function", None)
    while hasattr(function, "client_function"):
        function = function.client_function
    if function is not None and not (
        inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(inspect.unwrap(function))
    ):
        problems.append(
            Problem(
                declared.place,
                f"function '{declared.name}' gets a durable client, but isn't async; azure-functions-durable 1.x awaits it",
                f"async def {function.__name__}(...), and await the client's methods.",
            )
        )
