"""What the engine answers to callers."""

from perdure.core.errors import PerdureError


class InstanceAlreadyExistsError(PerdureError):
    """The instance id is taken, and the reuse policy doesn't allow to replace what is there."""

    code = "PD1301"


class InstanceNotFoundError(PerdureError):
    """There is no instance of that id."""

    code = "PD1302"


class InstanceFinishedError(PerdureError):
    """The instance has ended, so that the operation makes no sense any more."""

    code = "PD1303"


class InstanceRunningError(PerdureError):
    """The instance has not ended, which the operation needs."""

    code = "PD1304"


class EngineStoppedError(PerdureError):
    """The hub is closed, or has stopped because of an error. What had been acknowledged is safe."""

    code = "PD1305"


class CommitFailedError(PerdureError):
    """The store could not write the call's outcome, or it isn't known whether it did. Ask for the status, then try again."""

    code = "PD1306"
