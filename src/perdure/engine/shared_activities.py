"""Activities that engines hand to each other: what is too much for one is offered, and taken by those that have room."""

import asyncio
from collections.abc import Callable, Collection, Sequence

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
        self._helpers = False
        self._more = False
        """Whether the last look has left something on offer."""
        self._task: asyncio.Task[None] | None = None

    @property
    def claims(self) -> Sequence[Claim]:
        """What this engine has claimed and not finished."""
        return list(self._claims.values())

    def keeps(self, work: DispatchActivity) -> bool:
        """Whether this engine runs the activity itself."""
        return self._runs_activities and not (self._helpers and self._executor.crowded(work.name))

    def offer(self, work: DispatchActivity, *, running: bool = False) -> OfferedActivity:
        """The activity for the shared queue; as claimed by this engine if it is ``running`` here."""
        key = activity_id(work)
        if running:
            self._claims[activity_key(work)] = Claim(key, 1)
        return OfferedActivity(
            activity_id=key,
            instance_id=work.instance_id,
            partition=partition_of(work.instance_id, self._partition_count),
            name=work.name.casefold(),
            body=_encode(work),
            claimed_for=self._lease_us if running else 0,
        )

    def claim_of(self, work: DispatchActivity) -> Claim | None:
        """The claim under which the activity runs here; ``None`` for one of this engine's own."""
        return self._claims.get(activity_key(work))

    def finished(self, work: DispatchActivity) -> Claim | None:
        """The claim of an activity that is done, to be settled. There is room for another one now."""
        if self._more:
            self.want()
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
        self._more = True
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
            while self._more and (rooms := self._executor.rooms()):
                self._more = False
                for names, free in rooms:
                    limit = min(free, _AT_ONCE)
                    claimed = await self._sharing.claim(self._owner, names, limit, self._lease_us)
                    for claim, offered in claimed:
                        self._run(claim, offered)
                    self._more = self._more or len(claimed) == limit
        except Exception as error:  # noqa: BLE001 - the engine decides what a failed store means
            self._failed(error)
        finally:
            self._task = None

    def _run(self, claim: Claim, offered: OfferedActivity) -> None:
        try:
            work = _decode(offered.body)
        except msgspec.MsgspecError as error:
            raise EngineInvariantError(f"an offered activity can't be read ({error}): {offered.body[:120]!r}") from error
        self._claims[activity_key(work)] = claim
        self._executor.dispatch(work)
