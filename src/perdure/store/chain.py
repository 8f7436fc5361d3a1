"""What keeps a pipelined commit from being written on top of one that failed.

An engine runs the next batch while the last one is being written, so a commit may build on turns of an earlier one that
is still on its way. Were the later one written although the earlier failed, a history would have a hole.
"""

from perdure.store.errors import StoreUnavailableError


class CommitChain:
    """Commits called before an earlier one's failure was raised: they stand or fall together, in order."""

    __slots__ = ("broken",)

    def __init__(self) -> None:
        self.broken = False
        """A commit of this chain failed; those behind it must not be written."""

    def check(self) -> None:
        """Lets a commit pass whose predecessors are all durable.

        Raises:
            StoreUnavailableError: one of them failed; this commit wasn't written.
        """
        if self.broken:
            raise StoreUnavailableError(
                "This commit wasn't written: a commit that was called before it failed, and it may build on that one. "
                "Discard what isn't durable, read the store again, and go on from there."
            )
