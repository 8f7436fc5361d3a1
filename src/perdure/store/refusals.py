"""The errors that every store words alike."""

from collections.abc import Sequence

from perdure.core.errors import EngineInvariantError
from perdure.store.contract import MAX_NUDGE_BYTES, Commit, Fence, Lease
from perdure.store.errors import LeaseLostError, StoreUnavailableError, TransactionControlError


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


def refuse_sharing(commit: Commit, store: str) -> None:
    """Lets a commit pass that asks for nothing which only a shared hub has.

    Raises:
        EngineInvariantError: it does.
    """
    if commit.owner or commit.offered or commit.settled or commit.withdrawn:
        raise EngineInvariantError(
            "A commit was refused and nothing of it was written: it names its owner, or offers, settles or withdraws activities. "
            f"{store} has one owner at a time and no shared activity queue. This is a bug in Perdure; please report it."
        )


def fence_lost(fence: Fence) -> LeaseLostError:
    """An activity that isn't this engine's to run any more."""
    if isinstance(fence, Lease):
        return lease_lost([fence])
    return LeaseLostError(
        f"The claim on activity '{fence.activity_id}' (token {fence.token}) isn't current any more: another engine runs it, or "
        "nobody wants its outcome. Nothing was written."
    )


def transaction_ended() -> TransactionControlError:
    """A transactional activity after which no transaction is open."""
    return TransactionControlError(
        "the transaction of a transactional activity had ended before the activity returned, so its result can't be committed "
        "with it. Don't end it in SQL, and let errors that make the database roll back through."
    )


def nudge_too_long(size: int) -> EngineInvariantError:
    """A nudge that not every store could send."""
    return EngineInvariantError(
        f"A nudge of {size:,} bytes was refused; at most {MAX_NUDGE_BYTES:,} are allowed. Nudges are hints: what they are about "
        "belongs into the store. This is a bug in Perdure; please report it."
    )


def not_open(name: str) -> StoreUnavailableError:
    """A call before ``open`` or after ``close``."""
    return StoreUnavailableError(f"{name} isn't open: call open() first, and nothing after close().")
