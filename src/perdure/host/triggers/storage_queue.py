"""Azure Storage queues over plain REST: the few operations that triggers and outputs need."""

import base64
import hashlib
import hmac
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Self
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape

import httpx

from perdure.host.triggers.errors import QueueConnectionError, QueueServiceError

_VERSION = "2021-12-02"
_EMULATOR_ACCOUNT = "devstoreaccount1"
# Not a secret: every storage emulator has this key, and it opens nothing else.
_EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True, slots=True)
class QueueAccount:
    """Where the queues of one connection are, and what opens them."""

    name: str
    endpoint: str
    key: bytes
    """Empty where ``sas`` is used."""
    sas: str

    @classmethod
    def of_connection(cls, connection: str, settings: Mapping[str, str], where: str) -> Self:
        """The account that the connection's app setting describes. ``where`` names who needs it, for messages.

        Raises:
            QueueConnectionError: there is no such setting, or it can't be used.
        """
        name = connection or "AzureWebJobsStorage"
        text = next(
            (settings[key] for key in (name, f"AzureWebJobs{name}", f"ConnectionStrings:{name}") if settings.get(key)), None
        )
        if text is None:
            if any(key.startswith(f"{name}__") for key in settings):
                raise QueueConnectionError(
                    f"{where}: the connection '{name}' is identity-based ({name}__...), which is not supported. Set {name} to a "
                    "connection string with AccountKey or SharedAccessSignature."
                )
            raise QueueConnectionError(
                f"{where}: there is no app setting '{name}'. Set it to a connection string of Azure Storage, or to "
                "UseDevelopmentStorage=true for Azurite on this machine."
            )
        try:
            return cls.parse(text)
        except ValueError as error:
            raise QueueConnectionError(f"{where}: the connection string in '{name}' can't be used: {error}") from None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The account that a connection string describes.

        Raises:
            ValueError: it can't be used; the message doesn't repeat it, since it holds a key.
        """
        parts: dict[str, str] = {}
        for part in text.strip().strip(";").split(";"):
            key, separator, value = part.partition("=")
            if not separator:
                raise ValueError("it has a part without '='")
            parts[key.strip().casefold()] = value.strip()
        if parts.get("usedevelopmentstorage", "").casefold() == "true":
            origin = parts.get("developmentstorageproxyuri", "http://127.0.0.1").rstrip("/")
            parts.setdefault("queueendpoint", f"{origin}:10001/{_EMULATOR_ACCOUNT}")
            parts.setdefault("accountname", _EMULATOR_ACCOUNT)
            parts.setdefault("accountkey", _EMULATOR_KEY)
        name = parts.get("accountname", "")
        endpoint = parts.get("queueendpoint")
        if endpoint is None:
            if not name:
                raise ValueError("it has neither AccountName nor QueueEndpoint")
            scheme = parts.get("defaultendpointsprotocol", "https")
            endpoint = f"{scheme}://{name}.queue.{parts.get('endpointsuffix', 'core.windows.net')}"
        sas = parts.get("sharedaccesssignature", "").lstrip("?")
        key = parts.get("accountkey", "")
        if not key and not sas:
            raise ValueError("it has neither AccountKey nor SharedAccessSignature")
        if key and not name:
            raise ValueError("it has an AccountKey, but no AccountName")
        try:
            return cls(name, endpoint.rstrip("/"), b"" if sas else base64.b64decode(key, validate=True), sas)
        except ValueError:
            raise ValueError("its AccountKey is not Base64") from None


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message that is ours until ``time_next_visible``."""

    id: str
    pop_receipt: str
    text: str
    dequeue_count: int
    inserted: datetime
    expires: datetime
    time_next_visible: datetime


class StorageQueue:
    """One queue. Every method raises ``QueueServiceError`` if the service refuses or can't be reached."""

    def __init__(self, http: httpx.AsyncClient, account: QueueAccount, name: str) -> None:
        self._http = http
        self._account = account
        self.name = name

    async def create(self) -> None:
        """Returns once the queue exists."""
        await self._call("PUT", "", {})

    async def put(self, text: str) -> None:
        """Adds a message; makes the queue if it isn't there."""
        body = f"<QueueMessage><MessageText>{_escaped(text)}</MessageText></QueueMessage>"
        if await self._call("POST", "/messages", {}, body, may_miss=True) is None:
            await self.create()
            await self._call("POST", "/messages", {}, body)

    async def receive(self, count: int, hidden_for: timedelta) -> list[ReceivedMessage]:
        """Up to ``count`` messages, which nobody else gets for that long. None where there is no such queue."""
        query = {"numofmessages": str(count), "visibilitytimeout": str(_seconds(hidden_for))}
        response = await self._call("GET", "/messages", query, may_miss=True)
        if response is None:
            return []
        return [
            ReceivedMessage(
                id=entry.findtext("MessageId", ""),
                pop_receipt=entry.findtext("PopReceipt", ""),
                text=entry.findtext("MessageText", ""),
                dequeue_count=int(entry.findtext("DequeueCount", "1")),
                inserted=parsedate_to_datetime(entry.findtext("InsertionTime", "")),
                expires=parsedate_to_datetime(entry.findtext("ExpirationTime", "")),
                time_next_visible=parsedate_to_datetime(entry.findtext("TimeNextVisible", "")),
            )
            for entry in ElementTree.fromstring(response.content)
        ]

    async def hide(self, message_id: str, pop_receipt: str, hidden_for: timedelta) -> str | None:
        """Renews our hold on a message, or shows it to others again (zero). The new pop receipt; ``None`` if we've lost it."""
        query = {"popreceipt": pop_receipt, "visibilitytimeout": str(_seconds(hidden_for))}
        response = await self._call("PUT", f"/messages/{message_id}", query, may_miss=True)
        return None if response is None else response.headers["x-ms-popreceipt"]

    async def delete(self, message_id: str, pop_receipt: str) -> bool:
        """Removes a message; ``False`` if we've lost it."""
        return await self._call("DELETE", f"/messages/{message_id}", {"popreceipt": pop_receipt}, may_miss=True) is not None

    async def _call(
        self, method: str, path: str, query: dict[str, str], body: str = "", *, may_miss: bool = False
    ) -> httpx.Response | None:
        url = httpx.URL(f"{self._account.endpoint}/{self.name}{path}", params={**query, **dict(parse_qsl(self._account.sas))})
        content = body.encode()
        headers = {"x-ms-version": _VERSION, "x-ms-date": format_datetime(datetime.now(UTC), usegmt=True)}
        if content:
            headers["content-type"] = "application/xml"
        if not self._account.sas:
            headers["authorization"] = self._signature(method, url, query, headers, len(content))
        try:
            response = await self._http.request(method, url, headers=headers, content=content)
        except httpx.HTTPError as error:
            raise QueueServiceError(
                f"queue '{self.name}' at {self._account.endpoint} can't be reached: {error or type(error).__name__}"
            ) from error
        if may_miss and (
            response.status_code == 404 or (response.status_code == 400 and _code(response) == "PopReceiptMismatch")
        ):
            return None
        if response.status_code >= 300:
            raise QueueServiceError(
                f"queue '{self.name}' at {self._account.endpoint} answered {response.status_code} "
                f"{_code(response) or response.reason_phrase} to {method}"
            )
        return response

    def _signature(self, method: str, url: httpx.URL, query: dict[str, str], headers: dict[str, str], length: int) -> str:
        """The header that the service's "Shared Key" scheme asks for."""
        canonical_headers = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers) if name.startswith("x-ms-"))
        resource = f"/{self._account.name}{urlsplit(str(url)).path}"
        resource += "".join(f"\n{name.lower()}:{query[name]}" for name in sorted(query))
        lines = [method, "", "", str(length) if length else "", "", headers.get("content-type", ""), "", "", "", "", "", ""]
        text = "\n".join(lines) + "\n" + canonical_headers + resource
        signature = base64.b64encode(hmac.new(self._account.key, text.encode(), hashlib.sha256).digest()).decode()
        return f"SharedKey {self._account.name}:{signature}"


def _code(response: httpx.Response) -> str:
    return response.headers.get("x-ms-error-code", "")


def _seconds(duration: timedelta) -> int:
    return max(0, round(duration.total_seconds()))


def _escaped(text: str) -> str:
    return escape(text).replace("\r", "&#13;")
