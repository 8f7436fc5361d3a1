"""How a command ends."""

from enum import IntEnum

from perdure.core.errors import PerdureError


class ExitCode(IntEnum):
    """What the shell gets. ``docs/reference/cli.md`` documents them."""

    OK = 0
    FAILED = 1
    """The command did not do what it should; for ``wait`` and ``start --wait``, also: the instance did not complete."""
    USAGE = 2
    """The command line or a configuration file can't be understood."""
    NOT_FOUND = 3
    """There is no such instance, folder or store."""
    UNREACHABLE = 4
    """Nobody answers at the URL, the key is wrong, or another process has the store."""
    TIMEOUT = 5
    """It takes longer than ``--timeout`` allows."""


class CommandError(PerdureError):
    """A command can't go on. The message is one line that names the remedy."""

    code = "PD4601"

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
