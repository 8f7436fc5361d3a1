"""What the management API answers, read back: statuses into objects, error bodies into the exceptions they came from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import msgspec

from perdure.client.models import DurableOrchestrationStatus, EntityStatus
from perdure.core.converter import PayloadTooLargeError, SerializationError
from perdure.core.entity import EntityNotRegisteredError
from perdure.core.entity_id import EntityId, InvalidEntityIdError
from perdure.core.errors import PerdureError
from perdure.core.functions import OrchestratorNotRegisteredError
from perdure.core.ids import InvalidInstanceIdError, InvalidNameError
from perdure.core.status import OrchestrationRuntimeStatus
from perdure.engine.errors import (
    CommitFailedError,
    EngineStoppedError,
    InstanceAlreadyExistsError,
    InstanceFinishedError,
    InstanceNotFoundError,
    InstanceRunningError,
)


class HostUnreachableError(PerdureError):
    """No host answers at that address, or it doesn't answer in time. What was asked for may or may not have happened."""

    code = "PD1501"


class HostAnswerError(PerdureError):
    """A host answered with something that isn't an answer of the management API, or refused: wrong address, hub or key."""

    code = "PD1502"


_BY_NAME: dict[str, type[PerdureError]] = {
    error.__name__: error
    for error in (
        CommitFailedError,
        EngineStoppedError,
        EntityNotRegisteredError,
        InstanceAlreadyExistsError,
        InstanceFinishedError,
        InstanceNotFoundError,
        InstanceRunningError,
        InvalidEntityIdError,
        InvalidInstanceIdError,
        InvalidNameError,
        OrchestratorNotRegisteredError,
        PayloadTooLargeError,
        SerializationError,
    )
}
_BY_STATUS: dict[int, type[PerdureError]] = {404: InstanceNotFoundError, 410: InstanceFinishedError}
"""Durable Functions answers these without a body."""
_CODE = re.compile(r"^\[PD\d+\] ")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, whatever library it came by. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body's value.

        Raises:
            HostAnswerError: it isn't JSON.
        """
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise HostAnswerError(
                f"the host answered {self.status} with something that isn't JSON. Is its address right? {self.body[:80]!r}"
            ) from error

    @property
    def knows_nothing(self) -> bool:
        """Whether the host says that there is no such instance. A 404 that something else sends is a wrong address."""
        return self.status == 404 and (not self.body or _error_body(self)[0] == InstanceNotFoundError.__name__)

    @property
    def retry_after(self) -> float | None:
        """Seconds, if the host named some."""
        text = self.headers.get("retry-after", "")
        return float(text) if text.isdecimal() else None


def refuse(answer: Answer, instance_id: str | None = None) -> NoReturn:
    """Raises what went wrong at the host: the exception it names, or the one that its status stands for.

    Raises:
        PerdureError: always.
    """
    named, told = _error_body(answer)
    error = _BY_NAME.get(named)
    if error is None and instance_id is not None and not answer.body:
        error = _BY_STATUS.get(answer.status)
        told = f"the host answered {answer.status} for instance '{instance_id}'"
    if error is not None:
        raise error(told)
    if answer.status == 401:
        raise HostAnswerError(
            "the host refused the key. Give the key 'durabletask' or the master key of its keys file as 'code'."
        )
    if answer.status == 503:
        raise HostAnswerError(f"the host answered 503: {told or 'it is not ready'}")
    said = told.rstrip(".") or "nothing more"
    raise HostAnswerError(f"the host answered {answer.status}: {said}. Are its address and task hub right?")


def _error_body(answer: Answer) -> tuple[str, str]:
    try:
        body: Any = msgspec.json.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "", ""
    if not isinstance(body, dict):
        return "", ""
    told = str(body.get("ExceptionMessage") or body.get("Message") or "")  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
    return str(body.get("ExceptionType", "")), _CODE.sub("", told)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]


def read_status(body: dict[str, Any]) -> DurableOrchestrationStatus:
    """A status from its body.

    Raises:
        HostAnswerError: it isn't one.
    """
    try:
        return DurableOrchestrationStatus(
            instance_id=body["instanceId"],
            name=body["name"],
            runtime_status=OrchestrationRuntimeStatus(body["runtimeStatus"]),
            created_time=datetime.fromisoformat(body["createdTime"]),
            last_updated_time=datetime.fromisoformat(body["lastUpdatedTime"]),
            input_=body.get("input"),
            output=body.get("output"),
            custom_status=body.get("customStatus"),
            history=body.get("historyEvents"),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise HostAnswerError(f"the host's answer isn't the status of an instance ({error!r}). Is its address right?") from error


def read_entity(body: dict[str, Any]) -> EntityStatus:
    """An entity of a list from its body. Whether it is locked isn't part of the API.

    Raises:
        HostAnswerError: it isn't one.
    """
    try:
        return EntityStatus(
            entity_id=EntityId(body["entityId"]["name"], body["entityId"]["key"]),
            last_operation_time=datetime.fromisoformat(body["lastOperationTime"]),
            state=body.get("state"),
            locked_by=None,
            backlog=0,
        )
    except (LookupError, TypeError, ValueError) as error:
        raise HostAnswerError(f"the host's answer isn't a list of entities ({error!r}). Is its address right?") from error
