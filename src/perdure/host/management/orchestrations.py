"""What the management API does with orchestrations: one method per route."""

from starlette.responses import Response

from perdure.client.links import ManagementLinks
from perdure.client.local import DurableClient
from perdure.client.models import DurableOrchestrationStatus, PurgeHistoryResult
from perdure.core.status import OrchestrationRuntimeStatus
from perdure.engine.errors import InstanceFinishedError, InstanceNotFoundError, not_found
from perdure.host.management.errors import BAD_RESTART, NOT_JSON, PURGE_NEEDS_TIME, RequestRefusedError, bad_argument
from perdure.host.management.payloads import check_status_response, json_response, status_body, status_response
from perdure.host.management.requests import ManagementRequest, parse_json
from perdure.host.management.tokens import ContinuationTokens

CONTINUATION_TOKEN = "x-ms-continuation-token"
DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
MAX_WAIT_SECONDS = 230.0
"""The longest wait in one request; Azure's load balancer ends requests after as long."""
_INSTANCES = "instances"


class OrchestrationRoutes:
    """Answers requests about orchestrations from the client of the hub in this process."""

    def __init__(self, client: DurableClient, tokens: ContinuationTokens) -> None:
        self._client = client
        self._tokens = tokens

    async def start(self, request: ManagementRequest, links: ManagementLinks, name: str, instance_id: str | None) -> Response:
        """POST /orchestrators/{functionName}[/{instanceId}]."""
        seconds = _wait_seconds(request)
        fail_with_500 = _fail_with_500(request)
        body = await request.body()
        value = parse_json(body) if body.strip() else None
        started = await self._client.start_new(name, instance_id, value, request.text("version"))
        return await self._started(request, links, started, seconds, fail_with_500)

    async def restart(self, request: ManagementRequest, links: ManagementLinks, instance_id: str) -> Response:
        """POST /instances/{id}/restart."""
        seconds = _wait_seconds(request)
        fail_with_500 = _fail_with_500(request)
        with_new_id = request.flag("restartWithNewInstanceId", True)
        try:
            started = await self._client.restart(instance_id, with_new_id)
        except InstanceNotFoundError as error:
            raise RequestRefusedError(400, BAD_RESTART, error.message) from error
        return await self._started(request, links, started, seconds, fail_with_500)

    async def status(self, request: ManagementRequest, instance_id: str) -> Response:
        """GET /instances/{id}."""
        return await self._status(request, instance_id, _fail_with_500(request))

    async def list(self, request: ManagementRequest) -> Response:
        """GET /instances."""
        token = request.headers.get(CONTINUATION_TOKEN, "").strip()
        page = await self._client.list_page(
            request.moment("createdTimeFrom"),
            request.moment("createdTimeTo"),
            request.statuses("runtimeStatus"),
            request.text("instanceIdPrefix"),
            names=request.values("name"),
            page_size=request.positive("top", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE),
            continuation_token=self._tokens.open(_INSTANCES, token) if token else None,
            show_input=request.flag("showInput", True),
        )
        more = page.continuation_token
        headers = None if more is None else {CONTINUATION_TOKEN: self._tokens.seal(_INSTANCES, more)}
        return json_response(200, [status_body(status) for status in page.instances], headers)

    async def raise_event(self, request: ManagementRequest, instance_id: str, event_name: str) -> Response:
        """POST /instances/{id}/raiseEvent/{eventName}."""
        if request.media_type != "application/json":
            raise RequestRefusedError(400, NOT_JSON, f"the Content-Type is {request.media_type or 'missing'!r}")
        await self._client.raise_event(instance_id, event_name, await request.json())
        return Response(status_code=202)

    async def terminate(self, request: ManagementRequest, instance_id: str) -> Response:
        """POST /instances/{id}/terminate."""
        recursive = request.flag("recursive", False)
        # The client takes a second terminate for a success; the API tells that there was nothing to end.
        if (await self._existing(instance_id)).is_terminal:
            raise InstanceFinishedError(f"instance '{instance_id}' has ended already")
        await self._client.terminate(instance_id, request.text("reason"), recursive=recursive)
        return Response(status_code=202)

    async def suspend(self, request: ManagementRequest, instance_id: str) -> Response:
        """POST /instances/{id}/suspend."""
        await self._client.suspend(instance_id, request.text("reason"))
        return Response(status_code=202)

    async def resume(self, request: ManagementRequest, instance_id: str) -> Response:
        """POST /instances/{id}/resume."""
        await self._client.resume(instance_id, request.text("reason"))
        return Response(status_code=202)

    async def rewind(self, request: ManagementRequest, instance_id: str) -> Response:
        """POST /instances/{id}/rewind."""
        await self._client.rewind(instance_id, request.text("reason"))
        return Response(status_code=202)

    async def purge(self, instance_id: str) -> Response:
        """DELETE /instances/{id}."""
        result = await self._client.purge_instance_history(instance_id)
        if not result.instances_deleted:
            raise not_found(instance_id)
        return _purged(result)

    async def purge_many(self, request: ManagementRequest) -> Response:
        """DELETE /instances."""
        created_from = request.moment("createdTimeFrom")
        if created_from is None:
            raise RequestRefusedError(400, PURGE_NEEDS_TIME, "a purge needs to know from when on instances shall go")
        result = await self._client.purge_instance_history_by(
            created_from, request.moment("createdTimeTo"), request.statuses("runtimeStatus")
        )
        if not result.instances_deleted:
            raise InstanceNotFoundError("no instance that has ended matches, so that nothing was deleted")
        return _purged(result)

    async def _started(
        self, request: ManagementRequest, links: ManagementLinks, instance_id: str, seconds: float | None, fail_with_500: bool
    ) -> Response:
        if seconds is None:
            return check_status_response(links, instance_id, fail_with_500=fail_with_500)
        try:
            status = await self._client.wait_for_completion(instance_id, seconds)
        except TimeoutError:
            return check_status_response(links, instance_id, fail_with_500=fail_with_500)
        if status.runtime_status is OrchestrationRuntimeStatus.Completed:
            return json_response(200, status.output)
        return await self._status(request, instance_id, fail_with_500)

    async def _status(self, request: ManagementRequest, instance_id: str, fail_with_500: bool) -> Response:
        status = await self._existing(
            instance_id,
            show_history=request.flag("showHistory", False),
            show_history_output=request.flag("showHistoryOutput", False),
            show_input=request.flag("showInput", True),
        )
        return status_response(status, request.url, fail_with_500=fail_with_500)

    async def _existing(
        self, instance_id: str, *, show_history: bool = False, show_history_output: bool = False, show_input: bool = False
    ) -> DurableOrchestrationStatus:
        status = await self._client.get_status(instance_id, show_history, show_history_output, show_input)
        if not status:
            raise not_found(instance_id)
        return status


def _fail_with_500(request: ManagementRequest) -> bool:
    return request.flag("returnInternalServerErrorOnFailure", False)


def _wait_seconds(request: ManagementRequest) -> float | None:
    """How long to wait for the instance's end; ``None`` for not at all. The interval counts for nothing, since nothing polls."""
    timeout, interval = request.seconds("timeout"), request.seconds("pollingInterval")
    if timeout is None:
        return None
    if interval is not None and interval > timeout:
        raise bad_argument("pollingInterval", str(interval), f"at most the timeout, which is {timeout}")
    return min(timeout, MAX_WAIT_SECONDS)


def _purged(result: PurgeHistoryResult) -> Response:
    return json_response(200, {"instancesDeleted": result.instances_deleted})
