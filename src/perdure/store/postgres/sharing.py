"""What several engines need to share the hub."""

from collections.abc import Callable, Collection, Sequence
from functools import partial

import msgspec

from perdure.store.contract import Backlog, Beat, Claim, Lease, Member, OfferedActivity
from perdure.store.postgres import queries, reads
from perdure.store.postgres.lanes import Lanes
from perdure.store.postgres.session import Session
from perdure.store.postgres.signals import Signals
from perdure.store.refusals import lease_lost

_BEAT = "SELECT * FROM hub.beat_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
_CLAIM = "SELECT * FROM hub.claim_1($1, $2, $3, $4)"
_LEAVE = """
    WITH gone AS (DELETE FROM hub.members WHERE owner = $1),
    held AS (SELECT activity_id FROM hub.activities WHERE claimed_by = $1 ORDER BY activity_id FOR UPDATE)
    UPDATE hub.activities AS a SET claimed_by = '', claimed_until = 0 FROM held WHERE a.activity_id = held.activity_id
"""
_members = msgspec.json.Decoder(list[Member])


class PostgresSharing:
    """See ``Sharing``. ``lanes`` gives the connections, or raises where the store isn't open."""

    def __init__(self, lanes: Callable[[], Lanes], signals: Signals) -> None:
        self._lanes = lanes
        self._signals = signals

    async def beat(self, member: Member, leases: Sequence[Lease], claims: Sequence[Claim], duration: int) -> Beat:
        """See ``Sharing.beat``."""
        return await self._lanes().control.run(partial(_beat, member=member, leases=leases, claims=claims, duration=duration))

    async def leave(self, owner: str) -> None:
        """See ``Sharing.leave``."""
        await self._lanes().control.run(lambda session: session.fetch(_LEAVE, owner))

    async def claim(self, owner: str, names: Sequence[str], limit: int, duration: int) -> Sequence[tuple[Claim, OfferedActivity]]:
        """See ``Sharing.claim``."""
        return await self._lanes().control.run(partial(_claim, owner=owner, names=names, limit=limit, duration=duration))

    async def offered(self, partitions: Sequence[int]) -> Collection[str]:
        """See ``Sharing.offered``."""
        return await self._lanes().reader.run(partial(reads.offered, partitions=partitions))

    async def still_stored(self, message_ids: Sequence[str]) -> Collection[str]:
        """See ``Sharing.still_stored``."""
        return await self._lanes().reader.run(partial(reads.still_stored, message_ids=message_ids))

    async def backlog(self) -> Backlog:
        """See ``Sharing.backlog``."""
        return await self._lanes().queries.run(queries.backlog)

    def listen(self, heard: Callable[[str | None], None]) -> None:
        """See ``Sharing.listen``."""
        self._signals.add(heard)

    async def nudge(self, text: str) -> None:
        """See ``Sharing.nudge``."""
        await self._signals.send(text)


async def _beat(session: Session, member: Member, leases: Sequence[Lease], claims: Sequence[Claim], duration: int) -> Beat:
    row = await session.fetchrow(
        _BEAT,
        member.owner,
        member.owns_partitions,
        member.runs_activities,
        member.running,
        member.capacity,
        [lease.partition for lease in leases],
        [lease.epoch for lease in leases],
        [claim.activity_id for claim in claims],
        [claim.token for claim in claims],
        duration,
    )
    lost: list[int] = row["lost_leases"]
    if lost:
        raise lease_lost([leases[place - 1] for place in lost])
    expires_at = row["now"] + duration
    return Beat(
        now=row["now"],
        leases=[Lease(lease.partition, lease.epoch, lease.owner, expires_at) for lease in leases],
        lost_claims=frozenset(row["lost_claims"]),
        members=_members.decode(row["members"]),
        owners=row["owners"],
        waiting=row["waiting"],
        on_offer=row["on_offer"],
    )


async def _claim(
    session: Session, owner: str, names: Sequence[str], limit: int, duration: int
) -> list[tuple[Claim, OfferedActivity]]:
    return [
        (
            Claim(row["activity_id"], row["token"]),
            OfferedActivity(
                activity_id=row["activity_id"],
                instance_id=row["instance_id"],
                partition=row["partition"],
                name=row["name"],
                body=row["body"],
            ),
        )
        for row in await session.fetch(_CLAIM, owner, list(names), limit, duration)
    ]
