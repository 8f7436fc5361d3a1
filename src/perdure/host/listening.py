"""The socket on which a host listens. Several processes may share one: whichever is free takes the next connection."""

import errno
import os
import socket

from perdure.core.errors import PerdureError
from perdure.host.settings import HostSettings


class AddressInUseError(PerdureError):
    """The host can't listen where it should."""

    code = "PD4240"


def listen(settings: HostSettings) -> socket.socket:
    """A socket that takes connections from now on, also those that nobody answers yet.

    Raises:
        AddressInUseError: the port is taken, or the address isn't this machine's.
    """
    return listen_on(settings.host, settings.port, flag="--port")


def listen_on(host: str, port: int, *, flag: str) -> socket.socket:
    """The same for an address; ``flag`` is the option that says the port.

    Raises:
        AddressInUseError: as ``listen``.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        match error.errno:
            case errno.EADDRINUSE:
                remedy = f"Stop what listens there, or take another port: {flag} {port + 1}, or {flag} 0 for any free one."
            case errno.EACCES:
                remedy = f"Ports below 1024 belong to the system. Take another one, such as {flag} 7071."
            case _:
                remedy = "Give an address of this machine with --host, such as 127.0.0.1."
        reason = str(error) if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise AddressInUseError(f"can't listen on {host}, port {port}: {reason}. {remedy}") from None


def base_url(settings: HostSettings, listener: socket.socket) -> str:
    """How callers on this machine reach it."""
    return url_of(settings.host, listener)


def url_of(host: str, listener: socket.socket, *, scheme: str = "http") -> str:
    """The same for a listener on the address ``host``."""
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
