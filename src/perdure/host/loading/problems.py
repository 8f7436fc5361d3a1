"""What can be wrong with an app: each problem with its place and its remedy, all of them in one report."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

from perdure.core.errors import PerdureError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps an app from being loaded."""

    place: str
    """``file:line``, a file, or a folder."""
    what: str
    """May have several lines, such as a traceback."""
    fix: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}\n  Fix: {self.fix}"


class AppLoadError(PerdureError):
    """An app folder can't be loaded. ``problems`` has everything that was found, not only the first."""

    code = "PD4001"

    def __init__(self, folder: Path, problems: list[Problem]) -> None:
        self.folder = folder
        self.problems = tuple(problems)
        count = "there is 1 problem" if len(problems) == 1 else f"there are {len(problems)} problems"
        shown = "\n".join(
            f"{number}. {textwrap.indent(str(problem), '   ').lstrip()}" for number, problem in enumerate(problems, 1)
        )
        super().__init__(f"the app in '{folder}' can't be loaded: {count}.\n{shown}")
