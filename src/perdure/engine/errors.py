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


class NobodyAnswersError(PerdureError):
    """No engine of a shared hub has handled a request in time. It is stored, and will be handled by the next one that can."""

    code = "PD1307"


class NotShareableError(PerdureError):
    """The settings ask for an engine that shares its hub with others, which the store doesn't allow."""

    code = "PD1308"


class NoRemoteWorkError(PerdureError):
    """The hub doesn't leave functions to workers in other processes."""

    code = "PD1309"


def not_found(instance_id: str) -> InstanceNotFoundError:
    """The answer to what is for nobody."""
    return InstanceNotFoundError(f"there is no instance '{instance_id}'")


def finished(instance_id: str, status: str) -> InstanceFinishedError:
    """The answer to what makes no sense for an instance that has ended."""
    return InstanceFinishedError(f"instance '{instance_id}' has ended; its status is {status}")


def stays_failed(instance_id: str) -> InstanceFinishedError:
    """The answer to a rewind that can't be."""
    return InstanceFinishedError(
        f"instance '{instance_id}' can't be rewound: it failed inside of a critical section. Its entities were released then and "
        "may have changed since, so that it can't go on from there. Start it again instead."
    )
