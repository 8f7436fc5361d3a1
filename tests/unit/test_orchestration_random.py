"""Random programs under random schedules: live and replayed agree at every cut, however turns are cut."""

from collections import Counter
from random import Random
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from perdure.core.effects import DispatchActivity
from perdure.core.events import EventRaised, ExecutionResumed, ExecutionStarted, ExecutionSuspended, ExecutionTerminated
from perdure.core.messages import Message
from perdure.core.turn import Disposition
from tests.unit.driver import Style, World, view, without_tracebacks
from tests.unit.programs import NAMES, Program, programs, registered

Move = tuple[str, Message | DispatchActivity | None, int]
"""Who has a turn, what for (nothing: to be woken), and when."""

seeds = st.integers(0, 2**32 - 1)
CONTROLS = [ExecutionSuspended(), ExecutionResumed(), ExecutionResumed()]
TERMINATE = ExecutionTerminated("enough", recursive=True)


def client_message(random: Random, instance_id: str, *, terminations: bool) -> Message:
    """What somebody outside may send at any time."""
    if random.random() < 0.2:
        return Message(instance_id, random.choice([*CONTROLS, TERMINATE] if terminations else CONTROLS))
    return Message(instance_id, EventRaised(random.choice(NAMES), str(random.randrange(10))))


class Run:
    """A world in which random things happen, and what happened."""

    def __init__(self, made: list[Program], style: Style) -> None:
        self.world = World(style)
        registered(self.world.app, made)
        self.moves: list[Move] = []
        self.dropped: list[Message] = []

    def turn(self, instance_id: str, items: list[Message | DispatchActivity]) -> None:
        world = self.world
        for item in items:
            if item in world.pending:
                world.pending.remove(item)
        messages = [world.answer(item) if isinstance(item, DispatchActivity) else item for item in items]
        turn = world.turn(instance_id, *messages)
        told = zip(messages, turn.dispositions, strict=False)
        self.dropped += [message for message, disposition in told if disposition is Disposition.DROPPED]

    def at_random(self, random: Random, *, batches: bool, evictions: bool, terminations: bool = True) -> None:
        """Lets things happen until nothing can any more."""
        world = self.world
        world.pending.append(Message("i", ExecutionStarted("program0", "e", input="0")))
        budget = random.randrange(12)
        for _ in range(300):
            wake = world.next_wake()
            choices = (
                ["deliver"] * (3 * bool(world.pending)) + ["wake"] * (wake is not None) + ["client"] * bool(budget and self.moves)
            )
            if not choices:
                return
            items: list[Message | DispatchActivity] = []
            choice = random.choice(choices)
            if choice == "deliver":
                starting = {item.instance_id: item for item in reversed(world.pending) if is_start(item)}
                # What an instance sends after it has started a child arrives after that start; all else in any order.
                ready = [item for item in world.pending if starting.get(item.instance_id, item) is item]
                items = [random.choice(ready)]
                instance_id = items[0].instance_id
                if batches and not is_start(items[0]):
                    others = [item for item in ready if item.instance_id == instance_id and item is not items[0]]
                    items += random.sample(others, random.randint(0, len(others)))
            elif choice == "client":
                budget -= 1
                instance_id = random.choice(sorted(world.instances))
                items = [
                    client_message(random, instance_id, terminations=terminations)
                    for _ in range(random.randint(1, 3) if batches else 1)
                ]
            else:
                assert wake is not None
                world.now_us, instance_id = max(world.now_us, wake[0]), wake[1]
            evict = random.random() < 0.3  # drawn either way: a seed means the same schedule with and without evictions
            if evict and evictions and instance_id in world.instances:
                world.rehydrate(instance_id)
            self.moves += [(instance_id, item, world.now_us) for item in items or [None]]
            self.turn(instance_id, items)
        raise AssertionError("this never ends")

    def again(self, moves: list[Move], random: Random) -> None:
        """Lets the same things happen in the same order, in turns that are cut differently."""
        world = self.world
        world.pending.append(Message("i", ExecutionStarted("program0", "e", input="0")))
        ours = {id(item) for _, item, _ in moves if is_client(item)}
        position = 0
        while position < len(moves):
            instance_id, item, world.now_us = moves[position]
            items = [] if item is None else [item]
            position += 1
            while position < len(moves) and random.random() < 0.8 and not (items and is_start(items[0])):
                follower, item, now_us = moves[position]
                there = item is not None and (id(item) in ours or item in world.pending)
                if follower != instance_id or not there or now_us != world.now_us or is_start(item):
                    break
                items.append(item)  # type: ignore[arg-type]
                position += 1
            self.turn(instance_id, items)

    def summary(self) -> dict[str, Any]:
        """How it stands in the end."""
        shown = {
            key: (view(one.state), one.orchestration.custom_status, one.orchestration.started.generation)
            for key, one in self.world.instances.items()
        }
        return {
            "instances": shown,
            "dropped": Counter(map(repr, self.dropped)),
            "pending": Counter(map(repr, self.world.pending)),
        }


def is_start(item: object) -> bool:
    return isinstance(item, Message) and isinstance(item.event, ExecutionStarted)


def is_client(item: object) -> bool:
    """Instances send terminations too, but those name their caller."""
    return isinstance(item, Message) and isinstance(
        item.event, EventRaised | ExecutionSuspended | ExecutionResumed | ExecutionTerminated
    )


def classify(run: Run) -> None:
    """Shown by ``--hypothesis-show-statistics``: whether the programs do anything."""
    event(f"root: {run.world.instances['i'].status}")
    event(f"turns: {len(run.moves) // 5 * 5}+")
    event(f"instances: {len(run.world.instances)}")


@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
@given(programs(), seeds, st.booleans())
def test_a_rebuilt_instance_goes_on_exactly_as_the_live_one_from_every_cut(made: list[Program], seed: int, batches: bool):
    """The world checks after every turn that the fold of the stored bytes is the live state (and so is a rebuilt one)."""
    run = Run(made, "generator")
    run.at_random(Random(seed), batches=batches, evictions=True)
    classify(run)
    for instance_id in run.world.instances:
        run.world.retrace(instance_id)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(programs(), seeds)
def test_generators_and_coroutines_leave_the_same_history(made: list[Program], seed: int):
    histories = []
    for style in ("generator", "coroutine"):
        run = Run(made, style)
        run.world.describe = without_tracebacks  # they do show the style
        run.at_random(Random(seed), batches=True, evictions=style == "coroutine")
        histories.append({key: [step.turn.events for step in one.steps] for key, one in run.world.instances.items()})
    assert histories[0] == histories[1]


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(programs(), seeds, seeds)
def test_how_messages_are_cut_into_turns_makes_no_difference(made: list[Program], seed: int, other_seed: int):
    """Without terminations: one beats a continue-as-new of the same turn, so there it matters."""
    one_by_one, cut = Run(made, "generator"), Run(made, "generator")
    one_by_one.at_random(Random(seed), batches=False, evictions=False, terminations=False)
    cut.again(one_by_one.moves, Random(other_seed))
    assert cut.summary() == one_by_one.summary()
