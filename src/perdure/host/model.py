"""What the host knows of a loaded app, whichever programming model it was written in.

``host.loading`` makes these values; triggers, management and the CLI only read them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from perdure.core.functions import Functions

AuthLevel = Literal["anonymous", "function", "admin"]


@dataclass(frozen=True, slots=True)
class HttpTrigger:
    """Runs a function for each request to a route."""

    route: str
    methods: tuple[str, ...]
    """Upper case; empty stands for GET and POST."""
    auth_level: AuthLevel
    parameter: str


@dataclass(frozen=True, slots=True)
class TimerTrigger:
    """Runs a function on a schedule."""

    schedule: str
    parameter: str
    run_on_startup: bool
    use_monitor: bool


@dataclass(frozen=True, slots=True)
class QueueTrigger:
    """Runs a function for each message of an Azure Storage queue."""

    queue_name: str
    connection: str
    parameter: str


@dataclass(frozen=True, slots=True)
class WarmupTrigger:
    """Runs a function before the first request is answered."""

    parameter: str


@dataclass(frozen=True, slots=True)
class AsgiRoute:
    """Hands all requests below a route to an ASGI app."""

    route: str
    app: object
    auth_level: AuthLevel


@dataclass(frozen=True, slots=True)
class WsgiRoute:
    """Hands all requests below a route to a WSGI app."""

    route: str
    app: object
    auth_level: AuthLevel


Trigger = HttpTrigger | TimerTrigger | QueueTrigger | WarmupTrigger | AsgiRoute | WsgiRoute


@dataclass(frozen=True, slots=True)
class ClientParameter:
    """A parameter that gets a durable client: Perdure's own, or the JSON text that azure-functions-durable makes one from."""

    name: str
    kind: Literal["perdure", "azure", "azure-preview"]
    """``azure``: 1.x, which asks over HTTP; ``azure-preview``: 2.x, over gRPC."""
    task_hub: str | None
    connection: str | None


@dataclass(frozen=True, slots=True)
class Output:
    """Where a value goes that a function returns (``$return``) or sets on a parameter."""

    kind: Literal["http", "queue"]
    parameter: str
    queue_name: str
    connection: str


@dataclass(frozen=True, slots=True)
class TriggeredFunction:
    """A function of the app that something outside of the engine runs. It is called with keyword arguments only."""

    name: str
    call: Callable[..., Any]
    place: str
    """``file:line``."""
    trigger: Trigger
    clients: tuple[ClientParameter, ...]
    outputs: tuple[Output, ...]
    context_parameter: str | None


@dataclass(frozen=True, slots=True)
class WorkFunction:
    """An orchestrator or an entity of azure-functions-durable 2.x: it gets a work item as text, and returns an answer as text."""

    name: str
    call: Callable[..., Any]
    place: str
    """``file:line``."""
    parameter: str
    context_parameter: str | None


@dataclass(slots=True)
class WorkFunctions:
    """The functions of an app whose work is done in this process as a worker would do it in another; by case-folded name."""

    orchestrators: dict[str, WorkFunction] = field(default_factory=dict[str, WorkFunction])
    entities: dict[str, WorkFunction] = field(default_factory=dict[str, WorkFunction])
    client: Callable[[ClientParameter], object] | None = None
    """Makes clients for the app's activities, as long as a host runs them."""


@dataclass(frozen=True, slots=True)
class LoadedApp:
    """An app, ready to be served."""

    folder: Path
    functions: Functions
    """Its durable functions, for the engine."""
    triggered: tuple[TriggeredFunction, ...]
    flavour: Literal["perdure", "azure-decorators", "azure-folders"]
    work: WorkFunctions | None = None
    """Its other durable functions."""

    @property
    def needs_grpc(self) -> bool:
        """Whether its clients speak the Durable Task protocol."""
        kinds = {parameter.kind for function in self.triggered for parameter in function.clients}
        return self.work is not None or "azure-preview" in kinds
