"""Work items: what a connected worker is asked to do, in plain values. A protocol puts them on the wire."""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

import msgspec

from perdure.core.effects import DispatchActivity
from perdure.core.events import AnyEvent, EntityOperationCalled, EntityOperationSignaled, ExecutionStarted, WorkerSpan
from perdure.core.work_history import WorkHistory


class Kind(StrEnum):
    """What is asked for."""

    ORCHESTRATOR = "orchestrator"
    ACTIVITY = "activity"
    ENTITY = "entity"


LaneKey = tuple[Kind, str, str]
"""Kind, name and version."""

Names = Mapping[str, Collection[str]]
"""Names, exactly as the code is called, and the versions that are taken of each; no versions: all of them."""


class WorkFilter(msgspec.Struct, frozen=True):
    """What a worker takes. A kind without names takes nothing of that kind."""

    orchestrators: Names
    activities: Names
    entities: Names


class WorkerLimits(msgspec.Struct, frozen=True):
    """How many items of each kind a worker may have at a time; 0 leaves it to the settings."""

    orchestrators: int = 0
    activities: int = 0
    entities: int = 0


class OrchestratorWork(msgspec.Struct, frozen=True, eq=False):
    """An orchestrator has to decide."""

    token: str
    """Goes with the answer. Good for one answer, and only until somebody else has given one that counts."""
    instance_id: str
    started: ExecutionStarted
    """Name, execution id, generation, version, tags, parent and trace."""
    past: WorkHistory
    """All that earlier decisions have seen, and what they asked for. Shared; doesn't change while the item is out."""
    past_count: int
    """How much of ``past.past`` belongs to this item."""
    at: int
    """The time that the code sees (microseconds), the time of the ``OrchestratorStarted`` which precedes ``new`` on the wire."""
    new: Sequence[AnyEvent]
    """What has arrived since. ``ExecutionStarted`` first where the code has decided nothing yet."""
    span: WorkerSpan | None = None
    """As the last answer gave it."""


class EntityWork(msgspec.Struct, frozen=True, eq=False):
    """An entity has operations to do."""

    token: str
    instance_id: str
    execution_id: str
    state: str | None
    """JSON text; ``None``: it doesn't exist."""
    operations: Sequence[EntityOperationSignaled | EntityOperationCalled]


class ActivityWork(msgspec.Struct, frozen=True, eq=False):
    """An activity has to run."""

    token: str
    call: DispatchActivity


Work = OrchestratorWork | EntityWork | ActivityWork
