"""Which partitions an engine should take and give, so that all engines of a hub come to equal shares without talking it over."""

from collections import Counter
from collections.abc import Sequence

import msgspec


class Move(msgspec.Struct, frozen=True):
    """What one engine has to change."""

    take: Sequence[int] = ()
    """Free partitions."""
    give: Sequence[int] = ()
    """Its own, beyond its share."""


def balance(me: str, members: Sequence[str], owners: Sequence[str]) -> Move:
    """The move of engine ``me``, given those that own partitions (``me`` among them) and each partition's owner ("" for none).

    All engines that see the same come to the same shares. Those that have the most may keep the odd ones, so that as few
    partitions as possible change hands.
    """
    held = Counter(owner for owner in owners if owner)
    share, odd = divmod(len(owners), len(members))
    ranked = sorted(members, key=lambda member: (-held[member], member))
    fair = share + (ranked.index(me) < odd)
    mine = [partition for partition, owner in enumerate(owners) if owner == me]
    if len(mine) > fair:
        return Move(give=mine[fair:])
    free = [partition for partition, owner in enumerate(owners) if not owner]
    # Each begins elsewhere, so that engines that look at the same moment don't all reach for the same ones.
    start = sorted(members).index(me) * len(free) // len(members)
    return Move(take=(free[start:] + free[:start])[: fair - len(mine)])
