"""A ``perdure start`` that another one has started: the command for it, and what it has from its parent."""

import asyncio
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

SERVES = b"."
"""What a child sends its parent once it serves."""


def start_command(folder: Path, flags: Mapping[str, Any]) -> list[str]:
    """The command that starts a host for the app in ``folder`` with these settings; those that are ``None`` weren't given."""
    command = [sys.executable, "-m", "perdure.cli", "start", str(folder)]
    for name, value in flags.items():
        if value is not None:
            command.append(f"--{'hub' if name == 'hub_name' else name.replace('_', '-')}")
            if value is not True:
                command.append(str(value))
    return command


@dataclass(frozen=True, slots=True)
class Child:
    """What a child has from its parent."""

    listener: socket.socket
    """The socket that all children share."""
    link: socket.socket
    """Tells the parent when this process serves, and this process when the parent is gone."""
    speaks: bool
    """Whether it is the one that shows what is served where."""

    @staticmethod
    def option(listener: socket.socket, link: socket.socket, *, speaks: bool) -> str:
        """The value of the hidden option ``--member`` that hands all this on."""
        return f"{listener.fileno()}:{link.fileno()}:{int(speaks)}"

    @classmethod
    def of(cls, option: str) -> Self:
        """Takes it over."""
        listener, link, speaks = option.split(":")
        child = cls(socket.socket(fileno=int(listener)), socket.socket(fileno=int(link)), speaks == "1")
        for each in (child.listener, child.link):
            each.set_inheritable(False)  # it would stay open in processes that activities start
        return child

    def serves(self, stop: Callable[[], None]) -> None:
        """Tells the parent, and calls ``stop`` when that has gone without saying so. To be called on the event loop."""
        self.link.setblocking(False)
        loop = asyncio.get_running_loop()

        def end() -> None:
            # The parent never sends anything: there is something to read only when its end is closed.
            loop.remove_reader(self.link)
            stop()

        loop.add_reader(self.link, end)
        with suppress(BrokenPipeError):  # gone already, which the reader notices
            self.link.send(SERVES)
