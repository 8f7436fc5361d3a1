"""The main function of a worker process: one request, one reply, until the engine closes the connection or is gone."""

import importlib
import os
import pickle
import signal
import threading
from collections.abc import Callable
from functools import reduce
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

from perdure.core.converter import JsonConverter
from perdure.core.failures import FailureDetails, failure_from_exception
from perdure.engine.activities.context import ActivityContext, CancellationToken, current
from perdure.engine.activities.errors import ActivityImportError
from perdure.engine.activities.invoke import invoke
from perdure.engine.activities.wire import Load, Reply, Run, encode, request_decoder


class Worker:
    """The functions of a worker process, and the token of the activity it runs."""

    def __init__(self, converter: JsonConverter) -> None:
        self._converter = converter
        self._functions: dict[str, tuple[Callable[..., Any], bool, object]] = {}
        self._token = CancellationToken()

    def cancel(self, _signal: int, _frame: object) -> None:
        """Handler of SIGTERM: tells the activity to stop. Whether it does or not, the engine ends the process soon after."""
        self._token.cancel()

    def answer(self, request: Load | Run) -> Reply:
        """Does what is asked."""
        if isinstance(request, Load):
            return Reply(failure=self._load(request))
        call, takes_input, input_type = self._functions[request.name]
        current.set(
            ActivityContext(
                request.name, request.instance_id, request.task_id, request.attempt, request.idempotency_key, self._token
            )
        )
        return Reply(*invoke(self._converter, request.name, call, takes_input, input_type, request.input))

    def _load(self, request: Load) -> FailureDetails | None:
        try:
            # "__main__" works too: multiprocessing has imported the engine's main module here, and gives it both names.
            module = importlib.import_module(request.module)
            call: Any = reduce(getattr, request.qualname.split("."), module)
            # Comes from our own parent, which could make us run anything anyway.
            input_type = pickle.loads(request.input_type)
        except BaseException as exc:  # noqa: BLE001 - user code at import
            error = ActivityImportError(
                f"process activity '{request.name}' can't be imported by a worker process as {request.module}:{request.qualname} "
                f"({type(exc).__name__}: {exc}); it and its input type must be importable at module level, without side effects"
            )
            error.__cause__ = exc
            return failure_from_exception(error, non_retriable=True)
        self._functions[request.name] = (call, request.takes_input, input_type)
        return None


def main(connection: Connection, max_payload_bytes: int) -> None:
    """Serves requests until the connection ends. All runs in the main thread, so that user code may handle signals."""
    worker = Worker(JsonConverter(max_payload_bytes))
    signal.signal(signal.SIGTERM, worker.cancel)
    # Ctrl-C reaches the whole process group; it is the engine that decides what becomes of its activities.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_engine, name="perdure-engine-watch", daemon=True).start()
    try:
        connection.send_bytes(encode(Reply()))
        while True:
            request = request_decoder.decode(connection.recv_bytes())
            connection.send_bytes(encode(worker.answer(request)))
    except (EOFError, OSError):
        return  # The engine has closed the connection, or is gone.


def _end_with_engine() -> None:
    """Ends the process, whatever it is doing, when the engine has died: its activity will be run again elsewhere."""
    engine = parent_process()
    if engine is not None:
        wait([engine.sentinel])
        os._exit(1)
