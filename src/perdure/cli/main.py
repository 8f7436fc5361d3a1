"""The entry point: which commands there are, and how errors end them."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Annotated, NoReturn

try:
    import typer
except ImportError:
    sys.stderr.write("perdure: the command line needs more than the library. Run: pip install 'perdure[host]'\n")
    raise SystemExit(2) from None

from perdure.cli.errors import CommandError, ExitCode
from perdure.core.errors import PerdureError

app = typer.Typer(
    name="perdure",
    help="Durable functions without the cloud.",
    no_args_is_help=True,
    # Rich is not worth its import for a help text; tables get it when they are printed.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        sys.stdout.write(f"perdure {version('perdure')}\n")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and end.")] = False,
) -> None:
    """Durable functions without the cloud: run apps, and work with their instances."""


def _add_commands() -> None:
    from perdure.cli.configuration import show_configuration
    from perdure.cli.instances import instances
    from perdure.cli.new import new
    from perdure.cli.serve import serve
    from perdure.cli.start import start
    from perdure.cli.stores import stores

    app.command("start")(start)
    app.command("serve")(serve)
    app.command("new")(new)
    app.command("config")(show_configuration)
    app.add_typer(instances, name="instances")
    app.add_typer(stores, name="store")


_add_commands()


def main() -> None:
    """Runs the command line; ends the process with an ``ExitCode``."""
    _end(partial(app, prog_name="perdure"))


def _end(command: Callable[[], object]) -> NoReturn:
    try:
        command()
    except CommandError as error:
        _fail(error.message, error.exit_code)
    except PerdureError as error:
        from perdure.cli.remedies import exit_code_of

        _fail(str(error), exit_code_of(error))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        sys.stderr.close()
        raise SystemExit(ExitCode.OK) from None
    raise SystemExit(ExitCode.OK)


def _fail(message: str, exit_code: ExitCode) -> NoReturn:
    sys.stderr.write(f"perdure: {message}\n")
    raise SystemExit(exit_code)
