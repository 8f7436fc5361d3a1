"""How the gRPC server is reached, by whom, and its bounds."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files. With ``client_ca``, clients have to show a certificate of it (mutual TLS)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolSettings:
    """Defaults suit a server for this machine alone."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0 takes a free one."""
    tls: TlsFiles | None = None
    tokens: frozenset[str] = frozenset()
    """Callers need one of them (``authorization: Bearer ...``); none where it is empty."""
    max_message_bytes: int = 64 * 1024 * 1024
    """Largest message that is taken or sent. Most SDKs take up to 4 MB unless they are told otherwise."""
    max_concurrent_calls: int = 10_000
    max_wait: timedelta = timedelta(hours=1)
    """How long a call waits for an instance whose caller set no deadline."""
    health_ping: timedelta = timedelta(seconds=30)
    """A worker without work hears from the server this often. SDKs take 2 minutes of silence for a broken connection."""
    page_bytes: int = 3 * 1024 * 1024
    """Pages and chunks are cut here, so that clients with the usual limit of 4 MB can take them."""
    max_page: int = 1000
    """Instances, entities or ids on one page."""
    max_hubs: int = 100
    """Hubs open at the same time."""
    drain_grace: timedelta = timedelta(seconds=5)
    """How long open calls may go on after ``stop``."""
