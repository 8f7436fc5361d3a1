"""The garbage collector of a host's process. A program that embeds Perdure decides for itself."""

import gc

_THRESHOLDS = (10_000, 20, 50)


def no_collections() -> None:
    """Nothing is collected while the host starts: almost all that is made then stays, so each look at it is for nothing."""
    gc.disable()


def collect_seldom() -> None:
    """What exists by now is never looked at again, and the rest less often than Python would.

    A request, a turn and an activity make hundreds of objects, none of which is part of a cycle: reference counts free them. With
    Python's own thresholds a busy host would look for cycles 100 times a second, and through all of its memory now and then,
    which took 7 % of its CPU and showed in the slowest answers. User code may make cycles; they are found a little later.
    """
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    gc.enable()
