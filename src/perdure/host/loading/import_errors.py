"""Why a module of the user's could not be imported, with the place in the user's own code."""

import traceback
from pathlib import Path

from perdure.core.errors import PerdureError
from perdure.host.loading.modules import is_inside
from perdure.host.loading.problems import Problem

_PACKAGES = {
    "azure.functions": "azure-functions",
    "azure.durable_functions": "azure-functions-durable<2",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
}
"""Packages that pip knows by another name than ``import`` does."""


def import_problem(error: BaseException, folder: Path, module: Path) -> Problem:
    """What the exception that an import ended with says to the user."""
    if isinstance(error, SyntaxError) and error.filename:
        code = f"\n    {error.text.strip()}" if error.text else ""
        return Problem(
            f"{error.filename}:{error.lineno}",
            f"{type(error).__name__}: {error.msg}{code}",
            "correct the line, or the one above.",
        )
    frames = _user_frames(error, folder)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else str(module)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return Problem(place, f"there is no module '{error.name}'", _missing_module(error.name, folder))
    if isinstance(error, PerdureError):
        return Problem(place, error.message, "do what the message says.")
    lines = "".join(traceback.format_list(frames)).rstrip()
    what = f"importing it raised {type(error).__name__}: {error}" + (f"\n{lines}" if lines else "")
    return Problem(place, what, _remedy(error))


def _user_frames(error: BaseException, folder: Path) -> list[traceback.FrameSummary]:
    """From the first frame of the app on; import machinery is left out."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen importlib")]
    return [frame for frame in frames if is_inside(folder, frame.filename)]


def _missing_module(name: str, folder: Path) -> str:
    top = name.partition(".")[0]
    if (folder / top).is_dir() or (folder / f"{top}.py").is_file():
        return f"there is '{top}' in the app folder, but nothing in it is called '{name}': correct the import."
    package = next((pip for module, pip in _PACKAGES.items() if name == module or name.startswith(f"{module}.")), None)
    if package is None and top == "azure":
        package = name.replace(".", "-").replace("_", "-")
    install = f"pip install '{package or top}'"
    if (folder / "requirements.txt").is_file():
        install = f"pip install -r {folder / 'requirements.txt'}, or {install}"
    return f"{install}, into the environment that runs the host."


def _remedy(error: BaseException) -> str:
    text = str(error)
    if "FunctionBuilder" in text:
        return "put @app.orchestration_trigger and @app.entity_trigger directly above the def, and other decorators above them."
    if isinstance(error, SystemExit):
        return "guard what ends the program by if __name__ == '__main__'."
    return "correct the code, so that the module can be imported."
