"""What ``perdure start`` shows once it listens: every function, and how to reach it."""

import os
from collections.abc import Iterator

from perdure.cli.printing import say
from perdure.cli.store_urls import without_password
from perdure.client.links import WEBHOOKS_PATH
from perdure.host.model import (
    AsgiRoute,
    HttpTrigger,
    LoadedApp,
    QueueTrigger,
    TimerTrigger,
    TriggeredFunction,
    WarmupTrigger,
    WsgiRoute,
)
from perdure.host.settings import HostSettings
from perdure.host.triggers.app_settings import is_disabled


def show_functions(loaded: LoadedApp, settings: HostSettings, origin: str, grpc_address: str | None) -> None:
    """``origin`` is where the host listens, such as ``http://127.0.0.1:7071``; ``grpc_address`` the same for gRPC, if it does."""
    # By hand: Rich would take longer to import than all of this takes.
    rows = [("FUNCTION", "KIND", "AT"), *_rows(loaded, settings, origin)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for name, kind, at in rows:
        say(f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {at}".rstrip())
    if settings.serves_functions:
        say(f"\nManagement API  {origin}{WEBHOOKS_PATH}")
    else:
        say(f"\nHealth          {origin}/admin/host/ping")
    if grpc_address is not None:
        say(f"gRPC            {grpc_address}")
    say(f"Task hub        {settings.hub_name} in {without_password(settings.store)}")
    if settings.role != "all":
        say(f"Role            {settings.role}")
    say("Ctrl-C ends it.", flush=True)


def _rows(loaded: LoadedApp, settings: HostSettings, origin: str) -> Iterator[tuple[str, str, str]]:
    for function in loaded.triggered if settings.serves_functions else ():
        kind, at = ("disabled", "") if is_disabled(function.name, os.environ) else _reach(function, settings, origin)
        yield function.name, kind, at
    functions, work = loaded.functions, loaded.work
    for kind, durable in (
        ("orchestrator", {**functions.orchestrators, **({} if work is None else work.orchestrators)}),
        ("activity", functions.activities),
        ("entity", {**functions.entities, **({} if work is None else work.entities)}),
    ):
        for name in sorted(function.name for function in durable.values()):
            if not name.startswith("BuiltIn__"):  # what azure-functions-durable 2.x puts into every app
                yield name, kind, ""


def _reach(function: TriggeredFunction, settings: HostSettings, origin: str) -> tuple[str, str]:
    match function.trigger:
        case HttpTrigger(route=route, methods=methods, auth_level=level):
            needs = "" if level == "anonymous" else f"  ({level} key)"
            prefix = f"/{settings.route_prefix}" if settings.route_prefix else ""
            return "http", f"{','.join(methods) or 'GET,POST'} {origin}{prefix}/{route}{needs}"
        case AsgiRoute(route=route) | WsgiRoute(route=route):
            return "app", f"{origin}/{route}"
        case TimerTrigger(schedule=schedule):
            return "timer", schedule
        case QueueTrigger(queue_name=queue):
            return "queue", queue
        case WarmupTrigger():
            return "warm-up", ""
