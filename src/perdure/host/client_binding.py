"""The durable client of functions in Perdure's own model: that of the hub in this process, with URLs for their callers."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import azure.functions as func
import msgspec

from perdure.client import DurableClient, DurableOrchestrationStatus
from perdure.client.blocking import BlockingClient, Run
from perdure.client.links import ManagementLinks
from perdure.core.status import OrchestrationRuntimeStatus
from perdure.host.management.payloads import status_body

T = TypeVar("T")


class HasUrl(Protocol):
    """The request a function was called with: azure-functions' or Starlette's."""

    @property
    def url(self) -> Any:
        """What the caller asked for."""
        ...


class FunctionClient(DurableClient):
    """A ``DurableClient`` that can also answer HTTP callers, with the methods of azure-functions-durable 1.7."""

    def __init__(self, client: DurableClient, links: ManagementLinks) -> None:
        vars(self).update(vars(client))  # the same client, with more to say
        self._links = links

    def create_check_status_response(self, request: HasUrl | None, instance_id: str) -> func.HttpResponse:
        """202 with the URLs to follow the instance by; ``Location`` is its status."""
        return check_status_response(self._links, request, instance_id)

    def create_http_management_payload(self, instance_id: str) -> dict[str, str]:
        """The URLs that steer the instance, keys included: not for everybody's eyes."""
        return self._links.management_payload(instance_id)

    def get_client_response_links(self, request: HasUrl | None, instance_id: str) -> dict[str, str]:
        """The same URLs, as the sender of ``request`` reaches them."""
        return links_for(self._links, request).management_payload(instance_id)

    async def wait_for_completion_or_create_check_status_response(
        self,
        request: HasUrl | None,
        instance_id: str,
        timeout_in_milliseconds: int = 10000,
        retry_interval_in_milliseconds: int = 1000,
    ) -> func.HttpResponse:
        """The output if the instance ends in time (a failed one: its status, with 500), else ``create_check_status_response``.

        ``retry_interval_in_milliseconds`` is there for compatibility: nothing is polled.

        Raises:
            ValueError: the retry interval is longer than the timeout.
            InstanceNotFoundError: there is no such instance.
        """
        check_wait(timeout_in_milliseconds, retry_interval_in_milliseconds)
        try:
            status = await self.wait_for_completion(instance_id, timedelta(milliseconds=timeout_in_milliseconds), show_input=True)
        except TimeoutError:
            return self.create_check_status_response(request, instance_id)
        return completion_response(status)


DurableOrchestrationClient = FunctionClient
"""Its name in azure-functions-durable, for annotations."""


class BlockingFunctionClient(BlockingClient):
    """The same for ``def`` functions."""

    def __init__(self, client: DurableClient, run: Run, links: ManagementLinks) -> None:
        super().__init__(client, run)
        self._links = links

    def create_check_status_response(self, request: HasUrl | None, instance_id: str) -> func.HttpResponse:
        """See ``FunctionClient.create_check_status_response``."""
        return check_status_response(self._links, request, instance_id)

    def create_http_management_payload(self, instance_id: str) -> dict[str, str]:
        """See ``FunctionClient.create_http_management_payload``."""
        return self._links.management_payload(instance_id)

    def get_client_response_links(self, request: HasUrl | None, instance_id: str) -> dict[str, str]:
        """See ``FunctionClient.get_client_response_links``."""
        return links_for(self._links, request).management_payload(instance_id)

    def wait_for_completion_or_create_check_status_response(
        self,
        request: HasUrl | None,
        instance_id: str,
        timeout_in_milliseconds: int = 10000,
        retry_interval_in_milliseconds: int = 1000,
    ) -> func.HttpResponse:
        """See ``FunctionClient.wait_for_completion_or_create_check_status_response``."""
        check_wait(timeout_in_milliseconds, retry_interval_in_milliseconds)
        try:
            status = self.wait_for_completion(instance_id, timedelta(milliseconds=timeout_in_milliseconds), show_input=True)
        except TimeoutError:
            return self.create_check_status_response(request, instance_id)
        return completion_response(status)


def run_on(loop: asyncio.AbstractEventLoop) -> Run:
    """Runs coroutines on the hub's loop for code in other threads."""

    def run(work: Coroutine[Any, Any, T], /) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    return run


def links_for(links: ManagementLinks, request: HasUrl | None) -> ManagementLinks:
    """The same links from the origin that the request was sent to."""
    if request is None:
        return links
    url = str(request.url)
    if url.startswith(f"{links.origin}/"):
        return links
    asked = urlsplit(url)
    if not asked.netloc:
        return links
    return ManagementLinks(
        f"{asked.scheme}://{asked.netloc}{urlsplit(links.base_url).path}", links.task_hub, links.connection, links.code
    )


def check_status_response(links: ManagementLinks, request: HasUrl | None, instance_id: str) -> func.HttpResponse:
    """See ``FunctionClient.create_check_status_response``."""
    payload = links_for(links, request).management_payload(instance_id)
    headers = {"Content-Type": "application/json", "Location": payload["statusQueryGetUri"], "Retry-After": "10"}
    return func.HttpResponse(msgspec.json.encode(payload), status_code=202, headers=headers, mimetype="application/json")


def check_wait(timeout_in_milliseconds: int, retry_interval_in_milliseconds: int) -> None:
    """Guarantees what azure-functions-durable demands of the two.

    Raises:
        ValueError: the retry interval is longer than the timeout.
    """
    if retry_interval_in_milliseconds > timeout_in_milliseconds:
        raise ValueError(
            f"timeout_in_milliseconds ({timeout_in_milliseconds}) must not be less than retry_interval_in_milliseconds "
            f"({retry_interval_in_milliseconds})"
        )


def completion_response(status: DurableOrchestrationStatus) -> func.HttpResponse:
    """What the caller of an instance that has ended gets: its output, or its status with 500 if it failed (as 1.7 does)."""
    code = 500 if status.runtime_status is OrchestrationRuntimeStatus.Failed else 200
    output = status.output if status.runtime_status is OrchestrationRuntimeStatus.Completed else status_body(status)
    text = output if isinstance(output, str) else msgspec.json.encode(output)
    return func.HttpResponse(text, status_code=code, headers={"Content-Type": "application/json"}, mimetype="application/json")
