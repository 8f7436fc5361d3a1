"""What whoever asks for a function gets to know that nobody has."""

from collections.abc import Iterable

from perdure.core.answers import EntityAnswer, OperationResult, OrchestratorAnswer
from perdure.core.entity import EntityNotRegisteredError
from perdure.core.errors import PerdureError
from perdure.core.events import ExecutionCompleted
from perdure.core.failures import FailureDetails, failure_from_exception
from perdure.core.functions import OrchestratorNotRegisteredError
from perdure.core.status import OrchestrationRuntimeStatus
from perdure.engine.activities.errors import ActivityNotRegisteredError
from perdure.engine.remote.work import EntityWork


def no_orchestrator(name: str, known: Iterable[str]) -> OrchestratorNotRegisteredError:
    """The error of an instance."""
    return OrchestratorNotRegisteredError(f"there is no orchestrator named '{name}'. {_registered(known)}")


def no_entity(name: str, known: Iterable[str]) -> EntityNotRegisteredError:
    """The error of its operations."""
    return EntityNotRegisteredError(f"there is no entity named '{name}'. {_registered(known)}")


def failed(error: PerdureError) -> OrchestratorAnswer:
    """The instance ends with it."""
    return OrchestratorAnswer((ExecutionCompleted(OrchestrationRuntimeStatus.Failed, None, _final(error)),))


def all_failed(work: EntityWork, error: PerdureError) -> EntityAnswer:
    """All its operations fail with it."""
    return EntityAnswer(tuple(OperationResult(failure=_final(error)) for _ in work.operations), work.state)


def no_activity(name: str, known: Iterable[str]) -> FailureDetails:
    """It fails."""
    return _final(ActivityNotRegisteredError(f"activity '{name}' isn't registered in this app. {_registered(known)}"))


def _registered(known: Iterable[str]) -> str:
    # Without the SDK's own functions and the host's, which nobody could have meant.
    return f"Registered: {', '.join(sorted(name for name in known if not name.startswith('BuiltIn'))) or 'none'}."


def _final(error: PerdureError) -> FailureDetails:
    return failure_from_exception(error, non_retriable=True)
