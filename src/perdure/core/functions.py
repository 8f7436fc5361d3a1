"""What the engine knows of a user's function: its name, how to call it, and how its values cross the JSON border.

The ``app`` layer makes these from decorated functions; the engine looks them up by name, ignoring case as Durable Functions does.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol

from perdure.core.errors import PerdureError

if TYPE_CHECKING:
    from perdure.core.converter import Converter, JsonConverter
    from perdure.core.flavour import OrchestratorFlavour

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
    flavour: "OrchestratorFlavour | None" = None
    """How the function sees the engine, where it was written for another SDK."""


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
    converter: "Callable[[JsonConverter], Converter] | None" = None
    """Makes the converter of a function that was written for another SDK from the engine's."""
    transactional: bool = False
    """It also takes a connection, and what it writes there is committed with its completion."""


@dataclass(frozen=True, slots=True)
class EntityFunction:
    """A user's entity, function style or class style."""

    name: str
    call: Callable[[Any], Any]
    """Takes the ``DurableEntityContext`` of one operation. What it returns is the result where ``set_result`` gave none."""
    result_types: Mapping[str, object] = field(default_factory=dict[str, object])
    """What operations return, by case-folded name, as far as annotations tell."""
    raises: tuple[type[Exception], ...] = ()
    """Exception types that callers get back as themselves instead of as ``TaskFailedError``."""
    converter: "Callable[[JsonConverter], Converter] | None" = None
    """Makes the converter of a function that was written for another SDK from the engine's."""

    def result_type(self, operation: str) -> object:
        """The annotation of an operation's result; ``None`` where there is none."""
        return self.result_types.get(operation.casefold())


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

    @property
    def entities(self) -> Mapping[str, EntityFunction]:
        """By case-folded name."""
        ...


def user_names(functions: Iterable[OrchestratorFunction | ActivityFunction | EntityFunction]) -> list[str]:
    """The names that an error message shows, sorted; without those of the host, which nobody could have meant."""
    return sorted(function.name for function in functions if not function.name.startswith("BuiltIn::"))


class OrchestratorNotRegisteredError(PerdureError):
    """There is no orchestrator of that name in the app."""

    code = "PD1105"


def no_orchestrator(name: str, functions: Functions) -> OrchestratorNotRegisteredError:
    """The error for a name that stands for nothing, with the names that would."""
    known = ", ".join(user_names(functions.orchestrators.values())) or "none"
    return OrchestratorNotRegisteredError(f"there is no orchestrator named '{name}'. Registered: {known}.")
