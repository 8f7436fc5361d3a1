"""One worker process, seen from the engine's side. A single thread uses it, so that no signal can ever hit another process."""

import signal
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from time import monotonic, sleep

from perdure.core.failures import FailureDetails
from perdure.engine.activities import process_worker
from perdure.engine.activities.context import CancellationToken
from perdure.engine.activities.errors import ActivityWorkerDiedError
from perdure.engine.activities.wire import Load, Reply, Run, encode, reply_decoder

_START_LIMIT = 120.0
"""Seconds that a process may take to start, and to import a module. Only code that hangs at import needs longer."""
_TICK = 1.0
"""Seconds between looks at the process itself: children of its own may have inherited its pipes and keep them open."""
_BREATH = 0.002
"""Seconds between a process closing its last pipe and its end. User code can close it, too: then this bounds a busy loop."""
_UNGUARDED = "could start (see its error output; what starts your application must be guarded by if __name__ == '__main__')"


class StopRequestedError(Exception):
    """The token was cancelled while the process was busy."""


class LimitReachedError(Exception):
    """The activity ran longer than it may."""


class ChildProcess:
    """A worker process that answers one request at a time. Once a method has raised, only ``stop`` may follow.

    ``greet``, ``load`` and ``run`` raise ``ActivityWorkerDiedError`` where the process ends or hangs instead of answering, and
    ``StopRequestedError`` where the token is cancelled first.
    """

    def __init__(self, processes: SpawnContext, max_payload_bytes: int, poked: Connection, name: str) -> None:
        """``poked`` becomes readable when a token may have been cancelled."""
        self._poked = poked
        self._connection, theirs = processes.Pipe()
        self._process = processes.Process(target=process_worker.main, args=(theirs, max_payload_bytes), name=name)
        self.loaded: set[str] = set()
        """Names of the functions that it has imported."""
        try:
            self._process.start()
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()

    @property
    def is_alive(self) -> bool:
        """Whether it still runs. Idle processes can be killed too: by an operator, or for want of memory."""
        return self._process.exitcode is None

    def greet(self, token: CancellationToken) -> None:
        """Returns once the process is up."""
        try:
            self._receive(token, monotonic() + _START_LIMIT, _UNGUARDED)
        except LimitReachedError:
            raise self._hang(_UNGUARDED) from None

    def load(self, request: Load, token: CancellationToken) -> FailureDetails | None:
        """Makes the process import a function; gives the failure if it can't."""
        goal = f"had imported activity '{request.name}'"
        try:
            failure = self._ask(request, token, _START_LIMIT, goal).failure
        except LimitReachedError:
            raise self._hang(goal) from None
        if failure is None:
            self.loaded.add(request.name)
        return failure

    def run(self, request: Run, token: CancellationToken, limit: float | None) -> Reply:
        """Makes the process run a loaded function.

        Raises:
            LimitReachedError: it takes more than ``limit`` seconds.
        """
        return self._ask(request, token, limit, f"had finished activity '{request.name}' of instance '{request.instance_id}'")

    def stop(self, grace: float) -> None:
        """Ends the process: by SIGTERM, which sets the activity's token, and after ``grace`` seconds by SIGKILL."""
        deadline = monotonic() + grace
        self._process.terminate()
        # Either it exits, or it answers after all: then it exits as soon as the connection is closed.
        self._wait_for_end(grace, self._connection)
        self.close(deadline - monotonic())

    def close(self, grace: float) -> None:
        """Lets the idle process exit; kills it after ``grace`` seconds."""
        self._connection.close()
        self._wait_for_end(grace)
        while self._process.exitcode is None:
            self._process.kill()
            self._wait_for_end(_TICK)
        self._process.close()

    def kill(self) -> None:
        """Ends the process at once. The exception to the rule of one thread: the interpreter is about to exit."""
        with suppress(ValueError):  # It is closed already.
            self._process.kill()

    def _ask(self, request: Load | Run, token: CancellationToken, limit: float | None, goal: str) -> Reply:
        try:
            self._connection.send_bytes(encode(request))
        except OSError:
            raise self._death(goal) from None
        return self._receive(token, None if limit is None else monotonic() + limit, goal)

    def _receive(self, token: CancellationToken, deadline: float | None, goal: str) -> Reply:
        process, connection = self._process, self._connection
        while True:
            left = _TICK if deadline is None else min(_TICK, max(deadline - monotonic(), 0))
            ready = wait([connection, process.sentinel, self._poked], left)
            if connection in ready:
                try:
                    return reply_decoder.decode(connection.recv_bytes())
                except (EOFError, OSError):
                    raise self._death(goal) from None
            if self._poked in ready:
                self._poked.recv_bytes()
            if token.is_cancelled:
                raise StopRequestedError
            if process.exitcode is not None:
                if connection.poll():
                    continue  # It answered just before it ended.
                raise self._death(goal)
            if deadline is not None and monotonic() >= deadline:
                raise LimitReachedError
            if process.sentinel in ready:
                sleep(_BREATH)

    def _wait_for_end(self, seconds: float, *others: Connection) -> None:
        """Returns when the process has ended, one of ``others`` is readable or ``seconds`` have passed."""
        deadline = monotonic() + seconds
        while self._process.exitcode is None and (left := deadline - monotonic()) > 0:
            ready = wait([self._process.sentinel, *others], min(left, _TICK))
            if any(other in ready for other in others):
                return
            if ready:
                sleep(_BREATH)

    def _hang(self, goal: str) -> ActivityWorkerDiedError:
        return ActivityWorkerDiedError(f"worker process {self._process.pid} was ended after {_START_LIMIT:g} s, before it {goal}")

    def _death(self, goal: str) -> ActivityWorkerDiedError:
        self._wait_for_end(_TICK)
        return ActivityWorkerDiedError(f"worker process {self._process.pid} {_describe(self._process.exitcode)} before it {goal}")


def _describe(exit_code: int | None) -> str:
    if exit_code is None:
        return "closed its connection"
    if exit_code >= 0:
        return f"exited with code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    hint = " (by an operator or, more often, because memory ran out)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
