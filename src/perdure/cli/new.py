"""``perdure new``: a complete app to begin with. The templates are the examples of the patterns."""

import shlex
import shutil
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from perdure.cli.errors import CommandError, ExitCode
from perdure.cli.printing import say

_TEMPLATES = Path(__file__).parent / "templates"
_GITIGNORE = ".perdure/\n.venv/\n__pycache__/\n"


class Template(StrEnum):
    """One for each pattern of Durable Functions."""

    CHAINING = "chaining"
    FAN_OUT = "fan-out"
    ASYNC_HTTP = "async-http"
    MONITOR = "monitor"
    HUMAN_INTERACTION = "human-interaction"
    AGGREGATOR = "aggregator"

    @property
    def folder(self) -> Path:
        """Where its files are."""
        name = "async_http_api" if self is Template.ASYNC_HTTP else self.value.replace("-", "_")
        return _TEMPLATES / name


class Flavour(StrEnum):
    """Whose package the app imports. The code is the same."""

    PERDURE = "perdure"
    AZURE = "azure"


def new(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="The new app's folder.")],
    template: Annotated[Template, typer.Option("--template", "-t", help="The pattern to begin with.")] = Template.CHAINING,
    flavour: Annotated[
        Flavour, typer.Option("--flavour", help="azure: import azure.durable_functions; the app then runs on Azure, too.")
    ] = Flavour.PERDURE,
) -> None:
    """Make a folder with a complete app."""
    try:
        create(name, template, flavour)
    except OSError as error:
        raise CommandError(f"{name} can't be made: {error.strerror}. Give a folder that you may write.") from error
    entering = f"cd {shlex.quote(str(name))}"
    say(f"Made {name} with the pattern {template}. Next:\n\n  {entering}\n  perdure start\n\nREADME.md there shows what to send.")


def create(folder: Path, template: Template, flavour: Flavour) -> None:
    """Writes the files.

    Raises:
        CommandError: the folder holds something already.
        OSError: it can't be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CommandError(f"{folder} exists and is not empty. Give another name, or empty it first.", ExitCode.USAGE)
    shutil.copytree(template.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".perdure"))
    (folder / ".gitignore").write_text(_GITIGNORE, encoding="utf-8")
    if flavour is Flavour.AZURE:
        _for_azure(folder)


def _for_azure(folder: Path) -> None:
    """The same app on azure-functions-durable: its names are the same, so only the import and the requirements differ."""
    code = folder / "function_app.py"
    lines = code.read_text(encoding="utf-8").replace(
        "import azure.functions as func\n\nimport perdure as df\n",
        "import azure.durable_functions as df\nimport azure.functions as func\n",
    )
    code.write_text(lines, encoding="utf-8")
    (folder / "requirements.txt").write_text("azure-functions\nazure-functions-durable>=1.7,<2\n", encoding="utf-8")
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8").replace(
        "pip install -r requirements.txt\n", "pip install -r requirements.txt 'perdure[azure]'\n"
    )
    readme.write_text(text, encoding="utf-8")
