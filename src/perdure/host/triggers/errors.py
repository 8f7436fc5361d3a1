"""What can be wrong with triggers and their bindings."""

from perdure.core.errors import PerdureError


class RouteTemplateError(PerdureError):
    """A function's route can't be understood."""

    code = "PD4201"


class RouteConflictError(PerdureError):
    """Two functions would answer the same requests."""

    code = "PD4202"


class ScheduleError(PerdureError):
    """A timer's schedule or time zone can't be understood."""

    code = "PD4203"


class MissingAppSettingError(PerdureError):
    """A binding names an app setting that isn't set."""

    code = "PD4204"


class QueueConnectionError(PerdureError):
    """A queue's connection string can't be used."""

    code = "PD4205"


class QueueServiceError(PerdureError):
    """The queue service refused a request or can't be reached."""

    code = "PD4206"


class FunctionTimeoutError(PerdureError):
    """A function took longer than ``functionTimeout``."""

    code = "PD4207"


class FunctionResultError(PerdureError):
    """A function returned something that its binding can't send."""

    code = "PD4208"
