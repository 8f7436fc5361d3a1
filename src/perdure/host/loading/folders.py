"""The function.json model: a folder for each function, with its bindings in ``function.json`` and its code beside it."""

import json
from pathlib import Path
from typing import Any, cast

from perdure.host.loading.assembly import assemble_azure, check_names
from perdure.host.loading.declared import Declared, place
from perdure.host.loading.import_errors import import_problem
from perdure.host.loading.modules import import_script
from perdure.host.loading.problems import Problem
from perdure.host.model import LoadedApp

FILE = "function.json"


def function_files(folder: Path) -> list[Path]:
    """The ``function.json`` files of an app, in the order of their functions' names."""
    return sorted(folder.glob(f"*/{FILE}"))


def load_folders(folder: Path, files: list[Path], problems: list[Problem]) -> LoadedApp:
    """The app that the files describe."""
    declared = [function for file in files if (function := _load(folder, file, problems)) is not None]
    check_names(declared, problems)
    found = assemble_azure(declared, folder, problems)
    return LoadedApp(folder, found.functions, found.triggered, "azure-folders", found.work)


def _load(folder: Path, file: Path, problems: list[Problem]) -> Declared | None:
    description = _read(file, problems)
    if description is None or description.get("disabled") is True:
        return None
    script = (file.parent / str(description.get("scriptFile", "__init__.py"))).resolve()
    if not script.is_file() or not script.is_relative_to(folder):
        problems.append(Problem(str(file), f"there is no script '{script}' in the app folder", "correct 'scriptFile'."))
        return None
    try:
        module = import_script(folder, script)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - user code
        problems.append(import_problem(error, folder, script))
        return None
    entry = str(description.get("entryPoint", "main"))
    call = getattr(module, entry, None)
    if not callable(call):
        problems.append(
            Problem(str(script), f"it has no function '{entry}'", f"define it, or name another one as 'entryPoint' in {file}.")
        )
        return None
    return Declared(file.parent.name, place(call), call, tuple(description["bindings"]))


def _read(file: Path, problems: list[Problem]) -> dict[str, Any] | None:
    try:
        description = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        problems.append(Problem(f"{file}{line}", f"it can't be read as JSON: {error}", "correct it."))
        return None
    bindings = cast("dict[str, Any]", description).get("bindings") if isinstance(description, dict) else None
    if not isinstance(bindings, list) or not all(isinstance(one, dict) and "type" in one for one in cast("list[Any]", bindings)):
        problems.append(Problem(str(file), "it has no list 'bindings' of objects with a 'type'", "add it."))
        return None
    return cast("dict[str, Any]", description)
