"""What several engines need that share the data of memory stores: members, claims, the shared activity queue, nudges."""

from collections.abc import Callable, Collection, Sequence

from msgspec.structs import replace

from perdure.store.clock import Clock
from perdure.store.contract import (
    MAX_NUDGE_BYTES,
    Backlog,
    Beat,
    Claim,
    Commit,
    Lease,
    Member,
    OfferedActivity,
)
from perdure.store.memory_data import MemoryActivity, MemoryData
from perdure.store.refusals import lease_lost, nudge_too_long


class MemorySharing:
    """See ``Sharing``. ``opened`` gives the data, or raises where the store isn't open."""

    def __init__(self, opened: Callable[[], MemoryData], clock: Clock) -> None:
        self._opened = opened
        self._clock = clock
        self._listening: list[Callable[[str | None], None]] = []

    async def beat(self, member: Member, leases: Sequence[Lease], claims: Sequence[Claim], duration: int) -> Beat:
        """See ``Sharing.beat``."""
        data, now = self._opened(), self._clock()
        # Those long dead go too: nobody else takes them off the list.
        data.members = {owner: known for owner, known in data.members.items() if known[1] > now}
        data.members[member.owner] = (member, now + duration)
        lost = [lease for lease in leases if not data.current(lease) or data.leases[lease.partition].expires_at <= now]
        if lost:
            raise lease_lost(lost)
        extended = [replace(lease, expires_at=now + duration) for lease in leases]
        data.leases.update({lease.partition: lease for lease in extended})
        held = [
            claim for claim in claims if _current(data, claim) and data.activities[claim.activity_id].claimed_by == member.owner
        ]
        for claim in held:
            data.activities[claim.activity_id].claimed_until = now + duration
        with_messages = {message.partition for message in data.messages.values()}
        return Beat(
            now=now,
            leases=extended,
            lost_claims={claim.activity_id for claim in claims} - {claim.activity_id for claim in held},
            members=_living(data, now),
            owners=[lease.owner if lease.expires_at > now else "" for _, lease in sorted(data.leases.items())],
            waiting=sorted(with_messages.intersection(lease.partition for lease in leases)),
            on_offer=len(_free(data, now)),
        )

    async def leave(self, owner: str) -> None:
        """See ``Sharing.leave``."""
        data = self._opened()
        data.members.pop(owner, None)
        for activity in data.activities.values():
            if activity.claimed_by == owner:
                activity.claimed_by, activity.claimed_until = "", 0

    async def claim(self, owner: str, names: Sequence[str], limit: int, duration: int) -> Sequence[tuple[Claim, OfferedActivity]]:
        """See ``Sharing.claim``."""
        data, now = self._opened(), self._clock()
        wanted = [activity for activity in _free(data, now) if activity.offer.name in names]
        return [(activity.claim(owner, now + duration), activity.offer) for activity in wanted[:limit]]

    async def offered(self, partitions: Sequence[int]) -> Collection[str]:
        """See ``Sharing.offered``."""
        return {key for key, activity in self._opened().activities.items() if activity.offer.partition in partitions}

    async def still_stored(self, message_ids: Sequence[str]) -> Collection[str]:
        """See ``Sharing.still_stored``."""
        return self._opened().messages.keys() & set(message_ids)

    async def backlog(self) -> Backlog:
        """See ``Sharing.backlog``."""
        data, now = self._opened(), self._clock()
        free = _free(data, now)
        return Backlog(
            messages=len(data.messages),
            oldest_message=min(data.stored_at.values(), default=None),
            activities=len(free),
            oldest_activity=min((activity.offered_at for activity in free), default=None),
            members=_living(data, now),
        )

    def listen(self, heard: Callable[[str | None], None]) -> None:
        """See ``Sharing.listen``. Nothing is ever missed here, so ``heard`` never gets ``None``."""
        self._listening.append(heard)

    async def nudge(self, text: str) -> None:
        """See ``Sharing.nudge``."""
        listeners = self._opened().listeners
        size = len(text.encode())
        if size > MAX_NUDGE_BYTES:
            raise nudge_too_long(size)
        listeners.tell(text)

    def hear(self, text: str) -> None:
        """Passes a nudge on to those who listen to this store."""
        for heard in self._listening:
            heard(text)


def apply_activities(data: MemoryData, commit: Commit, now: int) -> None:
    """Brings the shared activity queue up to date with a commit that nothing can refuse any more."""
    if commit.withdrawn:
        gone = frozenset(commit.withdrawn)
        data.activities = {key: activity for key, activity in data.activities.items() if activity.offer.instance_id not in gone}
    for claim in commit.settled:
        if _current(data, claim):
            del data.activities[claim.activity_id]
    for offer in commit.offered:
        if offer.activity_id in data.activities:
            continue
        # Running already or not concerns the first claim only; whoever takes it over gets it like any other.
        activity = data.activities[offer.activity_id] = MemoryActivity(replace(offer, claimed_for=0), now)
        if offer.claimed_for > 0:
            activity.claim(commit.owner, now + offer.claimed_for)


def _current(data: MemoryData, claim: Claim) -> bool:
    activity = data.activities.get(claim.activity_id)
    return activity is not None and activity.token == claim.token


def _free(data: MemoryData, now: int) -> list[MemoryActivity]:
    return [activity for activity in data.activities.values() if activity.claimed_until <= now]


def _living(data: MemoryData, now: int) -> list[Member]:
    return [member for _, (member, until) in sorted(data.members.items()) if until > now]
