"""The decorator model: ``function_app.py`` with an app object of Perdure, azure-functions-durable or azure-functions."""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from perdure.app import Blueprint, DFApp
from perdure.host.loading.assembly import assemble_azure, assemble_triggered, check_names
from perdure.host.loading.declared import Declared, from_azure, place
from perdure.host.loading.import_errors import import_problem
from perdure.host.loading.modules import import_app_module
from perdure.host.loading.problems import Problem
from perdure.host.model import LoadedApp

SCRIPT = "function_app.py"
_DECORATOR_PACKAGES = ("azure.functions.", "azure.durable_functions.", "perdure.app.")


def load_decorated(folder: Path, problems: list[Problem]) -> LoadedApp | None:
    """The app in ``function_app.py``; ``None`` where it can't be imported or has no app object."""
    script = folder / SCRIPT
    try:
        module = import_app_module(script.stem)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - user code
        problems.append(import_problem(error, folder, script))
        return None
    _check_bare_decorators(module, script, problems)
    app = _find_app(module, script, problems)
    return None if app is None else load_object(app, folder, problems)


def load_object(app: Any, folder: Path, problems: list[Problem]) -> LoadedApp:
    """The app that an app object describes."""
    if isinstance(app, DFApp):
        return _load_own(app, folder, problems)
    return _load_azure(app, folder, problems)


def _load_own(app: DFApp, folder: Path, problems: list[Problem]) -> LoadedApp:
    declared: list[Declared] = []
    durable = {entry.function: entry for entry in app.registry}
    for bound in app.bound:
        entry = durable.get(bound.call)
        if entry is not None:
            what = f"'{entry.name}' is {entry.kind} and has other triggers or bindings besides"
            problems.append(Problem(place(bound.call), what, "make two functions of it."))
            continue
        try:
            declared.append(from_azure(*app.described(bound, app.http_auth_level), bound.call))
        except ValueError as error:
            problems.append(Problem(place(bound.call), str(error), "add a trigger, such as @app.route(...)."))
    check_names(declared, problems)
    return LoadedApp(folder, app.functions(), tuple(assemble_triggered(declared, "perdure", problems)), "perdure")


def _load_azure(app: Any, folder: Path, problems: list[Problem]) -> LoadedApp:
    declared: list[Declared] = []
    for builder in app._function_builders:  # noqa: SLF001 - get_functions() stops at the first problem
        try:
            function = builder.build(app.auth_level)
        except ValueError as error:
            problems.append(Problem(place(builder._function.get_user_function()), str(error), "add a trigger."))  # noqa: SLF001
        else:
            declared.append(from_azure(function.get_function_name(), function))
    check_names(declared, problems)
    found = assemble_azure(declared, folder, problems)
    return LoadedApp(folder, found.functions, found.triggered, "azure-decorators", found.work)


def _find_app(module: ModuleType, script: Path, problems: list[Problem]) -> Any:
    apps = {id(value): (name, value) for name, value in vars(module).items() if isinstance(value, _app_types())}
    if len(apps) == 1:
        return next(iter(apps.values()))[1]
    if apps:
        names = ", ".join(f"'{name}'" for name, _ in apps.values())
        problems.append(
            Problem(
                str(script),
                f"there are several app objects: {names}",
                "keep one, and make the others blueprints: df.Blueprint() and app.register_functions(blueprint).",
            )
        )
        return None
    blueprints = [name for name, value in vars(module).items() if isinstance(value, _blueprint_types())]
    hint = "".join(
        f" ('{name}' is a blueprint, which an app takes in: app.register_functions({name}))" for name in blueprints[:1]
    )
    problems.append(
        Problem(
            str(script),
            f"there is no app object{hint}",
            "import azure.durable_functions as df (or perdure as df), and app = df.DFApp() at the top level of the module.",
        )
    )
    return None


def _app_types() -> tuple[type, ...]:
    return (DFApp, *_azure_types("FunctionRegister"))


def _blueprint_types() -> tuple[type, ...]:
    return (Blueprint, *_azure_types("DecoratorApi"))


def _azure_types(name: str) -> Iterator[type]:
    """A class of azure-functions, if the app has imported that package."""
    module = sys.modules.get("azure.functions.decorators.function_app")
    if module is not None:
        yield getattr(module, name)


def _check_bare_decorators(module: ModuleType, script: Path, problems: list[Problem]) -> None:
    """A decorator without parentheses leaves a decorator where a function should be, and registers nothing."""
    for name, value in vars(module).items():
        if (
            isinstance(value, FunctionType)
            and value.__module__.startswith(_DECORATOR_PACKAGES)
            and "<locals>" in value.__qualname__
            and not inspect.iscoroutinefunction(value)
        ):
            problems.append(
                Problem(
                    str(script), f"'{name}' is a decorator, not a function", "write its decorator with parentheses and arguments."
                )
            )
