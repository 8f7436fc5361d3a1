"""Implementations of the engine's hooks."""

from perdure.observability.logging import LoggingHooks, silence_replays

__all__ = ["LoggingHooks", "silence_replays"]
