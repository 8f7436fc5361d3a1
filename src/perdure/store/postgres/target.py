"""Which database and which schema a URL names."""

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from perdure.store.errors import StoreUrlError

DEFAULT_SCHEMA = "perdure"
DEFAULT_CONNECT_TIMEOUT = 10.0
DEFAULT_COMMAND_TIMEOUT = 30.0

_FORM = "Use postgresql://user:password@host:port/database?schema=perdure."
# Also the name of a notification channel is made of it, which the server cuts at 63 bytes.
_SCHEMA = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,49}")
_SERVER = re.compile(r"(\[[^\]]*\]|[^:]*)(:\d*)?")
_HUB = re.compile(r"\bhub\.")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a hub is. Everything but ``dsn`` may be shown to anybody."""

    dsn: str
    """For the driver. Holds the password."""
    place: str
    """How messages name the database."""
    schema: str
    connect_timeout: float
    command_timeout: float

    @classmethod
    def of(cls, url: str) -> "Target":
        """Reads a ``postgresql://`` URL. What it doesn't know of the query part is for the driver.

        Raises:
            StoreUrlError: it can't be read. The message shows nothing of it, since any part could be the password.
        """
        try:
            parts = urlsplit(url)
            query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            raise StoreUrlError(f"The URL of the PostgreSQL store can't be understood. {_FORM}") from None
        server = parts.netloc.rpartition("@")[2]
        if parts.fragment or "@" in parts.path + parts.query or not all(map(_SERVER.fullmatch, server.split(","))):
            # A password that isn't encoded ends up in the wrong part, where it would be shown.
            raise StoreUrlError(
                "The URL of the PostgreSQL store can't be understood. In a name or password, write # / ? @ : as %23, %2F, %3F, "
                f"%40, %3A. {_FORM}"
            )
        settings = dict(query)
        schema = settings.pop("schema", DEFAULT_SCHEMA)
        if not _SCHEMA.fullmatch(schema):
            raise StoreUrlError(
                f"The schema '{schema}' of the PostgreSQL store can't be used: take 1 to 50 characters of a-z, 0-9 and _, "
                "not a digit first, and not pg_ at the beginning."
            )
        return cls(
            dsn=parts._replace(query=urlencode({key: value for key, value in settings.items() if key not in _SECONDS})).geturl(),
            place=f"{server or settings.get('host') or 'the local server'}/{unquote(parts.path.strip('/'))}, schema {schema}",
            schema=schema,
            connect_timeout=_seconds(settings, "connect_timeout", DEFAULT_CONNECT_TIMEOUT),
            command_timeout=_seconds(settings, "command_timeout", DEFAULT_COMMAND_TIMEOUT),
        )

    @property
    def channel(self) -> str:
        """The notification channel of the hub."""
        return f"perdure_{self.schema}"

    def sql(self, text: str) -> str:
        """``text`` with the hub's schema in place of ``hub.``."""
        return _rendered(text, self.schema)


_SECONDS = ("connect_timeout", "command_timeout")


def _seconds(settings: dict[str, str], name: str, default: float) -> float:
    text = settings.get(name, str(default))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 3600:
        raise StoreUrlError(
            f"{name}={text} in the URL of the PostgreSQL store is no time: give seconds, more than 0 and up to 3600."
        )
    return seconds


@lru_cache(maxsize=1000)
def _rendered(text: str, schema: str) -> str:
    return _HUB.sub(f'"{schema}".', text)
