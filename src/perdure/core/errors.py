"""The root of every error Perdure raises on purpose.

Each class has a stable ``code`` that starts its message (``[PD1002] ...``), so that an operator can search for it in the
documentation whatever the wording. ``docs/reference/errors.md`` lists them.
"""


class PerdureError(Exception):
    """Root of the hierarchy; catching it catches everything Perdure raises deliberately."""

    code = "PD0000"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return f"[{self.code}] {self.message}"


class EngineInvariantError(PerdureError):
    """Perdure found itself in a state that its own rules forbid: a bug in Perdure, never in user code.

    It stops the engine instead of being swallowed, because going on could damage an instance.
    """

    code = "PD9001"
