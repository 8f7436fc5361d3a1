"""Protobuf with types: the message classes of the protocol, and the few conversions that all of them need."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from durabletask.internal import orchestrator_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from perdure.core.events import TraceContext
from perdure.core.status import OrchestrationRuntimeStatus
from perdure.protocol.errors import InvalidRequestError

_LATEST = 253_402_300_800  # the year 10000, which datetime doesn't reach

WIRE_STATUS: Mapping[str, pb.OrchestrationStatus] = {
    OrchestrationRuntimeStatus.Running: pb.ORCHESTRATION_STATUS_RUNNING,
    OrchestrationRuntimeStatus.Completed: pb.ORCHESTRATION_STATUS_COMPLETED,
    OrchestrationRuntimeStatus.ContinuedAsNew: pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW,
    OrchestrationRuntimeStatus.Failed: pb.ORCHESTRATION_STATUS_FAILED,
    OrchestrationRuntimeStatus.Canceled: pb.ORCHESTRATION_STATUS_CANCELED,
    OrchestrationRuntimeStatus.Terminated: pb.ORCHESTRATION_STATUS_TERMINATED,
    OrchestrationRuntimeStatus.Pending: pb.ORCHESTRATION_STATUS_PENDING,
    OrchestrationRuntimeStatus.Suspended: pb.ORCHESTRATION_STATUS_SUSPENDED,
}
_STATUS_OF: Mapping[int, OrchestrationRuntimeStatus] = {
    int(number): OrchestrationRuntimeStatus(status) for status, number in WIRE_STATUS.items()
}


class HasFields(Protocol):
    """A protobuf message, as far as the presence of its fields goes."""

    def HasField(self, _: str, /) -> bool:  # noqa: N802 - protobuf's name
        """Whether the field was given."""
        ...


def text_value(text: str | None) -> Mapping[str, str] | None:
    """What a ``StringValue`` is made of, which costs half as much as one; keeps nothing and the empty text apart."""
    return None if text is None else {"value": text}


def text_of(message: HasFields, field: str) -> str | None:
    """The text of a ``StringValue`` field; ``None`` where it wasn't given."""
    return getattr(message, field).value if message.HasField(field) else None


def timestamp(microseconds: int) -> Mapping[str, int]:
    """What a ``Timestamp`` is made of: a moment, exactly."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return {"seconds": seconds, "nanos": rest * 1000}


def moment_of(message: HasFields, field: str) -> int | None:
    """The microseconds of a ``Timestamp`` field; ``None`` where it wasn't given.

    Raises:
        InvalidRequestError: it is no moment of the years 1 to 9999.
    """
    if not message.HasField(field):
        return None
    value: Timestamp = getattr(message, field)
    if not (-62_135_596_800 <= value.seconds < _LATEST and 0 <= value.nanos < 1_000_000_000):
        raise InvalidRequestError(
            f"'{field}' is no moment: {value.seconds} s and {value.nanos} ns since 1970. Give one of the years 1 to 9999."
        )
    return value.seconds * 1_000_000 + value.nanos // 1000


def statuses_of(numbers: Iterable[int], field: str) -> list[OrchestrationRuntimeStatus]:
    """The statuses that numbers of the protocol stand for.

    Raises:
        InvalidRequestError: one of them stands for none.
    """
    try:
        return [_STATUS_OF[int(number)] for number in numbers]
    except KeyError as unknown:
        raise InvalidRequestError(
            f"'{field}' has the status {unknown}; the protocol numbers them from 0 to {max(_STATUS_OF)}."
        ) from None


def required(text: str, field: str) -> str:
    """The text of a field that must not be empty.

    Raises:
        InvalidRequestError: it is, or no store can keep it.
    """
    if not text:
        raise InvalidRequestError(f"'{field}' is empty. Give it.")
    return _storable(text, field)


def column_of(message: HasFields, field: str) -> str | None:
    """The text of a ``StringValue`` field that is no payload, but kept as text where stores look for it.

    Raises:
        InvalidRequestError: no store can keep it.
    """
    text = text_of(message, field)
    return None if text is None else _storable(text, field)


def _storable(text: str, field: str) -> str:
    if "\0" in text:
        raise InvalidRequestError(f"'{field}' has the character NUL at position {text.index(chr(0))}. Leave it out.")
    return text


def trace_of(message: HasFields, field: str = "parentTraceContext") -> TraceContext | None:
    """The trace context of a message; ``None`` where it wasn't given."""
    if not message.HasField(field):
        return None
    value: pb.TraceContext = getattr(message, field)
    return TraceContext(value.traceParent, text_of(value, "traceState"), value.spanID)


def trace_value(trace: TraceContext | None) -> pb.TraceContext | None:
    """The other way."""
    if trace is None:
        return None
    return pb.TraceContext(traceParent=trace.trace_parent, spanID=trace.span_id, traceState=text_value(trace.trace_state))
