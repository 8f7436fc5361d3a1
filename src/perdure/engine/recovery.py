"""After a start or a failed commit: what the store says is open gets going again. History decides, memory is not asked."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from perdure.core.effects import DispatchActivity
from perdure.core.entity_id import is_entity
from perdure.core.events import TaskCompleted, TaskFailed
from perdure.core.messages import Message
from perdure.core.outbound import open_activities
from perdure.core.state import fold_segments
from perdure.engine.envelopes import Envelope
from perdure.store.contract import Store

_PAGE = 200

ActivityKey = tuple[str, str, int, int]
"""``(instance_id, execution_id, generation, task_id)``."""


def activity_key(work: DispatchActivity) -> ActivityKey:
    """What identifies one call of an activity."""
    return work.instance_id, work.execution_id, work.generation, work.task_id


def activity_id(work: DispatchActivity) -> str:
    """The same as one text, unique in the hub."""
    return f"{work.execution_id}/{work.generation}/{work.task_id}"


def outcome_id(message: Message) -> str:
    """The id of the stored message with an activity's outcome: two outcomes of one call are not stored beside each other."""
    event = message.event
    assert isinstance(event, TaskCompleted | TaskFailed)
    return f"{message.execution_id}/{message.generation}/{event.task_id}/outcome"


def outcome_keys(envelopes: Iterable[Envelope]) -> Iterator[ActivityKey]:
    """The activities whose outcomes are among the envelopes."""
    for envelope in envelopes:
        message = envelope.message
        if message is not None and isinstance(message.event, TaskCompleted | TaskFailed):
            yield message.instance_id, message.execution_id or "", message.generation, message.event.task_id


class Recovery:
    """Dispatches every open activity once: those of instances that a message hydrates meanwhile, and page by page the others.

    ``held`` are activities whose outcomes are in memory already, from before a failed commit or from the inbox. ``elsewhere`` are
    the ids of those on the shared queue.
    """

    def __init__(
        self,
        store: Store,
        partitions: Sequence[int],
        dispatch: Callable[[DispatchActivity], None],
        held: set[ActivityKey],
        elsewhere: Collection[str],
        undecided: Callable[[Iterable[str]], None],
    ) -> None:
        """``undecided`` is told the instances that wait for a decision: of a worker, or of code that is here by now."""
        self._undecided = undecided
        self._store = store
        self.partitions = partitions
        """Those whose instances it is for."""
        self._dispatch = dispatch
        self.held = held
        self._elsewhere = elsewhere
        self._seen: set[str] = set()

    def hydrated(self, instance_id: str, works: Sequence[DispatchActivity]) -> None:
        """An instance was loaded before its page came up."""
        if instance_id not in self._seen:
            self._seen.add(instance_id)
            for work in works:
                if activity_key(work) not in self.held and activity_id(work) not in self._elsewhere:
                    self._dispatch(work)

    async def activities(self) -> None:
        """Goes through all instances with open activities."""
        after = ""
        while page := await self._store.with_pending(self.partitions, after, _PAGE):
            after = page[-1]
            # What hydrated them may have been refused, without a turn that asks for a decision.
            undecided = [instance_id for instance_id in page if instance_id in self._seen]
            stored = await self._store.load([instance_id for instance_id in page if instance_id not in self._seen])
            for instance_id, instance in stored.items():
                if is_entity(instance_id):
                    undecided.append(instance_id)
                    continue
                state = fold_segments(segment.events for segment in instance.segments)
                self.hydrated(instance_id, open_activities(instance_id, state))
                if state.undecided or state.idle:
                    undecided.append(instance_id)
            self._undecided(undecided)
