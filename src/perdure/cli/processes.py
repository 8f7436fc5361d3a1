"""``perdure start --processes N``: several hosts on one port and one hub, and somebody who starts again those that die.

The parent runs none of the app's code and answers no requests. It keeps the listening socket, so that a connection that comes
while a process is being started again waits for the next free one.
"""

import asyncio
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perdure.cli.child import Child, start_command
from perdure.cli.errors import CommandError, ExitCode
from perdure.cli.printing import tell
from perdure.host.listening import listen
from perdure.host.settings import HostSettings
from perdure.store.opening import open_store

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_HEALTHY_AFTER = 60.0
"""One that has lived for so many seconds is started again as if it had never died before."""


def serve_with_processes(folder: Path, flags: Mapping[str, Any], settings: HostSettings, count: int) -> int:
    """Returns the exit code when all processes have ended because somebody asked for it, or because none could serve.

    Raises:
        CommandError: the store can't be shared.
        AddressInUseError: the port is taken.
    """
    if open_store(settings.store).sharing is None:
        raise CommandError(
            f"--processes {count} needs a hub that several processes can share, and only PostgreSQL keeps such a one. Give "
            "--store postgresql://USER@HOST/DATABASE, or leave out --processes.",
            ExitCode.USAGE,
        )
    with listen(settings) as listener:
        return asyncio.run(_Processes(start_command(folder, flags), listener, count).run())


class Pauses:
    """How long to wait before a process is started again: twice as long each time that it dies early."""

    def __init__(self) -> None:
        self._last = 0.0

    def after(self, lived: float) -> float:
        """Seconds, for a process that has lived for ``lived`` seconds."""
        early = lived < _HEALTHY_AFTER and self._last
        self._last = min(self._last * 2, _LONGEST_PAUSE) if early else _FIRST_PAUSE
        return self._last


class _Processes:
    def __init__(self, command: list[str], listener: socket.socket, count: int) -> None:
        self._command = command
        self._listener = listener
        self._count = count
        self._alive: set[asyncio.subprocess.Process] = set()
        self._served = False
        """Whether any of them has ever come so far."""
        self._signals = 0
        self._ending = asyncio.Event()
        self._exit_code = 0

    async def run(self) -> int:
        """Keeps so many processes going until the end is asked for."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled)
        await asyncio.gather(*(self._keep(number) for number in range(self._count)))
        return self._exit_code

    def _signalled(self) -> None:
        self._signals += 1
        self._end()

    def _end(self) -> None:
        self._ending.set()
        for process in self._alive:
            # A second signal lets a process wait no longer for requests and activities; a third one is meant seriously.
            process.send_signal(signal.SIGTERM if self._signals < 3 else signal.SIGKILL)

    async def _keep(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        pauses = Pauses()
        while not self._ending.is_set():
            started_at = loop.time()
            code = await self._run_one(speaks=number == 0 and not self._served)
            if self._ending.is_set():
                self._note(code)
                return
            if not self._served:
                # It has said why. The others would fail likewise, now and again and again.
                self._note(code or ExitCode.FAILED)
                self._end()
                return
            pause = pauses.after(loop.time() - started_at)
            tell(f"a process has ended with {_told(code)}; another one starts in {pause:g} s")
            try:
                await asyncio.wait_for(self._ending.wait(), pause)
            except TimeoutError:
                continue

    async def _run_one(self, *, speaks: bool) -> int:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    "--member",
                    Child.option(self._listener, theirs, speaks=speaks),
                    pass_fds=(self._listener.fileno(), theirs.fileno()),
                    process_group=0,  # so that Ctrl-C reaches the parent alone, and each process gets one signal, not two
                )
            self._alive.add(process)
            ours.setblocking(False)
            asyncio.get_running_loop().add_reader(ours, self._heard, ours)
            try:
                if self._ending.is_set():
                    process.send_signal(signal.SIGTERM)
                return await process.wait()
            finally:
                asyncio.get_running_loop().remove_reader(ours)
                self._alive.discard(process)

    def _heard(self, link: socket.socket) -> None:
        if link.recv(1):
            self._served = True
        else:
            asyncio.get_running_loop().remove_reader(link)

    def _note(self, code: int) -> None:
        """The exit code of all is that of the worst."""
        # One that is told to end before it can listen to signals does so, too.
        code = 0 if code in (0, -signal.SIGTERM) else max(code, ExitCode.FAILED)
        self._exit_code = max(self._exit_code, code)


def _told(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
