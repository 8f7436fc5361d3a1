"""Failures on the wire: nothing of the chain is lost, in either direction."""

import math
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct, Value

from perdure.core.failures import FailureDetails
from perdure.protocol.wire import pb, text_of, text_value

_MAX_CAUSES = 32
"""A deeper chain is cut; ``failure_from_exception`` has the same bound."""


def failure_value(failure: FailureDetails) -> pb.TaskFailureDetails:
    """A failure as the SDKs read it."""
    made: pb.TaskFailureDetails | None = None
    for link in reversed(list(failure.chain())):
        made = pb.TaskFailureDetails(
            errorType=link.type,
            errorMessage=link.message,
            stackTrace=text_value(link.traceback),
            innerFailure=made,
            isNonRetriable=link.non_retriable,
        )
        if link.properties:
            properties = ParseDict(link.properties, Struct())
            for name, value in properties.fields.items():
                made.properties[name].CopyFrom(value)
    assert made is not None
    return made


def failure_of(details: pb.TaskFailureDetails) -> FailureDetails:
    """The failure that an SDK tells of."""
    links = [details]
    while len(links) < _MAX_CAUSES and links[-1].HasField("innerFailure"):
        links.append(links[-1].innerFailure)
    made: FailureDetails | None = None
    for link in reversed(links):
        made = FailureDetails(
            type=link.errorType,
            message=link.errorMessage,
            traceback=text_of(link, "stackTrace"),
            cause=made,
            non_retriable=link.isNonRetriable,
            properties=_properties(link),
        )
    assert made is not None
    return made


def _properties(details: pb.TaskFailureDetails) -> dict[str, Any] | None:
    return {name: _plain(value) for name, value in details.properties.items()} or None


def _plain(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case None | "null_value":
            return None
        case "struct_value":
            return {name: _plain(item) for name, item in value.struct_value.fields.items()}
        case "list_value":
            return [_plain(item) for item in value.list_value.values]
        case "number_value":
            number = value.number_value
            if not math.isfinite(number):
                return str(number)  # JSON has none
            return int(number) if number.is_integer() else number
        case kind:
            return getattr(value, kind)
