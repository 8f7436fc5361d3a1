"""What goes wrong around an activity, as opposed to inside it."""

from perdure.core.errors import PerdureError


class ActivityError(PerdureError):
    """Root of the errors about running activities."""

    code = "PD2100"


class ActivityNotRegisteredError(ActivityError):
    """An orchestrator asked for an activity that this application doesn't have. A retry can't help; registering it does."""

    code = "PD2101"


class ActivityContextError(ActivityError):
    """``activity_context()`` was called where no activity runs, or its token was waited for on the event loop."""

    code = "PD2102"


class ActivityCancelledError(ActivityError):
    """The activity was told to stop; ``CancellationToken.raise_if_cancelled`` raises it, for the activity to let through."""

    code = "PD2103"


class ActivityImportError(ActivityError):
    """A process activity can't be found by a worker process, which imports it by module and name."""

    code = "PD2104"


class ActivityWorkerDiedError(ActivityError):
    """The worker process that ran the activity ended before the activity did. It has been replaced."""

    code = "PD2105"
