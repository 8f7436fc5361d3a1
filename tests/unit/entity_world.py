"""Entities and orchestrations by values alone: messages between two instances arrive in order, otherwise in any order.

Whoever drives the world chooses which channel delivers next. With ``evict`` every instance is rebuilt before each turn from
the bytes that its turns have stored, so that what isn't stored can't matter.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from perdure.core.converter import JsonConverter
from perdure.core.effects import CommitReceipt, Effect, EntityOperationLost
from perdure.core.entity import Entity
from perdure.core.entity_context import DurableEntityContext
from perdure.core.entity_id import is_entity
from perdure.core.entity_saved import fold_entity
from perdure.core.events import (
    EntityLockGranted,
    EntityOperationSignaled,
    EntityStateSaved,
    ExecutionStarted,
)
from perdure.core.functions import EntityFunction, OrchestratorFunction
from perdure.core.hydrated import Hydrated
from perdure.core.messages import Message, decode_message, encode_message
from perdure.core.orchestration import Orchestration
from perdure.core.outbound import releases
from perdure.core.turn import Disposition, Turn


@dataclass
class App:
    """The functions of a deployment."""

    orchestrators: dict[str, OrchestratorFunction] = field(default_factory=dict)
    activities: dict[str, Any] = field(default_factory=dict)
    entities: dict[str, EntityFunction] = field(default_factory=dict)

    def entity(self, call: Callable[[DurableEntityContext], Any], name: str | None = None, **options: Any) -> None:
        name = name or call.__name__
        self.entities[name.casefold()] = EntityFunction(name, call, **options)

    def orchestrator(self, call: Callable[[Any], Any], name: str | None = None) -> None:
        name = name or call.__name__
        self.orchestrators[name.casefold()] = OrchestratorFunction(name, call)


class EntityWorld:
    """Instances of both kinds, what is on its way between them, and what a store holds of them."""

    def __init__(self, app: App, *, evict: bool = False) -> None:
        self.app = app
        self.evict = evict
        self.now_us = 1_900_000_000_000_000
        self.converter = JsonConverter()
        self.channels: dict[tuple[str, str], deque[Message]] = {}
        self.stored: dict[str, list[tuple[int, bytes]]] = {}
        self.live: dict[str, Hydrated] = {}
        self.lost: list[EntityOperationLost] = []
        self.wakes: dict[str, int | None] = {}
        self._made = 0

    # --- what clients do --------------------------------------------------------------------------------------------

    def start(self, name: str, input_: Any = None, instance_id: str = "i") -> None:
        event = ExecutionStarted(name, f"execution-of-{instance_id}", input=self.converter.encode(input_, "", ""))
        self.turn(instance_id, Message(instance_id, event))

    def signal(self, entity: str, operation: str, input_: Any = None, at: int | None = None) -> Turn:
        text = self.converter.encode(input_, "", "")
        return self.turn(entity, Message(entity, EntityOperationSignaled(entity, operation, input=text, scheduled_time=at)))

    # --- deliveries -------------------------------------------------------------------------------------------------

    def deliver(self, channel: tuple[str, str]) -> None:
        """The oldest message of one sender to one recipient."""
        queue = self.channels[channel]
        message = queue.popleft()
        if not queue:
            del self.channels[channel]
        self.turn(message.instance_id, message)

    def settle(self, choose: Callable[[list[tuple[str, str]]], tuple[str, str]] = lambda open_: open_[0]) -> None:
        """Delivers until nothing is on its way and nothing is due."""
        for _ in range(100_000):
            if self.channels:
                self.deliver(choose(sorted(self.channels)))
                continue
            due = [name for name, at in self.wakes.items() if at is not None and at <= self.now_us]
            if not due:
                return
            self.turn(due[0])
        raise AssertionError("messages without end")

    def turn(self, instance_id: str, *messages: Message) -> Turn:
        """One turn of one instance, and what an engine and a store would do about it."""
        messages = tuple(decode_message(encode_message(message)) for message in messages)
        instance = self.hydrated(instance_id)
        turn = instance.turn(messages, self.now_us)
        assert len(turn.dispositions) == len(messages)
        self.store(instance_id, instance, turn)
        sent = list(turn.messages)
        for message, disposition in zip(messages, turn.dispositions, strict=True):
            if disposition is not Disposition.ACCEPTED and isinstance(message.event, EntityLockGranted):
                sent += releases(message.event)
        for message in sent:
            self.channels.setdefault((instance_id, message.instance_id), deque()).append(message)
        self.lost += [effect for effect in _opened(turn) if isinstance(effect, EntityOperationLost)]
        self.wakes[instance_id] = None if instance.ended else instance.wake_at
        return turn

    # --- what there is ----------------------------------------------------------------------------------------------

    def saved(self, entity: str) -> EntityStateSaved:
        """What the store has of an entity."""
        return fold_entity(entity, (data for _, data in self.stored.get(entity, [])))

    def state(self, entity: str) -> Any:
        """The state as a plain value."""
        return self.converter.decode(self.saved(entity).state, None, "", "")

    def status(self, instance_id: str = "i") -> str:
        return self.live[instance_id].status

    def output(self, instance_id: str = "i") -> Any:
        state = self.live[instance_id].durable
        assert not isinstance(state, EntityStateSaved)
        assert state.completed is not None, f"{instance_id} hasn't ended"
        assert state.completed.failure is None, state.completed.failure
        return self.converter.decode(state.completed.result, None, "", "")

    def hydrated(self, instance_id: str) -> Hydrated:
        instance = self.live.get(instance_id)
        if instance is not None and (not self.evict or instance.ended):
            return instance
        if instance is not None:
            instance.close()
        self._made += 1
        if is_entity(instance_id):
            made: Hydrated = Entity(instance_id, self.app, self.converter, self.now_us, f"{self._made:032}")
        else:
            made = Orchestration(instance_id, self.app, self.converter, self.now_us)
        if self.stored.get(instance_id):
            made.replay(self.stored[instance_id], None)
        self.live[instance_id] = made
        return made

    def store(self, instance_id: str, instance: Hydrated, turn: Turn) -> None:
        if turn.events is not None:
            stored = [] if turn.reset else self.stored.get(instance_id, [])
            assert not stored or stored[-1][0] < turn.seq
            self.stored[instance_id] = [*stored, (turn.seq, turn.events)]
        elif turn.vacated:
            del self.stored[instance_id]
        if isinstance(instance, Entity):
            assert instance.durable == self.saved(instance_id), "memory and store differ"
            assert bool(self.stored.get(instance_id)) is (instance.durable != EntityStateSaved()), "an empty entity left a row"


def _opened(turn: Turn) -> list[Effect]:
    commit = object()
    turn.effects.bind(commit)
    return list(turn.effects.open(CommitReceipt(commit)))
