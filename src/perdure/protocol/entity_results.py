"""What a worker did to an entity, in Perdure's terms."""

from perdure.core.answers import EntityAnswer, OperationResult, OrchestrationSent
from perdure.core.entity_id import EntityId, InvalidEntityIdError
from perdure.core.events import EntityOperationSignaled
from perdure.core.ids import InvalidInstanceIdError, check_instance_id
from perdure.protocol.errors import InvalidDecisionError, InvalidRequestError
from perdure.protocol.failures import failure_of
from perdure.protocol.wire import column_of, moment_of, pb, required, text_of, trace_of


def read_entity_answer(batch: pb.EntityBatchResult) -> EntityAnswer:
    """The answer of a worker to the work item of an entity.

    Raises:
        InvalidDecisionError: a part of it can't be carried out.
    """
    return EntityAnswer(
        tuple(_result(result) for result in batch.results),
        text_of(batch, "entityState") or None,
        tuple(_sent(action) for action in batch.actions),
    )


def _result(result: pb.OperationResult) -> OperationResult:
    match result.WhichOneof("resultType"):
        case "success":
            # Some SDKs write no result as an empty one, which isn't JSON: in-process callers couldn't read it.
            return OperationResult(text_of(result.success, "result") or None)
        case "failure":
            return OperationResult(failure=failure_of(result.failure.failureDetails))
        case _:
            raise InvalidDecisionError("the result of an operation is neither a success nor a failure.")


def _sent(action: pb.OperationAction) -> EntityOperationSignaled | OrchestrationSent:
    kind = action.WhichOneof("operationActionType")
    try:
        match kind:
            case "sendSignal":
                return _signal(action.sendSignal)
            case "startNewOrchestration":
                return _start(action.startNewOrchestration)
            case _:
                pass
    except (InvalidRequestError, InvalidEntityIdError, InvalidInstanceIdError) as error:
        raise InvalidDecisionError(f"action {action.id} ({kind}) of an entity: {error.message}") from None
    raise InvalidDecisionError(
        f"action {action.id} of an entity is of a kind that this server doesn't know. Use a release of Perdure that is as new as "
        "the SDK."
    )


def _signal(asked: pb.SendSignalAction) -> EntityOperationSignaled:
    return EntityOperationSignaled(
        str(EntityId.parse(asked.instanceId)),
        required(asked.name, "name"),
        input=text_of(asked, "input"),
        scheduled_time=moment_of(asked, "scheduledTime"),
    )


def _start(asked: pb.StartNewOrchestrationAction) -> OrchestrationSent:
    if asked.instanceId:
        check_instance_id(asked.instanceId)
    return OrchestrationSent(
        required(asked.name, "name"),
        asked.instanceId or None,
        text_of(asked, "input"),
        column_of(asked, "version"),
        moment_of(asked, "scheduledTime"),
        trace_of(asked),
    )
