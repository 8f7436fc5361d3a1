"""Runs user activities: on the event loop, in threads, or in worker processes."""

from perdure.engine.activities.context import ActivityContext, CancellationToken, activity_context
from perdure.engine.activities.executor import ActivityExecutor
from perdure.engine.activities.job import ActivityOutcome

__all__ = ["ActivityContext", "ActivityExecutor", "ActivityOutcome", "CancellationToken", "activity_context"]
