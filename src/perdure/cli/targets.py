"""Where the instances are that a command is about: behind a running host's URL, or in a store that nobody runs."""

import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from perdure.cli.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from perdure.cli.stored import StoredInstances
    from perdure.client.http import Client

DEFAULT_URL = "http://127.0.0.1:7071"
_KEYS_FILE = Path(".perdure/keys.json")
_DEFAULT_STORE = Path(".perdure/hub.db")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """What the options say."""

    url: str | None
    code: str | None
    store: str | None
    hub: str | None

    def run(self, work: "Callable[[Client | StoredInstances], Awaitable[T]]") -> T:
        """Does ``work`` with a client of the target.

        Raises:
            CommandError: the target can't be reached.
            PerdureError: the call failed.
        """
        import asyncio

        async def connected() -> T:
            async with self._client() as client:
                return await work(client)

        return asyncio.run(connected())

    @asynccontextmanager
    async def _client(self) -> "AsyncGenerator[Client | StoredInstances, None]":
        if self.store is not None:
            if self.url is not None:
                raise CommandError("--url and --store exclude each other. Give one of them.", ExitCode.USAGE)
            from perdure.cli.stored import open_stored
            from perdure.protocol.hub_urls import hub_key, url_of_hub

            async with open_stored(self.store if self.hub is None else url_of_hub(self.store, hub_key(self.hub))) as stored:
                yield stored
            return
        from perdure.client.http import Client
        from perdure.client.http_answers import HostUnreachableError

        url = self.url or os.environ.get("PERDURE_URL") or DEFAULT_URL
        try:
            code = self.code or os.environ.get("PERDURE_CODE") or _local_code(url)
            async with Client(url, code=code, task_hub=self.hub) as client:
                yield client
        except HostUnreachableError as error:
            raise HostUnreachableError(error.message + _left_behind()) from error


def _left_behind() -> str:
    return f" Or work on what it left: --store sqlite:///{_DEFAULT_STORE}" if _DEFAULT_STORE.is_file() else ""


def _local_code(url: str) -> str | None:
    """The key of a host that runs in this folder on this machine."""
    from urllib.parse import urlsplit

    if urlsplit(url).hostname not in {"127.0.0.1", "localhost", "::1"} or not _KEYS_FILE.is_file():
        return None
    from perdure.host.keys import load_or_create_keys

    return load_or_create_keys(_KEYS_FILE).durable_task_key
