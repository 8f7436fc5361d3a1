"""Small apps and the parts of a host around them, without any server."""

import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

import perdure as df
from perdure.host.application import Application
from perdure.host.keys import HostKeys
from perdure.host.model import (
    AuthLevel,
    ClientParameter,
    HttpTrigger,
    LoadedApp,
    Output,
    QueueTrigger,
    TimerTrigger,
    Trigger,
    TriggeredFunction,
)
from perdure.host.settings import HostSettings

RETURNS_HTTP = Output("http", "$return", "", "")
KEYS = HostKeys(master_key="master", function_keys={"default": "function"}, system_keys={"durabletask": "system"})


def triggered(call: Callable[..., Any], trigger: Trigger, *outputs: Output, client: str | None = None) -> TriggeredFunction:
    """A function as the loader would hand it over; one with a parameter ``context`` gets it."""
    clients = () if client is None else (ClientParameter("client", "perdure" if client == "perdure" else "azure", None, None),)
    wants_context = "context" in inspect.signature(call).parameters
    return TriggeredFunction(
        call.__name__,
        call,
        f"function_app.py:{call.__code__.co_firstlineno}",
        trigger,
        clients,
        outputs,
        "context" if wants_context else None,
    )


def http(
    call: Callable[..., Any],
    route: str | None = None,
    *methods: str,
    level: AuthLevel = "anonymous",
    client: str | None = None,
    outputs: tuple[Output, ...] = (RETURNS_HTTP,),
) -> TriggeredFunction:
    """An HTTP function with the parameter ``req``."""
    return triggered(call, HttpTrigger(call.__name__ if route is None else route, methods, level, "req"), *outputs, client=client)


def timer(
    call: Callable[..., Any], schedule: str, *, run_on_startup: bool = False, use_monitor: bool = True
) -> TriggeredFunction:
    """A timer function with the parameter ``timer``."""
    return triggered(call, TimerTrigger(schedule, "timer", run_on_startup, use_monitor))


def queue(call: Callable[..., Any], name: str, connection: str = "") -> TriggeredFunction:
    """A queue function with the parameter ``msg``."""
    return triggered(call, QueueTrigger(name, connection, "msg"))


def loaded(folder: Path, *functions: TriggeredFunction, app: df.DFApp | None = None) -> LoadedApp:
    """An app of these functions."""
    return LoadedApp(folder, (app or df.DFApp()).functions(), functions, "perdure")


@asynccontextmanager
async def served(
    *functions: TriggeredFunction,
    app: df.DFApp | None = None,
    keys: HostKeys | None = None,
    app_settings: Mapping[str, str] | None = None,
    **settings: Any,
) -> AsyncGenerator[httpx.AsyncClient]:
    """A started application on a store in memory, and a client that speaks to it without a network."""
    folder = Path("app")
    options = HostSettings(folder=folder, store="memory://", **settings)
    application = Application(loaded(folder, *functions, app=app), options, keys=keys, app_settings=app_settings or {})
    await application.start()
    try:
        transport = httpx.ASGITransport(application.asgi, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
            yield client
    finally:
        await application.stop()
