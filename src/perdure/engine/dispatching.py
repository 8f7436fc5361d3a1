"""Where activities run: in this process, at a connected worker, or at whichever engine of the hub has room."""

from collections.abc import Callable, Iterable

from perdure.core.effects import DispatchActivity
from perdure.core.functions import Functions
from perdure.engine.activities import ActivityExecutor
from perdure.engine.committer import Committer
from perdure.engine.ownership import Ownership
from perdure.engine.remote.remote import RemoteWork
from perdure.engine.shared_activities import SharedActivities
from perdure.store.contract import Fence, OfferedActivity


class Dispatching:
    """Chooses the place of each activity, and takes it back from there. What goes to other engines goes with a commit."""

    def __init__(
        self,
        functions: Functions,
        activities: ActivityExecutor,
        remote: RemoteWork | None,
        shared: SharedActivities | None,
        *,
        committer: Committer,
        ownership: Ownership,
        partition: Callable[[str], int],
    ) -> None:
        """``partition``: of an instance."""
        self._functions = functions
        self._activities = activities
        self._remote = remote
        self._shared = shared
        self._committer = committer
        self._ownership = ownership
        self._partition = partition

    def dispatch(self, work: DispatchActivity) -> None:
        """Has the activity run."""
        here = work.name.casefold() in self._functions.activities
        if self._remote is not None and not here:
            self._remote.dispatch(work)
        elif self._shared is None or self._shared.keeps(work):
            if here or not work.elsewhere:  # else it stays open until the hub has workers again
                self._activities.dispatch(work)
        else:
            self.offer([self._shared.offer(work)])
            self._committer.flush()

    def offer(self, activities: Iterable[OfferedActivity]) -> None:
        """Puts them on the shared queue with the next commit, those of partitions that this engine owns."""
        # With the lease of its partition, so that nothing is offered that the next owner has dispatched already.
        batch = self._committer.batch
        for activity in activities:
            if activity.partition in self._ownership.leases:
                batch.offered.append(activity)
                batch.partitions.add(activity.partition)

    def cancel(self, instance_id: str) -> None:
        """Nobody wants the outcomes of the instance's activities any more."""
        self._activities.cancel_instance(instance_id)
        if self._remote is not None:
            self._remote.cancel_activities(instance_id)
        if self._shared is not None:
            self._withdraw(instance_id)

    def _withdraw(self, instance_id: str) -> None:
        batch = self._committer.batch
        batch.offered = [activity for activity in batch.offered if activity.instance_id != instance_id]
        partition = self._partition(instance_id)
        if partition in self._ownership.leases:  # where it isn't, what is on offer is the next owner's
            batch.withdrawn.append(instance_id)
            batch.partitions.add(partition)

    def fence(self, work: DispatchActivity) -> Fence | None:
        """What proves that the activity is this engine's. Any thread."""
        claim = self._shared.claim_of(work) if self._shared is not None else None
        return claim or self._ownership.leases.get(self._partition(work.instance_id))

    def void(self) -> None:
        """A commit has failed: offers in it are gone, and transactions of activities that were dispatched here are undone."""
        shared = self._shared
        if shared is not None:
            shared.forget_unstored()
        self._activities.void(lambda work: shared is None or shared.claim_of(work) is None)
