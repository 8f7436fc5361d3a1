"""Work items as an app of azure-functions-durable 2.x gets them, and its answers: serialized messages, as base64 text."""

import base64
from binascii import Error as Base64Error
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from google.protobuf.message import DecodeError, Message

from perdure.core.answers import EntityAnswer, OperationResult, OrchestratorAnswer
from perdure.core.events import (
    Action,
    AnyEvent,
    EntityOperationCalled,
    EntityOperationFailed,
    EntityOperationSignaled,
    ExecutionCompleted,
    SubOrchestrationInstanceFailed,
    TaskFailed,
)
from perdure.core.failures import FailureDetails
from perdure.engine.remote.work import EntityWork, OrchestratorWork
from perdure.host.tracebacks import with_users_trace
from perdure.protocol.actions import read_answer
from perdure.protocol.entity_results import read_entity_answer
from perdure.protocol.errors import InvalidDecisionError
from perdure.protocol.wire import pb, text_value
from perdure.protocol.work_items import orchestrator_request

M = TypeVar("M", bound=Message)
_TASK_FAILED = "durabletask.task.TaskFailedError"
_FAILURES = (TaskFailed, SubOrchestrationInstanceFailed, EntityOperationFailed)


def orchestrator_text(work: OrchestratorWork) -> str:
    """What the function of an orchestrator gets."""
    return base64.b64encode(orchestrator_request(work)).decode("ascii")


def orchestrator_answer(text: object, work: OrchestratorWork) -> OrchestratorAnswer:
    """What the function of an orchestrator has returned for ``work``.

    Raises:
        InvalidDecisionError: it is no answer, or a part of it can't be carried out.
    """
    answer = read_answer(_parsed(pb.OrchestratorResponse, text))
    return msgspec.structs.replace(answer, actions=tuple(_action(action, work) for action in answer.actions))


def entity_text(work: EntityWork) -> str:
    """What the function of an entity gets."""
    request = pb.EntityBatchRequest(
        instanceId=work.instance_id,
        entityState=text_value(work.state),
        operations=[_operation(event, f"{work.token}-{position}") for position, event in enumerate(work.operations)],
    )
    return base64.b64encode(request.SerializeToString()).decode("ascii")


def entity_answer(text: object) -> EntityAnswer:
    """What the function of an entity has returned.

    Raises:
        InvalidDecisionError: it is no answer, or a part of it can't be carried out.
    """
    result = _parsed(pb.EntityBatchResult, text)
    if result.HasField("failureDetails"):
        raise InvalidDecisionError(f"the batch as a whole has failed: {result.failureDetails.errorMessage}")
    answer = read_entity_answer(result)
    return msgspec.structs.replace(answer, results=tuple(_result(one) for one in answer.results))


def _operation(event: EntityOperationSignaled | EntityOperationCalled, request_id: str) -> pb.OperationRequest:
    own = event.request_id if isinstance(event, EntityOperationCalled) else None
    return pb.OperationRequest(operation=event.operation, requestId=own or request_id, input=text_value(event.input))


def _action(action: Action, work: OrchestratorWork) -> Action:
    if not isinstance(action, ExecutionCompleted) or action.failure is None:
        return action
    failure = with_users_trace(action.failure)
    if failure.cause is None and failure.type == _TASK_FAILED:
        # The SDK's error quotes the failure of the task; what there is besides, such as its traceback, would be lost.
        failure = msgspec.structs.replace(failure, cause=_quoted(failure.message, work.new))
    return msgspec.structs.replace(action, failure=failure)


def _quoted(message: str, events: Sequence[AnyEvent]) -> FailureDetails | None:
    failures = [event.failure for event in events if isinstance(event, _FAILURES)]
    return next((failure for failure in reversed(failures) if message.endswith(f": {failure.message}")), None)


def _result(result: OperationResult) -> OperationResult:
    return result if result.failure is None else OperationResult(failure=with_users_trace(result.failure))


def _parsed(kind: type[M], text: object) -> M:
    if not isinstance(text, str):
        raise InvalidDecisionError(f"the function returned {type(text).__name__}, not a text with a {kind.DESCRIPTOR.name}.")
    try:
        return kind.FromString(base64.b64decode(text, validate=True))
    except (Base64Error, DecodeError) as error:
        raise InvalidDecisionError(f"the function returned no {kind.DESCRIPTOR.name}: {error}") from None
