"""What the Durable Task service answers besides the errors of the layers below, and why it may not start."""

from perdure.core.errors import PerdureError

_SHOWN = 200


class ServerSettingsError(PerdureError):
    """The gRPC server can't be started as it is configured; the message names the setting."""

    code = "PD4401"


class InvalidRequestError(PerdureError):
    """A request has a field that can't be used; the message names it."""

    code = "PD4402"


class UnknownTaskHubError(PerdureError):
    """The ``taskhub`` metadata names a hub that this server doesn't have, or that can't be one."""

    code = "PD4403"


class TooManyTaskHubsError(PerdureError):
    """The server has as many hubs open as it may."""

    code = "PD4404"


class TaskHubFixedError(PerdureError):
    """The hub was given to the server by the process that it runs in; it can't be deleted or made through it."""

    code = "PD4405"


class InvalidDecisionError(PerdureError):
    """A worker's answer to an orchestration work item can't be carried out; the message names the action."""

    code = "PD4406"


class PackagesMissingError(PerdureError):
    """A package that the gRPC server needs is not installed; the message says how to get it."""

    code = "PD4407"


def shown(text: str) -> str:
    """What a message quotes of a text that somebody sent."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
