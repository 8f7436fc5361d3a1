"""Every way a request to the management API can go wrong, as an answer that says what was wrong.

The body is that of Durable Functions: ``{"Message", "ExceptionMessage", "ExceptionType"}``. ``Message`` is its fixed text where
it has one; ``ExceptionMessage`` tells the whole story.
"""

import traceback

from starlette.responses import Response

from perdure.core.converter import PayloadTooLargeError, SerializationError
from perdure.core.entity import EntityNotRegisteredError
from perdure.core.entity_id import InvalidEntityIdError
from perdure.core.errors import PerdureError
from perdure.core.functions import OrchestratorNotRegisteredError
from perdure.core.ids import InvalidInstanceIdError, InvalidNameError
from perdure.engine.errors import (
    CommitFailedError,
    EngineStoppedError,
    InstanceAlreadyExistsError,
    InstanceFinishedError,
    InstanceNotFoundError,
    InstanceRunningError,
)
from perdure.host.management.payloads import json_response
from perdure.protocol.errors import TooManyTaskHubsError, UnknownTaskHubError
from perdure.store.errors import StoreUnavailableError

BAD_ARGUMENTS = "One or more of the arguments submitted is incorrect"
BAD_JSON = "Invalid JSON content"
BAD_RESTART = "InstanceId does not match a valid orchestration instance."
NOT_JSON = "Only application/json request content is supported"
PURGE_NEEDS_TIME = "Please provide value for 'createdTimeFrom' parameter."
SOMETHING_WRONG = "Something went wrong while processing your request"


class RequestRefusedError(PerdureError):
    """A request to the management API can't be served; ``status`` and ``title`` say how the caller is told."""

    code = "PD4102"

    def __init__(self, status: int, title: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.title = title


_STATUSES: dict[type[Exception], tuple[int, str]] = {
    InvalidInstanceIdError: (400, BAD_ARGUMENTS),
    InvalidNameError: (400, BAD_ARGUMENTS),
    OrchestratorNotRegisteredError: (400, BAD_ARGUMENTS),
    EntityNotRegisteredError: (400, BAD_ARGUMENTS),
    InvalidEntityIdError: (400, BAD_ARGUMENTS),
    SerializationError: (400, BAD_ARGUMENTS),
    UnknownTaskHubError: (400, BAD_ARGUMENTS),
    InstanceNotFoundError: (404, "No such instance"),
    InstanceAlreadyExistsError: (409, "The instance id is taken"),
    InstanceRunningError: (409, "The instance has not ended"),
    InstanceFinishedError: (410, "The instance has ended"),
    PayloadTooLargeError: (413, "The payload is too large"),
    CommitFailedError: (503, "The store is not available"),
    EngineStoppedError: (503, "The host is stopping"),
    StoreUnavailableError: (503, "The store is not available"),
    TooManyTaskHubsError: (503, "Too many task hubs are open"),
}


def error_response(error: Exception, *, show_trace: bool) -> Response:
    """The answer to whoever asked for what raised ``error``."""
    if isinstance(error, RequestRefusedError):
        status, title = error.status, error.title
    else:
        status, title = next((_STATUSES[cls] for cls in type(error).__mro__ if cls in _STATUSES), (500, SOMETHING_WRONG))
    # What an unforeseen exception says may be of a password or a path: that is for the log.
    told = str(error) if status != 500 or show_trace else "The host's log has the details."
    body = {"Message": title, "ExceptionMessage": told, "ExceptionType": type(error).__name__}
    if show_trace:
        body["StackTrace"] = "".join(traceback.format_exception(error))
    return json_response(status, body, {"Retry-After": "1"} if status == 503 else None)


def not_found(method: str, path: str) -> RequestRefusedError:
    """There is no such resource, or it doesn't know the verb: both are 404 in Durable Functions."""
    return RequestRefusedError(404, "Not found", f"the durable management API has no {method} {path}")


def bad_argument(name: str, value: str, expected: str) -> RequestRefusedError:
    """A query parameter can't be understood."""
    shown = value if len(value) <= 80 else value[:80] + "..."
    return RequestRefusedError(400, BAD_ARGUMENTS, f"query parameter '{name}' is {shown!r}; it must be {expected}")
