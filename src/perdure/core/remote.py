"""Instances whose code is in another process, of both kinds."""

from perdure.core.answer_checks import StaleAnswerError
from perdure.core.answers import EntityAnswer, OrchestratorAnswer, Ticket
from perdure.core.hydrated import Hydrated
from perdure.core.remote_entity import RemoteEntity
from perdure.core.remote_orchestration import RemoteOrchestration
from perdure.core.turn import Turn


def decide(
    instance: Hydrated, ticket: Ticket, at: int, offered: int, answer: OrchestratorAnswer | EntityAnswer, now_us: int
) -> Turn:
    """Applies a worker's answer.

    Raises:
        StaleAnswerError: nobody (or somebody else) is asked.
        InvalidAnswerError: it can't be applied.
    """
    if isinstance(instance, RemoteOrchestration) and isinstance(answer, OrchestratorAnswer):
        return instance.decide(ticket, at, offered, answer, now_us)
    if isinstance(instance, RemoteEntity) and isinstance(answer, EntityAnswer):
        return instance.decide(ticket, at, offered, answer, now_us)
    raise StaleAnswerError(f"instance '{instance.instance_id}' doesn't wait for a worker.")
