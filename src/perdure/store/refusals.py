"""The errors that every store words alike."""

from collections.abc import Sequence

from perdure.core.errors import EngineInvariantError
from perdure.store.contract import Lease
from perdure.store.errors import LeaseLostError, StoreUnavailableError


def lease_lost(lost: Sequence[Lease]) -> LeaseLostError:
    """Names every lease of a refused commit or renewal that isn't current."""
    names = ", ".join(f"{lease.partition} (epoch {lease.epoch} of '{lease.owner}')" for lease in lost)
    return LeaseLostError(
        f"The lease isn't current any more for partition {names}. Nothing was written: drop what is held of these partitions."
    )


def segment_refused(where: str) -> EngineInvariantError:
    """A segment that could only damage a history: without an instance row, or with a number that is taken."""
    return EngineInvariantError(
        f"A commit was refused and nothing of it was written: {where} has a segment whose instance has no row, or whose "
        "number is already taken. This is a bug in Perdure; please report it with the instance's history."
    )


def not_open(name: str) -> StoreUnavailableError:
    """A call before ``open`` or after ``close``."""
    return StoreUnavailableError(f"{name} isn't open: call open() first, and nothing after close().")
