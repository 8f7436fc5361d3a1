"""What goes between the engines of a hub besides stored messages: hints, answers, and news of instances that have ended."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable

from perdure.engine.nudges import (
    ActivitiesOffered,
    Answered,
    EndAwaited,
    Hint,
    InstanceEnded,
    LeasesChanged,
    MessagesStored,
    Nudger,
    decode_nudge,
)
from perdure.engine.requests import Requests
from perdure.engine.waiters import Waiters
from perdure.store.contract import Queries, Sharing
from perdure.store.errors import StoreUnavailableError

_REMEMBERED = 10_000
"""Instances whose end other engines wait for, and instances that ended lately, that are remembered."""
_BEATS_BETWEEN_LOOKS = 6
"""News can get lost, so callers who wait for the end of another engine's instance look at the store after so many beats."""


class Exchange:
    """This engine's side of it."""

    def __init__(
        self,
        sharing: Sharing,
        queries: Queries,
        waiters: Waiters,
        *,
        owner: str,
        patience: float,
        owns: Callable[[str], bool],
        messages: Callable[[Iterable[int]], None],
        activities: Callable[[], None],
        leases: Callable[[], None],
        missed: Callable[[], None],
    ) -> None:
        """``messages``, ``activities``, ``leases``: what to do on such a hint; ``missed``: some hints may have got lost."""
        self._waiters = waiters
        self._owns = owns
        self._messages = messages
        self._activities = activities
        self._leases = leases
        self._missed = missed
        self._awaited: OrderedDict[str, None] = OrderedDict()
        """Instances whose end other engines want to hear of."""
        self._ended: OrderedDict[str, None] = OrderedDict()
        """Those that ended lately, for whoever asks a moment too late."""
        self._owners: tuple[str, ...] = ()
        self._beats = 0
        self._looking: asyncio.Task[None] | None = None
        self.nudger = Nudger(sharing, missed)
        self.requests = Requests(owner, sharing, queries, patience)
        sharing.listen(self._heard)

    def tell(self, hint: Hint) -> None:
        """Sends a hint soon."""
        self.nudger.add(hint)

    def stored(self, partitions: Iterable[int]) -> None:
        """Messages for other engines' partitions are durable."""
        for partition in partitions:
            self.nudger.add(MessagesStored(partition))

    def ended(self, instance_id: str) -> None:
        """One of this engine's instances has ended, durably."""
        _remember(self._ended, instance_id)
        if instance_id in self._awaited:
            del self._awaited[instance_id]
            self.nudger.add(InstanceEnded(instance_id))

    def await_end(self, instance_id: str) -> None:
        """A caller waits for the end of an instance, which may be another engine's."""
        if not self._owns(instance_id):
            self.nudger.add(EndAwaited(instance_id))

    def beaten(self, owners: Iterable[str]) -> None:
        """Another beat: time to look after what may have got lost."""
        self._beats += 1
        owners = tuple(owners)
        if owners != self._owners or self._beats % _BEATS_BETWEEN_LOOKS == 0:
            self._look_abroad()
        self._owners = owners
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())

    def stop(self) -> None:
        """Looks after nothing more."""
        if self._looking is not None:
            self._looking.cancel()

    def _look_abroad(self) -> None:
        self._waiters.look_again([instance_id for instance_id in self._waiters.instance_ids if not self._owns(instance_id)])

    async def _look(self) -> None:
        try:
            await self.requests.look()
        except StoreUnavailableError:
            pass  # the next beat looks again
        finally:
            self._looking = None

    def _heard(self, text: str | None) -> None:
        if text is None:
            self._missed()
            self._look_abroad()
            return
        for hint in decode_nudge(text):
            match hint:
                case MessagesStored():
                    self._messages((hint.partition,))
                case ActivitiesOffered():
                    self._activities()
                case LeasesChanged():
                    self._leases()
                case Answered():
                    self.requests.answered(hint)
                case EndAwaited():
                    self._await(hint.instance_id)
                case InstanceEnded():
                    self._waiters.look_again((hint.instance_id,))

    def _await(self, instance_id: str) -> None:
        if instance_id in self._ended:
            # Once: all hear it who asked before, and an instance that has been started again would be asked for without end.
            del self._ended[instance_id]
            self.nudger.add(InstanceEnded(instance_id))
        elif self._owns(instance_id):
            _remember(self._awaited, instance_id)


def _remember(among: OrderedDict[str, None], instance_id: str) -> None:
    among[instance_id] = None
    among.move_to_end(instance_id)
    if len(among) > _REMEMBERED:
        among.popitem(last=False)
