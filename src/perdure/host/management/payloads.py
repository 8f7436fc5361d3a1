"""The bodies of the management API, field by field as Durable Functions writes them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.responses import Response

from perdure.client.links import ManagementLinks
from perdure.client.models import DurableOrchestrationStatus
from perdure.core.status import OrchestrationRuntimeStatus

JSON = "application/json; charset=utf-8"
_encode = msgspec.json.Encoder().encode
_HISTORY_ORDER = {
    field: place
    for place, field in enumerate(
        (
            "EventType",
            "OrchestrationStatus",
            "Name",
            "EntityId",
            "Operation",
            "LockSet",
            "Reason",
            "Details",
            "FailureDetails",
            "Result",
            "FireAt",
            "Timestamp",
            "ScheduledTime",
            "FunctionName",
            "Input",
        )
    )
}
_STILL_GOING = frozenset(
    {
        OrchestrationRuntimeStatus.Running,
        OrchestrationRuntimeStatus.Pending,
        OrchestrationRuntimeStatus.ContinuedAsNew,
        OrchestrationRuntimeStatus.Suspended,
    }
)


def json_response(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Response:
    """A response with a JSON body."""
    return Response(_encode(body), status, headers, JSON)


def check_status_response(links: ManagementLinks, instance_id: str, *, fail_with_500: bool = False) -> Response:
    """202 with the URLs that lead on: what starting an instance answers."""
    payload = links.check_status_payload(instance_id, fail_with_500=fail_with_500)
    return json_response(202, payload, {"Location": payload["statusQueryGetUri"], "Retry-After": "10"})


def status_response(status: DurableOrchestrationStatus, url: str, *, fail_with_500: bool) -> Response:
    """200 for an instance that has ended, 202 for one that goes on."""
    body = status_body(status)
    if status.runtime_status in _STILL_GOING:
        return json_response(202, body, {"Location": url, "Retry-After": "5"})
    failed = status.runtime_status is OrchestrationRuntimeStatus.Failed
    return json_response(500 if failed and fail_with_500 else 200, body)


def status_body(status: DurableOrchestrationStatus) -> dict[str, Any]:
    """One instance. Times are in whole seconds; history only if the status has it, and never of a pending instance."""
    body = {
        "name": status.name,
        "instanceId": status.instance_id,
        "runtimeStatus": status.runtime_status,
        "input": status.input_,
        "customStatus": status.custom_status,
        "output": status.output,
        "createdTime": _whole_seconds(status.created_time),
        "lastUpdatedTime": _whole_seconds(status.last_updated_time),
    }
    if status.history is not None and status.runtime_status is not OrchestrationRuntimeStatus.Pending:
        body["historyEvents"] = [_ordered(event) for event in status.history]
    return body


def _ordered(event: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(event.items(), key=lambda item: _HISTORY_ORDER.get(item[0], len(_HISTORY_ORDER))))


def _whole_seconds(moment: datetime | None) -> str | None:
    # isoformat takes a fraction of what strftime takes, and a status has two times.
    return None if moment is None else f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"
