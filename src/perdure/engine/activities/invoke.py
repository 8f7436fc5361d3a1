"""A call of user code that always comes back with a result or a failure, whatever the code raises."""

import linecache
from collections.abc import Callable
from typing import Any

from perdure.core.converter import Converter
from perdure.core.errors import PerdureError
from perdure.core.failures import FailureDetails, failure_from_exception

INPUT = "input of activity"
RESULT = "result of activity"


def user_failure(exc: BaseException) -> FailureDetails:
    """The failure for an exception of user code, with its source lines."""
    return failure_from_exception(exc, source_line=linecache.getline)


def payload_failure(exc: BaseException) -> FailureDetails:
    """The failure for a value that doesn't cross the JSON border. It wouldn't the next time either, so no retry is made."""
    return failure_from_exception(exc, non_retriable=isinstance(exc, PerdureError))


def invoke(
    converter: Converter, name: str, call: Callable[..., Any], takes_input: bool, input_type: object, text: str | None
) -> tuple[str | None, FailureDetails | None]:
    """Runs a ``def`` activity in this thread, as ``(result, failure)``. Even ``SystemExit`` is its failure only."""
    try:
        arguments = (converter.decode(text, input_type, INPUT, name),) if takes_input else ()
    except BaseException as exc:  # noqa: BLE001 - conversion runs user code
        return None, payload_failure(exc)
    try:
        value = call(*arguments)
    except BaseException as exc:  # noqa: BLE001 - user code
        return None, user_failure(exc)
    try:
        return converter.encode(value, RESULT, name), None
    except BaseException as exc:  # noqa: BLE001 - conversion runs user code
        return None, payload_failure(exc)
