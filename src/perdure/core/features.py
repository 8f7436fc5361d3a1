"""Engine logic flags. Each execution records those that were in force when it began, and replays by them for ever.

To change how the engine turns a history into actions: add a flag here, act on it where ``started.features`` has it, and
keep the old behaviour for executions without it (rule 12). ``tests/golden`` replays the histories of every release.
"""

CURRENT: tuple[str, ...] = ()
"""None yet: what the first release does is the base line."""
