"""Runs user activities: on the event loop, in threads, or in worker processes."""

from perdure.engine.activities.context import ActivityContext, CancellationToken, activity_context
from perdure.engine.activities.executor import ActivityExecutor
from perdure.engine.activities.job import ActivityOutcome, Settlement
from perdure.engine.activities.transactional import Settling

__all__ = [
    "ActivityContext",
    "ActivityExecutor",
    "ActivityOutcome",
    "CancellationToken",
    "Settlement",
    "Settling",
    "activity_context",
]
