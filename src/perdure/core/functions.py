"""What the engine knows of a user's function: its name, how to call it, and how its values cross the JSON border.

The ``app`` layer makes these from decorated functions; the engine looks them up by name, ignoring case as Durable Functions does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, Protocol

Pool = Literal["loop", "thread", "process"]


@dataclass(frozen=True, slots=True)
class OrchestratorFunction:
    """A user's orchestrator: a generator function, a coroutine function, or a plain function."""

    name: str
    call: Callable[[Any], Any]
    """Takes the ``DurableOrchestrationContext``."""
    input_type: object = None
    output_type: object = None
    raises: tuple[type[Exception], ...] = ()
    """Exception types that callers get back as themselves instead of as ``TaskFailedError``."""


@dataclass(frozen=True, slots=True)
class ActivityFunction:
    """A user's activity."""

    name: str
    call: Callable[..., Any]
    pool: Pool
    """``loop`` for ``async def``, ``thread`` for ``def``, ``process`` where the user asked for one."""
    takes_input: bool = True
    input_type: object = None
    output_type: object = None
    timeout: timedelta | None = None
    """Start-to-close: from the moment the function starts until it returns."""
    raises: tuple[type[Exception], ...] = field(default=())


class Functions(Protocol):
    """The registered functions, by case-folded name."""

    @property
    def orchestrators(self) -> Mapping[str, OrchestratorFunction]:
        """By case-folded name."""
        ...

    @property
    def activities(self) -> Mapping[str, ActivityFunction]:
        """By case-folded name."""
        ...
