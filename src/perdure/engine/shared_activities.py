"""Activities that engines hand to each other: what is too much for one is offered, and taken by those that have room."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from perdure.core.effects import DispatchActivity
from perdure.core.errors import EngineInvariantError
from perdure.core.ids import partition_of
from perdure.engine.activities import ActivityExecutor
from perdure.engine.recovery import ActivityKey, activity_id, activity_key
from perdure.store.contract import Beat, Claim, OfferedActivity, Sharing

_AT_ONCE = 200
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DispatchActivity).decode


class SharedActivities:
    """This engine's side of the shared queue."""

    def __init__(
        self,
        sharing: Sharing,
        executor: ActivityExecutor,
        *,
        owner: str,
        lease_us: int,
        partition_count: int,
        runs_activities: bool,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._sharing = sharing
        self._executor = executor
        self._owner = owner
        self._lease_us = lease_us
        self._partition_count = partition_count
        self._runs_activities = runs_activities
        self._failed = failed
        self._claims: dict[ActivityKey, Claim] = {}
        self._unstored: dict[str, ActivityKey] = {}
        """Those of them that come with an offer which isn't durable, by activity id: the store doesn't know them yet."""
        self._helpers = False
        self._empty: set[str] = set()
        """Pools, by their first activity's name, for which the last look has left nothing on offer."""
        self._more = False
        """Whether there are others: full ones, it may be, so that they have to be looked after when something has finished."""
        self._task: asyncio.Task[None] | None = None

    @property
    def claims(self) -> Sequence[Claim]:
        """What this engine has claimed, durably, and not finished."""
        return [claim for claim in self._claims.values() if claim.activity_id not in self._unstored]

    def keeps(self, work: DispatchActivity) -> bool:
        """Whether this engine runs the activity itself."""
        return self._runs_activities and not (self._helpers and self._executor.crowded(work.name))

    def offer(self, work: DispatchActivity, *, running: bool = False) -> OfferedActivity:
        """The activity for the shared queue; as claimed by this engine if it is ``running`` here."""
        key = activity_id(work)
        if running:
            self._claims[activity_key(work)] = Claim(key, 1)
            self._unstored[key] = activity_key(work)
        return OfferedActivity(
            activity_id=key,
            instance_id=work.instance_id,
            partition=partition_of(work.instance_id, self._partition_count),
            name=work.name.casefold(),
            body=_encode(work),
            claimed_for=self._lease_us if running else 0,
        )

    def stored(self, activities: Iterable[OfferedActivity]) -> None:
        """These offers are durable."""
        for activity in activities:
            self._unstored.pop(activity.activity_id, None)

    def forget_unstored(self) -> None:
        """The offers that aren't durable may never be: what runs is this engine's own again, or its partition's next owner's."""
        for key in self._unstored.values():
            self._claims.pop(key, None)
        self._unstored.clear()

    def claim_of(self, work: DispatchActivity) -> Claim | None:
        """The claim under which the activity runs here; ``None`` for one of this engine's own."""
        return self._claims.get(activity_key(work))

    def finished(self, work: DispatchActivity) -> Claim | None:
        """The claim of an activity that is done, to be settled. There is room for another one now."""
        if self._more:
            self._start()
        return self._claims.pop(activity_key(work), None)

    def beaten(self, beat: Beat) -> None:
        """Takes in what a beat has told."""
        self._helpers = any(member.runs_activities and member.owner != self._owner for member in beat.members)
        if beat.lost_claims:
            self._lose(beat.lost_claims)
        if beat.on_offer:
            self.want()

    def want(self) -> None:
        """There may be something on offer."""
        self._empty.clear()
        self._start()

    def _start(self) -> None:
        if self._task is None and self._runs_activities:
            self._task = asyncio.get_running_loop().create_task(self._fetch())

    def stop(self) -> None:
        """Claims no more."""
        self._runs_activities = False
        if self._task is not None:
            self._task.cancel()

    def _lose(self, ids: Collection[str]) -> None:
        """Others have taken these over, or nobody wants their outcome any more."""
        for key, claim in list(self._claims.items()):
            if claim.activity_id in ids:
                del self._claims[key]
                self._executor.cancel(key)

    async def _fetch(self) -> None:
        try:
            while rooms := self._promising():
                for names, free in rooms:
                    limit = min(free, _AT_ONCE)
                    self._empty.add(names[0])  # before the claim, so that what is heard of meanwhile makes it look again
                    claimed = await self._sharing.claim(self._owner, names, limit, self._lease_us)
                    if len(claimed) == limit:
                        self._empty.discard(names[0])
                    for claim, offered in claimed:
                        self._run(claim, offered)
        except Exception as error:  # noqa: BLE001 - the engine decides what a failed store means
            self._failed(error)
        finally:
            self._task = None

    def _promising(self) -> list[tuple[list[str], int]]:
        left = [(names, free) for names, free in self._executor.rooms() if names[0] not in self._empty]
        self._more = bool(left)
        return [(names, free) for names, free in left if free]

    def _run(self, claim: Claim, offered: OfferedActivity) -> None:
        try:
            work = _decode(offered.body)
        except msgspec.MsgspecError as error:
            raise EngineInvariantError(f"an offered activity can't be read ({error}): {offered.body[:120]!r}") from error
        self._claims[activity_key(work)] = claim
        self._executor.dispatch(work)
