"""Declared bindings as the host's own values."""

import inspect
from typing import Any, Literal

from perdure.app.bindings import AuthLevel
from perdure.host.loading.checks import check_client, check_parameters, is_preview
from perdure.host.loading.declared import Binding, Declared
from perdure.host.loading.problems import Problem
from perdure.host.model import (
    AsgiRoute,
    ClientParameter,
    HttpTrigger,
    Output,
    QueueTrigger,
    TimerTrigger,
    Trigger,
    TriggeredFunction,
    WarmupTrigger,
    WsgiRoute,
)

_DEFAULT_CONNECTION = "AzureWebJobsStorage"
_AUTH_LEVELS: dict[str, AuthLevel] = {"anonymous": "anonymous", "function": "function", "admin": "admin"}
_SUPPORTED = "durableClient, http (out), queue (out)"


def triggered_function(
    declared: Declared, trigger: Binding, client_kind: Literal["perdure", "azure"], problems: list[Problem]
) -> TriggeredFunction | None:
    """The function for the host's triggers; ``None`` where something is wrong with it."""
    found = len(problems)
    others = [binding for binding in declared.bindings if not str(binding["type"]).lower().endswith("trigger")]
    clients: list[ClientParameter] = []
    outputs: list[Output] = []
    for binding in others:
        kind, name = str(binding["type"]).lower(), str(binding.get("name", ""))
        is_output = str(binding.get("direction", "")).lower() == "out"
        if kind in ("durableclient", "orchestrationclient"):
            clients.append(client_parameter(binding, client_kind))
        elif kind == "http" and is_output:
            outputs.append(Output("http", name, "", ""))
        elif kind == "queue" and is_output:
            outputs.append(Output("queue", name, str(binding.get("queueName", "")), _connection(binding)))
        else:
            problems.append(
                Problem(
                    declared.place,
                    f"function '{declared.name}' has the binding '{binding['type']}' ({name}), which isn't supported here",
                    f"supported besides triggers: {_SUPPORTED}. Use a client library in the function instead.",
                )
            )
    context = check_parameters(declared, trigger, others, problems)
    if not any(client.kind == "azure-preview" for client in clients):
        check_client(declared, problems)
    made = _trigger(declared, trigger, problems)
    if made is None or len(problems) > found:
        return None
    return TriggeredFunction(declared.name, declared.call, declared.place, made, tuple(clients), tuple(outputs), context)


def client_parameter(binding: Binding, kind: Literal["perdure", "azure"]) -> ClientParameter:
    """The parameter that gets a durable client; one that 2.x of azure-functions-durable has bound speaks its protocol."""
    return ClientParameter(
        str(binding.get("name", "")),
        "azure-preview" if is_preview(binding) else kind,
        _text(binding, "taskHub"),
        _text(binding, "connectionName"),
    )


def _trigger(declared: Declared, trigger: Binding, problems: list[Problem]) -> Trigger | None:
    parameter = str(trigger.get("name", ""))
    kind = trigger["type"]
    if kind == "httpTrigger":
        return _http(declared, trigger, parameter, problems)
    if kind == "timerTrigger":
        schedule = _required(declared, trigger, "schedule", problems)
        use_monitor = bool(trigger.get("useMonitor", True))
        if not schedule:
            return None
        return TimerTrigger(schedule, parameter, bool(trigger.get("runOnStartup", False)), use_monitor)
    if kind == "queueTrigger":
        queue = _required(declared, trigger, "queueName", problems)
        return QueueTrigger(queue, _connection(trigger), parameter) if queue else None
    return WarmupTrigger(parameter)


def _http(declared: Declared, trigger: Binding, parameter: str, problems: list[Problem]) -> Trigger | None:
    written = str(trigger.get("authLevel") or "function")
    level = _AUTH_LEVELS.get(written.lower())
    if level is None:
        problems.append(
            Problem(
                declared.place,
                f"function '{declared.name}' has the authorization level '{written}'",
                f"it is one of {', '.join(_AUTH_LEVELS)}.",
            )
        )
        return None
    named = _text(trigger, "route")
    route = (declared.name if named is None else named).strip("/")
    if declared.http_type != "function":
        mounted = _mounted(declared)
        if mounted is not None:
            return AsgiRoute(route, mounted, level) if declared.http_type == "asgi" else WsgiRoute(route, mounted, level)
    methods = tuple(str(method).upper() for method in trigger.get("methods") or ())
    return HttpTrigger(route, methods, level, parameter)


def _mounted(declared: Declared) -> Any:
    """The web application behind the function that azure-functions made for it; ``None`` where it hides it."""
    nonlocals = inspect.getclosurevars(declared.call).nonlocals
    middleware = nonlocals.get(f"{declared.http_type}_middleware")
    return getattr(middleware, "_app", None)


def _required(declared: Declared, trigger: Binding, field: str, problems: list[Problem]) -> str | None:
    value = _text(trigger, field)
    if not value:
        problems.append(
            Problem(
                declared.place, f"the {trigger['type']} of function '{declared.name}' has no '{field}'", f"add '{field}' to it."
            )
        )
    return value


def _connection(binding: Binding) -> str:
    return _text(binding, "connection") or _DEFAULT_CONNECTION


def _text(binding: Binding, field: str) -> str | None:
    value = binding.get(field)
    return None if value is None else str(value)
