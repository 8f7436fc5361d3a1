"""The URLs that steer an instance, as Durable Functions hands them out: strings made of strings."""

from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

WEBHOOKS_PATH = "/runtime/webhooks/durabletask"
DEFAULT_CONNECTION = "AzureWebJobsStorage"
"""What URLs name as ``connection``, for clients that look at it; a host has one store."""
INSTANCE_PLACEHOLDER = "INSTANCEID"


@dataclass(frozen=True)
class ManagementLinks:
    """Where the management API is, and what every URL into it has to carry."""

    base_url: str
    """Origin and path, without a slash at the end: ``http://localhost:7071/runtime/webhooks/durabletask``."""
    task_hub: str | None = None
    connection: str | None = None
    code: str | None = None
    """The key."""

    def management_payload(self, instance_id: str, *, fail_with_500: bool = False) -> dict[str, str]:
        """All URLs of one instance: what ``create_http_management_payload`` gives.

        ``fail_with_500``: the status of a failed instance shall come with 500 instead of 200.
        """
        instance = f"{self.base_url}/instances/{quote(instance_id, safe='')}"
        needed = self._needed
        plain = f"?{needed}" if needed else ""
        reason = f"?reason={{text}}&{needed}" if needed else "?reason={text}"
        status = f"{plain}{'&' if plain else '?'}returnInternalServerErrorOnFailure=true" if fail_with_500 else plain
        return {
            "id": instance_id,
            "statusQueryGetUri": instance + status,
            "sendEventPostUri": f"{instance}/raiseEvent/{{eventName}}{plain}",
            "terminatePostUri": f"{instance}/terminate{reason}",
            "rewindPostUri": f"{instance}/rewind{reason}",
            "purgeHistoryDeleteUri": instance + plain,
            "restartPostUri": f"{instance}/restart{plain}",
            "suspendPostUri": f"{instance}/suspend{reason}",
            "resumePostUri": f"{instance}/resume{reason}",
        }

    def check_status_payload(self, instance_id: str, *, fail_with_500: bool = False) -> dict[str, str]:
        """The body of a check-status response, which in Durable Functions has no ``rewindPostUri``."""
        payload = self.management_payload(instance_id, fail_with_500=fail_with_500)
        del payload["rewindPostUri"]
        return payload

    def creation_urls(self) -> dict[str, str]:
        """Templates of the URLs that start an instance. They carry the key alone, as in Durable Functions."""
        start = f"{self.base_url}/orchestrators/{{functionName}}[/{{instanceId}}]"
        wait = "timeout={timeoutInSeconds}&pollingInterval={intervalInSeconds}"
        code = self.required_query
        return {
            "createNewInstancePostUri": f"{start}?{code}" if code else start,
            "createAndWaitOnNewInstancePostUri": f"{start}?{wait}&{code}" if code else f"{start}?{wait}",
        }

    @property
    def required_query(self) -> str:
        """What a request has to carry to be let in."""
        return "" if self.code is None else f"code={quote(self.code, safe='')}"

    @cached_property
    def origin(self) -> str:
        """Scheme and host of them all."""
        return "/".join(self.base_url.split("/", 3)[:3])

    @cached_property
    def _needed(self) -> str:
        """The parameters that all URLs of instances have."""
        named = (("taskHub", self.task_hub), ("connection", self.connection), ("code", self.code))
        return "&".join([f"{name}={quote(value, safe='')}" for name, value in named if value is not None])
