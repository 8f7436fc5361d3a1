"""Imports the user's modules as the Functions host does: from the app folder, under their own names, one app at a time."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT_PACKAGE = "__app__"
"""Package that stands for the app folder in the function.json model, where functions import each other relative to it."""
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_current: list[Path] = []
"""The folder of the app that was loaded last."""


def enter_app(folder: Path) -> None:
    """Makes the modules of ``folder`` importable, and forgets those of the app that was loaded before.

    Custom classes are found by their module's name when payloads are read, so that modules have to keep the names
    that they have in Azure; two apps in one process would answer to the same names.
    """
    stale = ["function_app", ROOT_PACKAGE]
    for earlier in _current:
        stale += _modules_of(earlier)
        if str(earlier) in sys.path:
            sys.path.remove(str(earlier))
    for name in stale:
        sys.modules.pop(name, None)
    _current[:] = [folder]
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()


def import_app_module(name: str) -> ModuleType:
    """Imports a module from the app folder. What its code raises goes through."""
    return importlib.import_module(name)


def import_script(folder: Path, script: Path) -> ModuleType:
    """Imports a script of the function.json model as ``__app__.<folder>``, so that its relative imports work.

    Raises:
        ImportError: it can't be imported from there.
    """
    if ROOT_PACKAGE not in sys.modules:
        root = ModuleType(ROOT_PACKAGE)
        root.__path__ = [str(folder)]
        sys.modules[ROOT_PACKAGE] = root
    parts = script.relative_to(folder).with_suffix("").parts
    return importlib.import_module(".".join((ROOT_PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts))))


def is_inside(folder: Path, file: str) -> bool:
    """Whether a file is the user's own: of the app, but not of a virtual environment in the app's folder."""
    path = Path(file)
    return path.is_relative_to(folder) and _INSTALLED.isdisjoint(path.parts)


def _modules_of(folder: Path) -> Iterator[str]:
    for name, module in list(sys.modules.items()):
        places: list[Any] = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        if any(isinstance(place, str) and is_inside(folder, place) for place in places):
            yield name
