"""The status code of every error, as one table. Errors that it doesn't have are bugs: INTERNAL."""

from enum import IntEnum

from perdure.core.answer_checks import InvalidAnswerError, StaleAnswerError
from perdure.core.converter import PayloadTooLargeError
from perdure.core.entity_id import InvalidEntityIdError
from perdure.core.errors import PerdureError
from perdure.core.ids import InvalidInstanceIdError, InvalidNameError
from perdure.engine.errors import (
    CommitFailedError,
    EngineStoppedError,
    InstanceAlreadyExistsError,
    InstanceFinishedError,
    InstanceNotFoundError,
    InstanceRunningError,
    NoRemoteWorkError,
)
from perdure.protocol.errors import (
    InvalidDecisionError,
    InvalidRequestError,
    TaskHubFixedError,
    TooManyTaskHubsError,
    UnknownTaskHubError,
)
from perdure.store.errors import HubInUseError, StoreError, StoreUnavailableError


class StatusCode(IntEnum):
    """Those of gRPC that are used here."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


STATUS_CODES: tuple[tuple[type[Exception], StatusCode], ...] = (
    (InvalidRequestError, StatusCode.INVALID_ARGUMENT),
    (InvalidDecisionError, StatusCode.INVALID_ARGUMENT),
    (InvalidInstanceIdError, StatusCode.INVALID_ARGUMENT),
    (InvalidNameError, StatusCode.INVALID_ARGUMENT),
    (InvalidEntityIdError, StatusCode.INVALID_ARGUMENT),
    (InvalidAnswerError, StatusCode.INVALID_ARGUMENT),
    (StaleAnswerError, StatusCode.NOT_FOUND),
    (NoRemoteWorkError, StatusCode.FAILED_PRECONDITION),
    (PayloadTooLargeError, StatusCode.RESOURCE_EXHAUSTED),
    (InstanceNotFoundError, StatusCode.NOT_FOUND),
    (UnknownTaskHubError, StatusCode.NOT_FOUND),
    (InstanceAlreadyExistsError, StatusCode.ALREADY_EXISTS),
    (InstanceFinishedError, StatusCode.FAILED_PRECONDITION),
    (InstanceRunningError, StatusCode.FAILED_PRECONDITION),
    (TaskHubFixedError, StatusCode.FAILED_PRECONDITION),
    (TooManyTaskHubsError, StatusCode.RESOURCE_EXHAUSTED),
    (EngineStoppedError, StatusCode.UNAVAILABLE),
    (CommitFailedError, StatusCode.UNAVAILABLE),
    (StoreUnavailableError, StatusCode.UNAVAILABLE),
    (HubInUseError, StatusCode.UNAVAILABLE),
    (StoreError, StatusCode.FAILED_PRECONDITION),
    (TimeoutError, StatusCode.DEADLINE_EXCEEDED),
)


def status_of(error: Exception) -> tuple[StatusCode, str]:
    """What a caller gets for ``error``: the code, and the message. Of a bug it learns the type only; the log has the rest."""
    for kind, code in STATUS_CODES:
        if isinstance(error, kind):
            return code, str(error) or "this takes longer than the server waits. Ask again."
    if isinstance(error, PerdureError):
        return StatusCode.INTERNAL, str(error)
    return StatusCode.INTERNAL, f"{type(error).__name__} in the server; its log has the details"
