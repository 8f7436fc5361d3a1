"""``DFApp`` and ``Blueprint``: the decorators of azure-functions-durable, with the same names and parameters."""

import inspect
from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from functools import partial
from typing import Any, Literal, TypeVar, cast, overload

from perdure.app.bindings import AuthLevel, Bindings, auth_level_of
from perdure.app.entity_classes import check_entity_class, entity_from_class
from perdure.app.registry import (
    FunctionDefinitionError,
    Registered,
    RegisteredFunctions,
    Registry,
    check_callable,
    check_parameter,
    check_transactional,
    function_label,
)
from perdure.core.context import FUNCTION_NAME_ATTRIBUTE
from perdure.core.functions import Pool

C = TypeVar("C", bound=type)
E = TypeVar("E", bound=Callable[..., Any] | type)
F = TypeVar("F", bound=Callable[..., Any])


class Blueprint(Bindings):
    """Functions that an app takes in with ``register_functions``. Decorated functions stay what they are, also for unit tests."""

    def __init__(self, http_auth_level: str | Enum = "function") -> None:
        """``http_auth_level``: which key HTTP requests need where their route doesn't say. Only an app's counts, as in azure."""
        super().__init__()
        self.http_auth_level: AuthLevel = auth_level_of(http_auth_level)
        self.registry = Registry()

    def orchestration_trigger(
        self,
        context_name: str,
        orchestration: str | None = None,
        input_type: type | None = None,
        *,
        raises: tuple[type[Exception], ...] = (),
    ) -> Callable[[F], F]:
        """Makes a generator function or a coroutine function an orchestrator.

        Args:
            context_name: name of its parameter, which gets the ``DurableOrchestrationContext``.
            orchestration: its name; by default the function's.
            input_type: what ``context.get_input()`` returns.
            raises: exception types that a calling orchestrator gets as themselves instead of as ``TaskFailedError``.

        Raises:
            FunctionDefinitionError: the function can't be an orchestrator, or the name is taken.
        """

        def decorate(function: F) -> F:
            check_callable(function, "orchestration_trigger")
            if inspect.isasyncgenfunction(function):
                raise FunctionDefinitionError(
                    f"{function_label(function)}: an orchestrator can't be an async generator. "
                    "Use 'await' in an async def, or 'yield' in a def."
                )
            if not check_parameter(function, context_name, "orchestration_trigger"):
                raise FunctionDefinitionError(
                    f"{function_label(function)}: an orchestrator needs the parameter '{context_name}' for its context."
                )
            name = orchestration or self.names.get(function) or function.__name__
            self.registry.add(
                Registered("orchestrator", name, function, parameter=context_name, input_type=input_type, raises=tuple(raises))
            )
            setattr(function, FUNCTION_NAME_ATTRIBUTE, name)
            return function

        return decorate

    def activity_trigger(
        self,
        input_name: str,
        activity: str | None = None,
        *,
        pool: Literal["thread", "process"] | None = None,
        timeout: timedelta | None = None,
        raises: tuple[type[Exception], ...] = (),
        transactional: bool = False,
    ) -> Callable[[F], F]:
        """Makes a function an activity: ``def`` runs in a thread, ``async def`` on the event loop.

        Args:
            input_name: name of its parameter. Its annotation tells the type that the JSON input is converted to.
            activity: its name; by default the function's.
            pool: ``"process"`` runs a ``def`` in a process of its own pool, for work that keeps a core busy.
            timeout: an execution that takes longer fails with ``TimeoutError``.
            raises: exception types that the orchestrator gets as themselves instead of as ``TaskFailedError``.
            transactional: also gives the function a ``connection`` to the hub's database. What it writes there is committed
                together with its completion: exactly once for each call, however often it runs. What it raises undoes it.

        Raises:
            FunctionDefinitionError: the function can't be an activity, or the name is taken.
        """

        def decorate(function: F) -> F:
            check_callable(function, "activity_trigger")
            if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
                raise FunctionDefinitionError(
                    f"{function_label(function)}: an activity can't be a generator. Return a value; only orchestrators yield."
                )
            where: Pool = pool or "thread"
            if inspect.iscoroutinefunction(function):
                if pool is not None:
                    raise FunctionDefinitionError(
                        f"{function_label(function)}: an async def activity runs on the event loop; pool={pool!r} is for def."
                    )
                where = "loop"
            if transactional:
                check_transactional(function, input_name)
                if where == "process":
                    raise FunctionDefinitionError(
                        f"{function_label(function)}: a transactional activity can't run in another process, where its "
                        "connection isn't. Leave pool out."
                    )
            name = activity or self.names.get(function) or function.__name__
            self.registry.add(
                Registered(
                    "activity",
                    name,
                    function,
                    parameter=input_name,
                    takes_input=transactional or check_parameter(function, input_name, "activity_trigger"),
                    pool=where,
                    timeout=timeout,
                    raises=tuple(raises),
                    transactional=transactional,
                )
            )
            setattr(function, FUNCTION_NAME_ATTRIBUTE, name)
            return function

        return decorate

    def entity_trigger(
        self, context_name: str = "context", entity_name: str | None = None, *, raises: tuple[type[Exception], ...] = ()
    ) -> Callable[[E], E]:
        """Makes a function an entity: it is called once per operation, with the ``DurableEntityContext``. Takes classes too.

        Args:
            context_name: name of its parameter.
            entity_name: its name; by default the function's.
            raises: exception types that a calling orchestrator gets as themselves instead of as ``TaskFailedError``.

        Raises:
            FunctionDefinitionError: the function can't be an entity, or the name is taken.
        """

        def decorate(function: E) -> E:
            if isinstance(function, type):
                self.entity(cast("type", function), name=entity_name, raises=raises)
                return cast("E", function)
            check_callable(function, "entity_trigger")
            if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
                raise FunctionDefinitionError(
                    f"{function_label(function)}: an entity can't be a generator. It does one operation at once; only "
                    "orchestrators wait."
                )
            if not check_parameter(function, context_name, "entity_trigger"):
                raise FunctionDefinitionError(
                    f"{function_label(function)}: an entity needs the parameter '{context_name}' for its context."
                )
            name = entity_name or self.names.get(function) or function.__name__
            self.registry.add(Registered("entity", name, function, parameter=context_name, raises=tuple(raises)))
            setattr(function, FUNCTION_NAME_ATTRIBUTE, name)
            return function

        return decorate

    @overload
    def entity(self, cls: C, *, name: str | None = None, raises: tuple[type[Exception], ...] = ()) -> C: ...
    @overload
    def entity(self, *, name: str | None = None, raises: tuple[type[Exception], ...] = ()) -> Callable[[C], C]: ...
    def entity(self, cls: type | None = None, *, name: str | None = None, raises: tuple[type[Exception], ...] = ()) -> Any:
        """Makes a class an entity: its public methods are the operations, its annotated attributes the state.

        A dataclass, a Struct or a pydantic model is its own state. An operation takes one input at most; annotations tell the
        types of inputs and results. ``delete`` is there without being written. ``df.entity_context()`` gives the context.

        Args:
            cls: the class; ``@app.entity`` and ``@app.entity(...)`` both work.
            name: its name; by default the class's.
            raises: exception types that a calling orchestrator gets as themselves instead of as ``TaskFailedError``.

        Raises:
            FunctionDefinitionError: the class can't be an entity, or the name is taken.
        """

        def decorate(cls: Any) -> Any:
            if not isinstance(cls, type):
                raise FunctionDefinitionError(
                    f"@entity decorates classes, not {type(cls).__name__} ({cls!r}). For a function there is @entity_trigger."
                )
            check_entity_class(cls)
            title, types = name or cls.__name__, tuple(raises)
            make = partial(entity_from_class, cls, title, types)
            self.registry.add(Registered("entity", title, cls, parameter="", raises=types, make_entity=make))
            return cls

        return decorate if cls is None else decorate(cls)

    def _renamed(self, function: Callable[..., Any], name: str) -> None:
        if self.registry.rename(function, name):
            setattr(function, FUNCTION_NAME_ATTRIBUTE, name)


class DFApp(Blueprint):
    """The functions of one application."""

    def register_functions(self, function_container: Blueprint) -> None:
        """Takes a blueprint's functions in.

        Raises:
            FunctionDefinitionError: one of its names is taken.
        """
        for entry in function_container.registry:
            self.registry.add(entry)
        self.bound.extend(function_container.bound)
        self.names.update(function_container.names)

    def functions(self) -> RegisteredFunctions:
        """What the engine needs."""
        return self.registry.functions()
