"""The folder of an app, as an argument of commands."""

from pathlib import Path
from typing import Annotated

import typer

from perdure.cli.errors import CommandError, ExitCode

FolderArgument = Annotated[Path, typer.Argument(metavar="PATH", help="The app's folder; by default the current one.")]


def app_folder(path: Path) -> Path:
    """The folder's absolute path.

    Raises:
        CommandError: there is no such folder.
    """
    if not path.is_dir():
        what = "a file, not a folder" if path.exists() else "missing"
        raise CommandError(
            f"{path} is {what}. Give the folder that holds function_app.py, or make one: perdure new NAME --template chaining",
            ExitCode.NOT_FOUND,
        )
    return path.resolve()
