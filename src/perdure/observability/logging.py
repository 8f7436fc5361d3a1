"""Logging: the engine's life as log records, and silence while orchestrator code repeats its past."""

import logging
from typing import Any

from perdure.engine.hooks import EngineHooks
from perdure.engine.replaying import is_replaying

_log = logging.getLogger("perdure")


class LoggingHooks(EngineHooks):
    """Writes what the engine reports to the logger ``perdure``."""

    def instance_ended(self, instance_id: str, name: str, status: str, error: str | None) -> None:
        """Failures as warnings, the rest for those who debug."""
        if error is not None:
            _log.warning("orchestration %s (%s) failed: %s", instance_id, name, error)
        else:
            _log.debug("orchestration %s (%s) ended: %s", instance_id, name, status)

    def orchestrator_missing(self, instance_id: str, name: str) -> None:
        """An error: somebody has to deploy the function or terminate the instance."""
        _log.error(
            "instance %s can't go on: this app has no function named %r. What arrives for it is kept. Register the function "
            "again; an orchestration can also be terminated.",
            instance_id,
            name,
        )

    def start_refused(self, instance_id: str, name: str, error: str) -> None:
        """A warning: whoever started it has gone on."""
        _log.warning("orchestration %s (%s) was not started: %s", instance_id, name, error)

    def entity_operation_lost(self, instance_id: str, operation: str, error: str, traceback: str | None) -> None:
        """A warning: the sender doesn't wait, so nobody else will hear of it."""
        _log.warning("operation %s, signaled to entity %s, failed and was undone: %s", operation, instance_id, traceback or error)

    def blocked(self, instance_id: str, name: str, seconds: float, stack: str) -> None:
        """With the stack, since that is what names the guilty line."""
        _log.warning(
            "%s (instance %s) has kept the engine waiting for %.1f s. Orchestrators and entities must not block: do I/O and "
            "heavy work in activities, and wait with context.create_timer. It stands at:\n%s",
            name,
            instance_id,
            seconds,
            stack,
        )

    def work_unwanted(self, kind: str, name: str, count: int, workers: int) -> None:
        """Once for each name, until a worker takes it: it may be meant to wait, and it may be a slip in a name."""
        _log.warning(
            "work for the %s %r waits (items: %d): %s. It goes on as soon as a worker connects that has it.",
            kind,
            name,
            count,
            f"none of the {workers} connected workers takes it" if workers else "no worker is connected",
        )

    def recovering(self, error: BaseException, attempt: int) -> None:
        """The store will be tried again."""
        _log.warning("the store failed (attempt %d to go on from what is stored): %s", attempt, error)

    def out_of_touch(self, error: BaseException) -> None:
        """Once per outage, also where there is nothing to do."""
        _log.warning("the store can't be reached; trying again until it can: %s", error)

    def in_touch(self) -> None:
        """The end of the outage."""
        _log.warning("the store can be reached again")

    def stopped(self, error: BaseException) -> None:
        """Nothing runs any more."""
        _log.critical("the engine has stopped: %s", error, exc_info=error)


def silence_replays() -> None:
    """From now on a log record made by orchestrator code that is being replayed reaches no handler. Idempotent.

    Works for every logger, without a special one: the record factory gives such records a level below all handlers'.
    """
    make = logging.getLogRecordFactory()
    if getattr(make, "silences_replays", False):
        return

    def make_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if is_replaying():
            record.levelno = -1
        return record

    make_record.silences_replays = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make_record)
