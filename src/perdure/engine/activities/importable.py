"""How a worker process finds a function: by module and name, since functions can't be sent."""

import pickle

from perdure.core.failures import FailureDetails, failure_from_exception
from perdure.core.functions import ActivityFunction
from perdure.engine.activities.errors import ActivityImportError
from perdure.engine.activities.wire import Load


def check_importable(function: ActivityFunction) -> FailureDetails | None:
    """The failure that a process activity is bound to come to because no worker process can find it by name, if so."""
    qualname: str = getattr(function.call, "__qualname__", "")
    if qualname and "<" not in qualname:
        return None
    where = f"{function.call.__module__}:{qualname}" if qualname else repr(function.call)
    return failure_from_exception(
        ActivityImportError(
            f"process activity '{function.name}' ({where}) must be importable at module level, because worker processes import "
            "it by name: move it there as a def, or let it run in a thread"
        ),
        non_retriable=True,
    )


def load_request(function: ActivityFunction) -> Load | FailureDetails:
    """What makes a worker process import the function, or the failure if its input type can't be named there."""
    call = function.call
    try:
        input_type = pickle.dumps(function.input_type)
    except Exception as exc:  # noqa: BLE001 - pickle raises all sorts
        error = ActivityImportError(
            f"the input type {function.input_type!r} of process activity '{function.name}' must be importable at module level, "
            "because worker processes import it by name"
        )
        error.__cause__ = exc
        return failure_from_exception(error, non_retriable=True)
    return Load(function.name, call.__module__, call.__qualname__, function.takes_input, input_type)
