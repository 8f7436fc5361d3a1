"""Finds out in which model an app is written, and loads it."""

from pathlib import Path
from typing import Any

from perdure.host.loading.decorated import SCRIPT, load_decorated, load_object
from perdure.host.loading.folders import FILE, function_files, load_folders
from perdure.host.loading.modules import enter_app
from perdure.host.loading.problems import AppLoadError, Problem
from perdure.host.model import LoadedApp


def load_app(folder: Path) -> LoadedApp:
    """Loads the app of a folder, whose modules become importable by their own names.

    An app that was loaded earlier in this process keeps running, but its modules are forgotten: payloads with custom classes
    find those of the app that was loaded last.

    Raises:
        AppLoadError: it can't be loaded. It has all problems that could be found.
    """
    folder = folder.resolve()
    problems: list[Problem] = []
    loaded = _load(folder, problems)
    if problems or loaded is None:
        raise AppLoadError(folder, problems)
    return loaded


def loaded_from(app: Any) -> LoadedApp:
    """Loads an app object that is there already: a ``DFApp`` of Perdure or azure-functions-durable, or a ``FunctionApp``.

    Raises:
        AppLoadError: it can't be loaded. It has all problems that could be found.
    """
    folder = Path.cwd()
    problems: list[Problem] = []
    loaded = load_object(app, folder, problems)
    if problems:
        raise AppLoadError(folder, problems)
    return loaded


def _load(folder: Path, problems: list[Problem]) -> LoadedApp | None:
    if not folder.is_dir():
        problems.append(Problem(str(folder), "there is no such folder", "name the folder of the app."))
        return None
    decorated, files = (folder / SCRIPT).is_file(), function_files(folder)
    if not decorated and not files:
        problems.append(
            Problem(
                str(folder),
                f"there is neither {SCRIPT} nor a folder with {FILE}",
                "name the folder that has one of them, or make an app: perdure new NAME.",
            )
        )
        return None
    enter_app(folder)
    return load_decorated(folder, problems) if decorated else load_folders(folder, files, problems)
