"""Runs the host in this process. Needs the packages of the extra ``host``, so that it is imported on use only."""

import logging
from pathlib import Path

from perdure.cli import event_loop, garbage
from perdure.cli.child import Child
from perdure.cli.functions_table import show_functions
from perdure.host.loading import load_app
from perdure.host.server import FunctionsHost
from perdure.host.settings import HostSettings


def serve(folder: Path, settings: HostSettings, child: Child | None) -> None:
    """Loads the app, says what is served where, and serves until the process is told to end.

    ``child``: what this process has from its parent, if it is one of several.

    Raises:
        PerdureError: the app, its settings or its store can't be used.
    """
    _log_to_stderr(settings.log_level, with_process=child is not None)
    loaded = load_app(folder)
    host = FunctionsHost(loaded, settings)

    def listening(url: str) -> None:
        garbage.collect_seldom()
        if child is None or child.speaks:
            show_functions(loaded, settings, url, host.grpc_address)
        if child is not None:
            child.serves(host.stop)

    event_loop.run(host.serve(listening=listening, listener=None if child is None else child.listener))


def _log_to_stderr(level: str, *, with_process: bool) -> None:
    process = " [%(process)d]" if with_process else ""
    logging.basicConfig(level=level, format=f"%(asctime)s %(levelname)s{process} %(name)s: %(message)s")
    # It logs the URL of each request, and those of queues may hold a shared access signature.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if level != "DEBUG":
        # 2.x of that SDK tells of every turn and of every call of its client.
        logging.getLogger("azure.durable_functions").setLevel(logging.WARNING)
