"""Triggers and bindings of functions that aren't durable: azure-functions' own decorators do the work, imported on first use."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from typing import Any, Literal, TypeVar, cast

from perdure.app.registry import FunctionDefinitionError, check_callable, function_label

F = TypeVar("F", bound=Callable[..., Any])
AuthLevel = Literal["anonymous", "function", "admin"]
_AUTH_LEVELS = ("anonymous", "function", "admin")


@dataclass(slots=True)
class BoundFunction:
    """A function with bindings, as far as it has been decorated."""

    call: Callable[..., Any]
    builder: Any
    """azure-functions' ``FunctionBuilder``."""
    container: Any
    """The azure-functions ``Blueprint`` that holds the builder and nothing else."""


class Bindings:
    """The functions with bindings of an app or a blueprint. Mixed into both; decorated functions stay what they are."""

    def __init__(self) -> None:
        self.bound: list[BoundFunction] = []
        self.names: dict[Callable[..., Any], str] = {}
        """What ``function_name`` says."""

    def function_name(self, name: str, setting_extra_fields: Mapping[str, Any] | None = None) -> Callable[[F], F]:
        """Gives the function another name than its own.

        Args:
            name: the name.
            setting_extra_fields: of no meaning here.
        """
        del setting_extra_fields

        def decorate(function: F) -> F:
            check_callable(function, "function_name")
            self.names[function] = name
            self._renamed(function, name)
            return function

        return decorate

    def route(
        self,
        route: str | None = None,
        trigger_arg_name: str = "req",
        binding_arg_name: str = "$return",
        methods: Iterable[str | Enum] | None = None,
        auth_level: str | Enum | None = None,
        trigger_extra_fields: Mapping[str, Any] | None = None,
        binding_extra_fields: Mapping[str, Any] | None = None,
    ) -> Callable[[F], F]:
        """Runs the function for HTTP requests.

        Args:
            route: path template below the route prefix; by default the function's name.
            trigger_arg_name: parameter that gets the ``azure.functions.HttpRequest``.
            binding_arg_name: ``$return``, or the parameter on which the response is set.
            methods: by default GET and POST.
            auth_level: which key a request needs; by default the app's ``http_auth_level``.
            trigger_extra_fields: more fields of the trigger's JSON.
            binding_extra_fields: more fields of the output binding's JSON.
        """
        return self._bind(
            "route",
            route=route,
            trigger_arg_name=trigger_arg_name,
            binding_arg_name=binding_arg_name,
            methods=methods,
            auth_level=auth_level,
            trigger_extra_fields=trigger_extra_fields,
            binding_extra_fields=binding_extra_fields,
        )

    def timer_trigger(
        self,
        arg_name: str,
        schedule: str,
        run_on_startup: bool | None = None,
        use_monitor: bool | None = None,
        data_type: Any = None,
        **kwargs: Any,
    ) -> Callable[[F], F]:
        """Runs the function on a schedule.

        Args:
            arg_name: parameter that gets the ``azure.functions.TimerRequest``.
            schedule: an NCRONTAB expression of six fields, a ``TimeSpan``, or ``%SETTING%``.
            run_on_startup: also when the host starts.
            use_monitor: whether a run missed while the host was down is made up for; by default yes.
            data_type: of no meaning here.
            **kwargs: more fields of the trigger's JSON.
        """
        return self._bind(
            "timer_trigger",
            arg_name=arg_name,
            schedule=schedule,
            run_on_startup=run_on_startup,
            use_monitor=use_monitor,
            data_type=data_type,
            **kwargs,
        )

    def queue_trigger(
        self, arg_name: str, queue_name: str, connection: str, data_type: Any = None, **kwargs: Any
    ) -> Callable[[F], F]:
        """Runs the function for each message of an Azure Storage queue.

        Args:
            arg_name: parameter that gets the ``azure.functions.QueueMessage``.
            queue_name: the queue.
            connection: name of the setting with its connection string.
            data_type: of no meaning here.
            **kwargs: more fields of the trigger's JSON.
        """
        return self._bind(
            "queue_trigger", arg_name=arg_name, queue_name=queue_name, connection=connection, data_type=data_type, **kwargs
        )

    def queue_output(
        self, arg_name: str, queue_name: str, connection: str, data_type: Any = None, **kwargs: Any
    ) -> Callable[[F], F]:
        """Sends what the function sets on a parameter (or returns, for ``$return``) to an Azure Storage queue.

        Args:
            arg_name: parameter that gets an ``azure.functions.Out``, or ``$return``.
            queue_name: the queue.
            connection: name of the setting with its connection string.
            data_type: of no meaning here.
            **kwargs: more fields of the binding's JSON.
        """
        return self._bind(
            "queue_output", arg_name=arg_name, queue_name=queue_name, connection=connection, data_type=data_type, **kwargs
        )

    def warm_up_trigger(self, arg_name: str, data_type: Any = None, **kwargs: Any) -> Callable[[F], F]:
        """Runs the function when the host starts, before it answers requests.

        Args:
            arg_name: its parameter.
            data_type: of no meaning here.
            **kwargs: more fields of the trigger's JSON.
        """
        return self._bind("warm_up_trigger", arg_name=arg_name, data_type=data_type, **kwargs)

    def durable_client_input(
        self, client_name: str, task_hub: str | None = None, connection_name: str | None = None
    ) -> Callable[[F], F]:
        """Passes a durable client to the function.

        Args:
            client_name: parameter that gets it.
            task_hub: the task hub it has to be for.
            connection_name: of no meaning here.
        """
        fields = {"task_hub": task_hub, "connection_name": connection_name}
        return self._bind(
            "generic_input_binding",
            arg_name=client_name,
            type="durableClient",
            **{name: value for name, value in fields.items() if value is not None},
        )

    def _renamed(self, function: Callable[..., Any], name: str) -> None:
        """Tells whoever has registered the function by its own name already."""
        raise NotImplementedError

    def _bind(self, decorator: str, **arguments: Any) -> Callable[[F], F]:
        def decorate(function: F) -> F:
            check_callable(function, "durable_client_input" if decorator == "generic_input_binding" else decorator)
            entry = self._entry(function)
            try:
                getattr(entry.container, decorator)(**arguments)(entry.builder)
            except (KeyError, TypeError, ValueError) as error:
                reason = error.args[0] if error.args else error
                raise FunctionDefinitionError(f"{function_label(function)}: @{decorator}: {reason}") from error
            return function

        return decorate

    def _entry(self, function: Callable[..., Any]) -> BoundFunction:
        """What is known of the function, or of the one that it wraps: decorators of the user's own may stand in between."""
        known = {entry.call: entry for entry in self.bound}
        inner: Any = function
        while inner is not None:
            entry = known.get(inner)
            if entry is not None:
                entry.call = function
                return entry
            inner = getattr(inner, "__wrapped__", None)
        decorators = _azure_decorators(function)
        entry = BoundFunction(function, decorators.FunctionBuilder(function, "function_app.py"), decorators.Blueprint())
        entry.container._function_builders.append(entry.builder)  # noqa: SLF001 - so that its decorators find it
        self.bound.append(entry)
        return entry

    def described(self, entry: BoundFunction, auth_level: AuthLevel) -> tuple[str, Any]:
        """A function's name, and azure-functions' ``Function`` with all of its bindings.

        Raises:
            ValueError: it has no trigger.
        """
        inner: Any = entry.call
        while inner is not None and inner not in self.names:
            inner = getattr(inner, "__wrapped__", None)
        if inner is not None:
            entry.container.function_name(self.names[inner])(entry.builder)
        function = entry.builder.build(auth_level)
        return cast("str", function.get_function_name()), function


def auth_level_of(level: str | Enum) -> AuthLevel:
    """The name of an authorization level.

    Raises:
        FunctionDefinitionError: there is no such level.
    """
    text = str(level.value if isinstance(level, Enum) else level).lower()
    if text not in _AUTH_LEVELS:
        raise FunctionDefinitionError(f"http_auth_level is {level!r}; it is one of {', '.join(map(repr, _AUTH_LEVELS))}.")
    return text


def _azure_decorators(function: Callable[..., Any]) -> Any:
    try:
        return import_module("azure.functions.decorators.function_app")
    except ModuleNotFoundError as error:
        raise FunctionDefinitionError(
            f"{function_label(function)} has triggers or bindings, which need the package azure-functions. "
            "Install it: pip install 'perdure[host]'."
        ) from error
