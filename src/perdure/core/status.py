"""The life of an instance as a table. Everything that changes a status goes through ``next_status``.

The table is printed into ``docs/reference/status.md`` and tested for every pair of status and cause.
"""

from enum import StrEnum

from perdure.core.errors import EngineInvariantError


class OrchestrationRuntimeStatus(StrEnum):
    """Statuses of Durable Functions. ``Canceled`` and ``ContinuedAsNew`` exist for their clients; Perdure never shows them."""

    Running = "Running"
    Completed = "Completed"
    ContinuedAsNew = "ContinuedAsNew"
    Failed = "Failed"
    Canceled = "Canceled"
    Terminated = "Terminated"
    Pending = "Pending"
    Suspended = "Suspended"


class Cause(StrEnum):
    """What can change a status."""

    CREATED = "created"
    BEGUN = "begun"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    COMPLETED = "completed"
    FAILED = "failed"
    TERMINATED = "terminated"


_S = OrchestrationRuntimeStatus
TERMINAL_STATUSES = frozenset({_S.Completed, _S.Failed, _S.Terminated, _S.Canceled})

TRANSITIONS: dict[tuple[OrchestrationRuntimeStatus | None, Cause], OrchestrationRuntimeStatus] = {
    (None, Cause.CREATED): _S.Pending,
    (_S.Pending, Cause.BEGUN): _S.Running,
    (_S.Pending, Cause.SUSPENDED): _S.Suspended,
    (_S.Pending, Cause.TERMINATED): _S.Terminated,
    (_S.Pending, Cause.FAILED): _S.Failed,
    (_S.Running, Cause.SUSPENDED): _S.Suspended,
    (_S.Running, Cause.COMPLETED): _S.Completed,
    (_S.Running, Cause.FAILED): _S.Failed,
    (_S.Running, Cause.TERMINATED): _S.Terminated,
    # Resuming goes back to Pending; an instance whose code had begun is Running again at once (Cause.BEGUN).
    (_S.Suspended, Cause.RESUMED): _S.Pending,
    # What code in another process decided before it was suspended counts.
    (_S.Suspended, Cause.COMPLETED): _S.Completed,
    (_S.Suspended, Cause.FAILED): _S.Failed,
    (_S.Suspended, Cause.TERMINATED): _S.Terminated,
}


def next_status(status: OrchestrationRuntimeStatus | None, cause: Cause) -> OrchestrationRuntimeStatus:
    """The status after ``cause``.

    Raises:
        EngineInvariantError: the table has no such transition.
    """
    try:
        return TRANSITIONS[status, cause]
    except KeyError:
        raise EngineInvariantError(f"an instance in status {status} can't be {cause}") from None
