"""Runs the host in this process. Needs the packages of the extra ``host``, so that it is imported on use only."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from perdure.cli import garbage
from perdure.cli.functions_table import show_functions
from perdure.host.loading import load_app
from perdure.host.server import FunctionsHost
from perdure.host.settings import HostSettings


def serve(folder: Path, settings: HostSettings) -> None:
    """Loads the app, says what is served where, and serves until the process is told to end.

    Raises:
        PerdureError: the app, its settings or its store can't be used.
    """
    _log_to_stderr(settings.log_level)
    loaded = load_app(folder)
    host = FunctionsHost(loaded, settings)

    def listening(url: str) -> None:
        garbage.collect_seldom()
        show_functions(loaded, settings, url)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(host.serve(listening=listening))


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # It logs the URL of each request, and those of queues may hold a shared access signature.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
