"""Where the hubs of a server are kept, given the store URL of its first one."""

import re
from functools import lru_cache
from urllib.parse import parse_qsl, urlencode, urlsplit

from perdure.protocol.errors import UnknownTaskHubError, shown

DEFAULT_HUB = "default"
_MAX_NAME = 64
_MAX_SCHEMA = 50
"""What ``perdure.store.postgres.target`` takes, which is there only with its driver."""
# One separator at a time, so that different names stay different in whatever they are a part of.
_NAME = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")


@lru_cache(maxsize=1000)
def hub_key(name: str | None) -> str:
    """The hub's name in small letters; that of the first hub where there is none.

    Raises:
        UnknownTaskHubError: nothing can be called so.
    """
    key = DEFAULT_HUB if name is None else name.casefold()
    if len(key) > _MAX_NAME or not _NAME.fullmatch(key):
        raise UnknownTaskHubError(
            f"{shown(name or '')} can't be the name of a task hub. Use up to {_MAX_NAME} letters and digits, "
            "with single '-' and '_' between them."
        )
    return key


def url_of_hub(url: str, key: str) -> str:
    """The store URL of a hub.

    ``default`` is at the URL itself. ``sqlite:///data/hub.db`` keeps ``orders`` in ``data/hub.orders.db``; in PostgreSQL it has a
    schema of its own, ``perdure_orders``; in memory each hub is apart anyway.

    Raises:
        UnknownTaskHubError: the name is too long for that.
    """
    scheme = url.partition("://")[0].lower()
    if key == DEFAULT_HUB or scheme == "memory":
        return url
    if scheme in ("postgres", "postgresql"):
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        schema = query["schema"] = f"{query.get('schema', 'perdure')}_{key.replace('-', '__')}"
        if len(schema) > _MAX_SCHEMA:
            raise UnknownTaskHubError(
                f"{shown(key)} is too long for the name of a task hub in PostgreSQL: its schema would be '{schema}', of more "
                f"than {_MAX_SCHEMA} characters. Take a shorter one."
            )
        return parts._replace(query=urlencode(query)).geturl()
    head, dot, extension = url.rpartition(".")
    return f"{head}.{key}.{extension}" if dot and "/" not in extension else f"{url}.{key}"
