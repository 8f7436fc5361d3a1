"""The other engines of a shared hub, as one engine sees them: who they are, what they ask, what they do for each other."""

from collections.abc import Callable, Collection, Iterable, Sequence

from perdure.core.effects import DispatchActivity
from perdure.core.times import duration_us
from perdure.engine.activities import ActivityExecutor
from perdure.engine.clock import HubClock
from perdure.engine.committer import Batch
from perdure.engine.envelopes import Envelope, Reply
from perdure.engine.exchange import Exchange
from perdure.engine.nudges import ActivitiesOffered, LeasesChanged
from perdure.engine.requests import AnswerByNudge
from perdure.engine.settings import EngineSettings
from perdure.engine.shared_activities import SharedActivities
from perdure.engine.waiters import Waiters
from perdure.store.contract import Beat, Claim, HubStore, Member, OfferedActivity, Sharing, StoredMessage

_PATIENCE = 30.0
"""Seconds that a request for another engine's instance may lie in its inbox before the caller is told."""


class Neighbours:
    """Made for engines whose store can be shared; the others have none."""

    def __init__(
        self,
        store: HubStore,
        sharing: Sharing,
        *,
        owner: str,
        settings: EngineSettings,
        clock: HubClock,
        waiters: Waiters,
        activities: ActivityExecutor,
        owns: Callable[[str], bool],
        closing: Callable[[], bool],
        idle_hands: Callable[[], bool],
        messages: Callable[[Iterable[int]], None],
        leases: Callable[[], None],
        missed: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """``messages`` and ``leases``: another engine says that there is something new; ``missed``: some news got lost.

        ``idle_hands``: whether all code is in workers, and none is connected to this engine.
        """
        self._sharing = sharing
        self._owner = owner
        self._settings = settings
        self._clock = clock
        self._activities = activities
        self._owns = owns
        self._closing = closing
        self._idle_hands = idle_hands
        self._others_own = False
        self._messages = messages
        self._missed = missed
        self._failed = failed
        self.shared: SharedActivities | None = None
        """The shared queue, once the hub is open."""
        self.exchange = Exchange(
            sharing,
            store,
            waiters,
            owner=owner,
            patience=_PATIENCE,
            owns=owns,
            messages=messages,
            activities=self._on_offers,
            leases=leases,
            missed=self._on_missed,
        )

    def opened(self, partition_count: int) -> None:
        """The hub is open."""
        self.shared = SharedActivities(
            self._sharing,
            self._activities,
            owner=self._owner,
            lease_us=duration_us(self._settings.lease_duration),
            partition_count=partition_count,
            runs_activities=self._settings.runs_activities,
            failed=self._failed,
        )

    @property
    def claims(self) -> Sequence[Claim]:
        """The activities of others that run here."""
        return self.shared.claims if self.shared is not None else ()

    def member(self) -> Member:
        """This engine, as the others shall see it."""
        open_for_more = not self._closing()
        # Its instances would wait for workers that are connected elsewhere.
        steps_back = self._others_own and self._idle_hands()
        return Member(
            owner=self._owner,
            owns_partitions=self._settings.seeks_partitions and open_for_more and not steps_back,
            runs_activities=self._settings.runs_activities and open_for_more,
            running=self._activities.running + self._activities.backlog,
            capacity=self._activities.capacity if self._settings.runs_activities else 0,
        )

    def beaten(self, beat: Beat, *, started: bool) -> None:
        """Takes in what a beat has told."""
        self._clock.adjust(beat.now)
        self._others_own = any(member.owns_partitions for member in beat.members if member.owner != self._owner)
        if self.shared is not None:
            self.shared.beaten(beat)
        if started:
            self._messages(beat.waiting)
            self.exchange.beaten(beat.owners)

    def released(self, batch: Batch) -> None:
        """The batch is durable: others may have to look at what it has for them."""
        self.exchange.requests.stored(message.message_id for message in batch.requests)
        self.exchange.stored(batch.foreign)
        if batch.offered and self.shared is not None:
            self.shared.stored(batch.offered)
            self.exchange.tell(ActivitiesOffered())

    def leases_changed(self) -> None:
        """Others may want to take partitions, or to give some."""
        self.exchange.tell(LeasesChanged())

    def reply(self, message_id: str) -> Reply:
        """Answers the engine that has stored the request."""
        return AnswerByNudge(message_id, self.exchange.tell)

    def request(self, envelope: Envelope, partition: int) -> StoredMessage:
        """A caller's request for an instance of another engine."""
        return self.exchange.requests.store(envelope, partition)

    def hand_over(self) -> list[OfferedActivity]:
        """The activities of instances that this engine doesn't own any more: those that run go on here, the others anywhere."""
        shared = self.shared
        if shared is None:
            return []

        def chosen(work: DispatchActivity) -> bool:
            return not self._owns(work.instance_id) and shared.claim_of(work) is None

        waiting, running = self._activities.hand_over(chosen)
        return [*(shared.offer(work) for work in waiting), *(shared.offer(work, running=True) for work in running)]

    async def offered(self, partitions: Collection[int]) -> Collection[str]:
        """Ids of the activities of these partitions that are on offer, so that nobody needs to dispatch them."""
        return await self._sharing.offered(list(partitions))

    async def part(self) -> None:
        """The last word of an engine that has released everything."""
        self.exchange.stop()
        self.leases_changed()
        await self.exchange.nudger.sent()

    def _on_offers(self) -> None:
        if self.shared is not None:
            self.shared.want()

    def _on_missed(self) -> None:
        self._on_offers()
        self._missed()
