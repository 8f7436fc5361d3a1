"""What a store tells about its hub: through the contract alone, so that every kind of store tells the same."""

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from perdure.cli.store_urls import kind_of, without_password
from perdure.core.times import from_us
from perdure.store.contract import HubInfo, HubStore, Member, Sharing, StoredMessage
from perdure.store.opening import open_store

_PAGE = 1000
_SECOND_US = 1_000_000


@dataclass(frozen=True, kw_only=True)
class StoreStatus:
    """One look at a hub."""

    url: str
    kind: str
    info: HubInfo
    instances: Mapping[str, int]
    """Orchestrations by status."""
    with_open_activities: int
    next_wake_up: datetime | None
    messages: int
    oldest_message_age: float | None
    """Seconds; ``None`` where none waits, or where the store doesn't know."""
    activities: int
    oldest_activity_age: float | None
    shared: bool
    owners: Sequence[str]
    """By partition; empty for a hub that isn't shared, since nobody else can have it now."""
    members: Sequence[Member]

    def json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "store": self.url,
            "kind": self.kind,
            "shared": self.shared,
            "schemaVersion": self.info.schema_version,
            "partitionCount": self.info.partition_count,
            "instances": dict(sorted(self.instances.items())),
            "instancesWithOpenActivities": self.with_open_activities,
            "nextWakeUp": self.next_wake_up,
            "backlogMessages": self.messages,
            "oldestMessageSeconds": self.oldest_message_age,
            "backlogActivities": self.activities,
            "oldestActivitySeconds": self.oldest_activity_age,
            "partitions": [{"partition": number, "owner": owner or None} for number, owner in enumerate(self.owners)],
            "members": [
                {
                    "owner": member.owner,
                    "ownsPartitions": member.owns_partitions,
                    "runsActivities": member.runs_activities,
                    "running": member.running,
                    "capacity": member.capacity,
                }
                for member in self.members
            ],
        }

    def fields(self) -> dict[str, Any]:
        """For people."""
        return {
            "store": self.url,
            "kind": self.kind,
            "schema version": self.info.schema_version,
            "partitions": self.info.partition_count,
            "instances": ", ".join(f"{number} {status}" for status, number in sorted(self.instances.items())) or "none",
            "with open activities": self.with_open_activities,
            "next wake-up": self.next_wake_up,
            "messages that wait": _waiting(self.messages, self.oldest_message_age),
            "activities on offer": _waiting(self.activities, self.oldest_activity_age),
        }

    def tables(self) -> Iterator[tuple[Sequence[str], Sequence[Sequence[Any]]]]:
        """Who is there and who has what, for people."""
        if not self.shared:
            return
        ranges = {
            owner: _ranges([number for number, each in enumerate(self.owners) if each == owner]) for owner in set(self.owners)
        }
        rows = [
            (
                member.owner,
                "yes" if member.runs_activities else "no",
                f"{member.running} of {member.capacity}",
                ranges.pop(member.owner, ""),
            )
            for member in self.members
        ]
        rows += [(owner or "(nobody)", "", "", partitions) for owner, partitions in sorted(ranges.items())]
        yield ("PROCESS", "RUNS ACTIVITIES", "RUNNING", "PARTITIONS"), rows


async def store_status(url: str) -> StoreStatus:
    """Looks at the hub at ``url``. Of one that isn't shared, that takes nobody else to have it open.

    Raises:
        HubMissingError: there is none.
        StoreError: see ``Store.open``.
    """
    store = open_store(url, make=False)
    info = await store.open()
    try:
        partitions = range(info.partition_count)
        due = await store.due(partitions, (0, ""), 1)
        now = await store.now()
        sharing = store.sharing
        if sharing is None:
            messages, activities, message_age, activity_age = await _count_messages(store, partitions), 0, None, None
            owners, members = (), ()
        else:
            backlog = await sharing.backlog()
            messages, activities = backlog.messages, backlog.activities
            message_age, activity_age = (_age(moment, now) for moment in (backlog.oldest_message, backlog.oldest_activity))
            owners, members = await _owners(sharing), backlog.members
        return StoreStatus(
            url=without_password(url),
            kind=kind_of(url),
            info=info,
            instances=await store.count(),
            with_open_activities=await _count_pending(store, partitions),
            next_wake_up=from_us(due[0][0]) if due else None,
            messages=messages,
            oldest_message_age=message_age,
            activities=activities,
            oldest_activity_age=activity_age,
            shared=sharing is not None,
            owners=owners,
            members=members,
        )
    finally:
        await store.close()


async def _owners(sharing: Sharing) -> Sequence[str]:
    # The contract shows the owners to members only, so this is one for a moment, of the kind that gets nothing to do.
    me = Member(owner=f"{socket.gethostname()}:{os.getpid()}:status", owns_partitions=False, runs_activities=False)
    try:
        return (await sharing.beat(me, (), (), _SECOND_US)).owners
    finally:
        await sharing.leave(me.owner)


async def _count_messages(store: HubStore, partitions: Sequence[int]) -> int:
    known: set[str] = set()
    page: Sequence[StoredMessage]
    while page := await store.inbox(partitions, known, _PAGE):
        known.update(message.message_id for message in page)
    return len(known)


async def _count_pending(store: HubStore, partitions: Sequence[int]) -> int:
    count, after = 0, ""
    while page := await store.with_pending(partitions, after, _PAGE):
        count, after = count + len(page), page[-1]
    return count


def _age(moment: int | None, now: int) -> float | None:
    return None if moment is None else max(now - moment, 0) / _SECOND_US


def _waiting(number: int, age: float | None) -> str:
    return f"{number}, the oldest for {age:.1f} s" if age is not None else str(number)


def _ranges(numbers: Sequence[int]) -> str:
    """Such as ``0-3, 7``."""
    runs = [[number for _, number in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
