"""One entity against a plain-Python model of its lock and its queues, in any order of messages."""

from collections import deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import perdure as df
from perdure.core.entity_lock import FATES, Asks, Fate, Holder
from perdure.core.events import (
    EntityLockGranted,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationSignaled,
    EntityUnlockSent,
    ParentLink,
)
from perdure.core.messages import Message
from tests.unit.entity_world import App, EntityWorld

ENTITY = "@log@a"
SENDERS = st.sampled_from(["s1", "s2", "s3"])


def log(context: df.DurableEntityContext) -> None:
    """The state is the list of what was applied. ``fail`` leaves a mark in it, which must not stay."""
    context.set_state([*context.get_state(list), context.get_input()])
    if context.operation_name == "fail":
        raise ValueError


@pytest.mark.parametrize("holder", Holder)
@pytest.mark.parametrize("asks", Asks)
def test_the_table_has_an_answer_for_everything(holder: Holder, asks: Asks) -> None:
    fate = FATES[holder, asks]
    if asks is Asks.OPERATION:
        assert fate is (Fate.WAITS if holder is Holder.OTHER else Fate.RUNS)
    elif asks is Asks.LOCK:
        assert fate is (Fate.LOCKS if holder is Holder.NOBODY else Fate.WAITS)
    else:
        assert fate is (Fate.UNLOCKS if holder is Holder.SENDER else Fate.WITHDRAWS)


class Model:
    """What an entity has to do, written down as simply as possible."""

    def __init__(self) -> None:
        self.applied: list[int] = []
        self.answered: list[int] = []
        self.granted: list[str] = []
        self.lock: tuple[str, str] | None = None
        """``(section, owner)``."""
        self.waiting: deque[tuple[str, str, Any]] = deque()
        """``(kind, sender, number or section)``."""
        self.later: list[tuple[int, int, str, int]] = []
        """``(due, arrival, sender, number)``."""

    def arrives(self, kind: str, sender: str, what: Any) -> None:
        if self.lock is not None and (kind == "lock" or self.lock[1] != sender):
            self.waiting.append((kind, sender, what))
        elif kind == "lock":
            self.lock = (what, sender)
            self.granted.append(what)
            waiting, self.waiting = self.waiting, deque()
            for item in waiting:
                self.arrives(*item)
        elif kind != "fail":
            self.applied.append(what)
            if kind == "call":
                self.answered.append(what)

    def released(self, section: str) -> None:
        if self.lock is not None and self.lock[0] == section:
            self.lock = None
            while self.waiting and self.lock is None:
                self.arrives(*self.waiting.popleft())
        else:
            self.waiting = deque(item for item in self.waiting if item[::2] != ("lock", section))

    def wakes(self, now: int) -> None:
        while self.later and min(self.later)[0] <= now:
            _, _, sender, number = due = min(self.later)
            self.later.remove(due)
            self.arrives("signal", sender, number)


class EntityMachine(RuleBasedStateMachine):
    """Everything that can arrive at an entity, several messages per turn, and its memory lost at any time."""

    @initialize(evict=st.booleans())
    def begin(self, evict: bool) -> None:
        app = App()
        app.entity(log)
        self.world = EntityWorld(app, evict=evict)
        self.model = Model()
        self.numbers = 0
        self.sections: list[str] = []
        self.batch: list[Message] = []
        self.answered: list[int] = []
        self.granted: list[str] = []
        self.asked: dict[int, int] = {}

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    @rule(sender=SENDERS, kind=st.sampled_from(["signal", "fail", "call"]))
    def operation(self, sender: str, kind: str) -> None:
        number = self.number()
        name = "fail" if kind == "fail" else "add"
        if kind == "call":
            event: Any = EntityOperationCalled(ENTITY, name, number, str(number), ParentLink(sender, "e", 0, number))
        else:
            event = EntityOperationSignaled(ENTITY, name, input=str(number), sender=sender)
        self.batch.append(Message(ENTITY, event))
        self.planned.append(lambda: self.model.arrives(kind, sender, number))

    @rule(sender=SENDERS, after=st.integers(1, 50))
    def signal_later(self, sender: str, after: int) -> None:
        number, due = self.number(), self.world.now_us + after
        event = EntityOperationSignaled(ENTITY, "add", input=str(number), scheduled_time=due, sender=sender)
        self.batch.append(Message(ENTITY, event))
        self.planned.append(lambda: self.model.later.append((due, number, sender, number)))

    @rule(sender=SENDERS)
    def lock(self, sender: str) -> None:
        number = self.number()
        section = f"section-{number}"
        self.sections.append(section)
        event = EntityLockRequested(number, section, (ENTITY,), 0, ParentLink(sender, "e", 0, number))
        self.batch.append(Message(ENTITY, event))
        self.planned.append(lambda: self.model.arrives("lock", sender, section))

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """Of a section that holds, waits, is over, or was never heard of."""
        section = data.draw(st.sampled_from([*self.sections, "unknown"]))
        self.batch.append(Message(ENTITY, EntityUnlockSent(ENTITY, section)))
        self.planned.append(lambda: self.model.released(section))

    @rule()
    def turn(self) -> None:
        self.flush()

    @rule(by=st.integers(1, 60))
    def time_passes(self, by: int) -> None:
        self.flush()
        self.world.now_us += by
        self.flush()

    def flush(self) -> None:
        self.model.wakes(self.world.now_us)
        batch, self.batch = self.batch, []
        planned, self._planned = self.planned, []
        for step in planned:
            step()
        turn = self.world.turn(ENTITY, *batch)
        for message in turn.messages:
            if isinstance(message.event, EntityOperationCompleted):
                self.answered.append(message.event.task_id)
            elif isinstance(message.event, EntityLockGranted):
                self.granted.append(message.event.critical_section_id)

    @property
    def planned(self) -> list[Any]:
        if not hasattr(self, "_planned"):
            self._planned: list[Any] = []
        return self._planned

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "model") or self.batch:
            return
        saved = self.world.saved(ENTITY)
        assert (self.world.state(ENTITY) or []) == self.model.applied
        assert self.answered == self.model.answered
        assert self.granted == self.model.granted
        assert (saved.lock and (saved.lock.critical_section_id, saved.lock.owner)) == self.model.lock
        assert len(saved.waiting) == len(self.model.waiting)
        assert [signal.scheduled_time for signal in saved.scheduled] == [due for due, *_ in sorted(self.model.later)]
        assert len(self.world.lost) + len(self.model.applied) <= self.numbers


TestEntityMachine = EntityMachine.TestCase
TestEntityMachine.settings = settings(max_examples=150, stateful_step_count=40)
