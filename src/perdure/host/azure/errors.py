"""Failures as code written for azure-functions-durable 1.x knows them."""

from typing import Literal

from perdure.core.failures import FailureDetails, TaskFailedError

Kind = Literal["activity", "sub-orchestration", "entity operation"]


class AzureTaskFailedError(TaskFailedError):
    """A failed task in an app of azure-functions-durable 1.x: reads like its ``Exception``, but answers ``is_caused_by``."""

    code = "PD4301"

    def __init__(self, kind: Kind, name: str, task_id: int, details: FailureDetails) -> None:
        super().__init__(f"{kind} '{name}'", task_id, details)
        self.kind: Kind = kind
        self.name = name
        self.args = (str(self),)

    def __str__(self) -> str:
        if self.kind == "entity operation":
            return self.details.message
        # Reason, line feed, details. The host's details are a serialized .NET exception with a stack trace: callers would see it
        # in the output of the failed orchestration.
        return f"{failure_reason(self.kind, self.name, self.details)} \n null"

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.kind, self.name, self.task_id, self.details)


def failure_reason(kind: Kind, name: str, details: FailureDetails) -> str:
    """What the Functions host says of a failed function."""
    if kind == "sub-orchestration":
        return f"Orchestrator function '{name}' failed: {details.message}"
    return f"Activity function '{name}' failed: {details.type.rpartition('.')[2]}: {details.message}"
