"""Runs orchestrations by values alone: no event loop, no store, no clock but a number.

A ``World`` holds instances, what is on its way to them, and what a store would hold of them. It delivers only what it
is told to, and after every turn it checks what must always hold: folding the stored bytes gives the live state, the row
is rewritten whenever it changed, and (``evict``) an instance rebuilt from its bytes is the one that was thrown away.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal

import msgspec

from perdure.core.codec import decode_segment
from perdure.core.converter import JsonConverter
from perdure.core.effects import CommitReceipt, DispatchActivity, Effect
from perdure.core.events import (
    ACTIONS,
    AnyEvent,
    EventRaised,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
)
from perdure.core.failures import FailureDetails, failure_from_exception
from perdure.core.functions import ActivityFunction, EntityFunction, OrchestratorFunction
from perdure.core.messages import Message, decode_message, encode_message
from perdure.core.orchestration import Orchestration
from perdure.core.state import InstanceState, fold_segments
from perdure.core.times import duration_us, to_us
from perdure.core.turn import Disposition, Turn

Style = Literal["generator", "coroutine"]
EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
GONE = FailureDetails("perdure.InstanceAlreadyExistsError", "there is a running instance of that id")


def as_coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    """The coroutine function that awaits what the generator function yields."""

    async def coroutine(context: Any) -> Any:
        made = function(context)
        if not isinstance(made, Generator):
            return made
        step: Callable[[], Any] = partial(next, made)
        while True:
            try:
                awaitable = step()
            except StopIteration as stop:
                return stop.value
            try:
                value = await awaitable
            except GeneratorExit:
                made.close()
                raise
            except BaseException as error:  # noqa: BLE001 - all of it is the generator's
                step = partial(made.throw, error)
            else:
                step = partial(made.send, value)

    return coroutine


@dataclass
class App:
    """The functions of one deployment."""

    style: Style = "generator"
    orchestrators: dict[str, OrchestratorFunction] = field(default_factory=dict)
    activities: dict[str, ActivityFunction] = field(default_factory=dict)
    entities: dict[str, EntityFunction] = field(default_factory=dict)

    def orchestrator(self, function: Callable[..., Any], name: str | None = None, **options: Any) -> Callable[..., Any]:
        """Registers a generator function, in this app's style."""
        name = name or function.__name__
        call = as_coroutine(function) if self.style == "coroutine" else function
        self.orchestrators[name.casefold()] = OrchestratorFunction(name, call, **options)
        function.perdure_function_name = name  # type: ignore[attr-defined]
        return function

    def activity(self, name: str, call: Callable[[Any, DispatchActivity], Any], **options: Any) -> None:
        """Registers what answers calls of an activity: a function of the input and of the dispatched effect."""
        self.activities[name.casefold()] = ActivityFunction(name, call, "thread", **options)


@dataclass
class Step:
    """One turn and what it was given, for doing it again."""

    app: App
    before: list[tuple[int, bytes]]
    status_before: str | None
    messages: list[Message]
    now_us: int
    turn: Turn
    effects: list[Effect]


@dataclass
class Instance:
    """What a store would hold of an instance, the live object, and every turn it had."""

    orchestration: Orchestration
    stored: list[tuple[int, bytes]] = field(default_factory=list)
    custom_status: str | None = None
    projection: tuple[object, ...] = ()
    steps: list[Step] = field(default_factory=list)

    @property
    def state(self) -> InstanceState:
        return self.orchestration.state

    @property
    def status(self) -> str:
        return str(self.state.status)

    @property
    def end(self) -> ExecutionCompleted:
        assert self.state.completed is not None, f"the instance is still {self.status}"
        return self.state.completed

    @property
    def output(self) -> Any:
        assert self.status == "Completed", f"{self.status}: {self.state.completed}"
        return JsonConverter().decode(self.end.result, None, "output", "")

    @property
    def failure(self) -> FailureDetails:
        assert self.end.failure is not None, f"{self.status}: {self.end.result}"
        return self.end.failure

    @property
    def history(self) -> list[AnyEvent]:
        return [event for _, data in self.stored for event in decode_segment(data)]


class World:
    """Instances that exchange messages. Nothing is delivered and no time passes unless a method says so."""

    def __init__(self, style: Style = "generator", *, evict: bool = False) -> None:
        self.app = App(style)
        self.evict = evict
        self.passive = False
        """Whether new instances whose orchestrator is missing wait for it instead of failing."""
        self.now_us = to_us(EPOCH)
        self.converter = JsonConverter()
        self.describe: Callable[[BaseException], FailureDetails] = failure_from_exception
        self.instances: dict[str, Instance] = {}
        self.written: dict[str, list[tuple[bool, bytes]]] = {}
        """Every segment that was ever stored, and whether it began a history: of each instance id."""
        self.pending: list[Message | DispatchActivity] = []
        """On its way, oldest first. An activity runs when its turn to be delivered comes."""
        self.effects: list[Effect] = []

    # --- what clients do --------------------------------------------------------------------------------------------

    def start(self, function: Callable[..., Any] | str, input_: Any = None, instance_id: str = "i", **started: Any) -> Instance:
        """Starts an instance and gives it its first turn."""
        name = function if isinstance(function, str) else function.perdure_function_name  # type: ignore[attr-defined]
        text = self.converter.encode(input_, "input", name)
        self.turn(instance_id, Message(instance_id, ExecutionStarted(name, f"execution-of-{instance_id}", input=text, **started)))
        return self.instances[instance_id]

    def raise_event(self, name: str, payload: Any = None, instance_id: str = "i") -> Disposition:
        """Delivers an external event."""
        return self.tell(EventRaised(name, self.converter.encode(payload, "event", name)), instance_id)

    def suspend(self, instance_id: str = "i") -> Disposition:
        """Suspends."""
        return self.tell(ExecutionSuspended(), instance_id)

    def resume(self, instance_id: str = "i") -> Disposition:
        """Resumes."""
        return self.tell(ExecutionResumed(), instance_id)

    def terminate(self, reason: str | None = None, instance_id: str = "i", *, recursive: bool = False) -> Disposition:
        """Terminates."""
        return self.tell(ExecutionTerminated(reason, recursive), instance_id)

    def tell(self, event: Any, instance_id: str = "i") -> Disposition:
        """A turn with one message that no instance sent."""
        return self.turn(instance_id, Message(instance_id, event)).dispositions[0]

    # --- deliveries -------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Delivers what is on its way, one message a turn, oldest first, until nothing is."""
        for _ in range(10_000):
            if not self.pending:
                return
            self.deliver(self.pending[0])
        raise AssertionError("the instances never stop talking")

    def deliver(self, *items: Message | DispatchActivity) -> None:
        """Takes these off the way and delivers them, those for one instance in one turn."""
        groups: dict[str, list[Message]] = {}
        for item in items:
            self.pending.remove(item)
            message = self.answer(item) if isinstance(item, DispatchActivity) else item
            groups.setdefault(message.instance_id, []).append(message)
        for instance_id, messages in groups.items():
            self.turn(instance_id, *messages)

    def answer(self, job: Message | DispatchActivity) -> Message:
        """Runs an activity: its outcome as a message."""
        assert isinstance(job, DispatchActivity)
        function = self.app.activities[job.name.casefold()]
        try:
            result = function.call(self.converter.decode(job.input, function.input_type, "input of activity", job.name), job)
            event: Any = TaskCompleted(job.task_id, self.converter.encode(result, "result of activity", job.name))
        except Exception as error:  # noqa: BLE001 - the activity's outcome
            event = TaskFailed(job.task_id, self.describe(error))
        return Message(job.instance_id, event, job.execution_id, job.generation)

    def pass_time(self, duration: timedelta) -> None:
        """Lets time pass: each instance gets a turn when it wants to be woken, and what comes of it is delivered."""
        until = self.now_us + duration_us(duration)
        while (wake := self.next_wake()) is not None and wake[0] <= until:
            self.now_us = max(self.now_us, wake[0])
            self.turn(wake[1])
            self.settle()
        self.now_us = until

    def run(self) -> None:
        """Delivers everything and jumps to every wake-up, until nothing is left to come."""
        self.settle()
        for _ in range(10_000):
            wake = self.next_wake()
            if wake is None:
                return
            self.now_us = max(self.now_us, wake[0])
            self.turn(wake[1])
            self.settle()
        raise AssertionError("there is no end of timers")

    def next_wake(self) -> tuple[int, str] | None:
        """The instance that wants to be woken first. Waking those that lack their orchestrator would be of no use."""
        able = [(key, one) for key, one in self.instances.items() if one.orchestration.registered]
        return min([(at, key) for key, one in able if (at := one.state.wake_at) is not None], default=None)

    def turn(self, instance_id: str, *messages: Message) -> Turn:
        """One turn of one instance, with everything that a real engine and store would do about it."""
        messages = tuple(decode_message(encode_message(message)) for message in messages)
        instance = self.instances.get(instance_id)
        if any(isinstance(message.event, ExecutionStarted) for message in messages):
            (message,) = messages
            if instance is not None and not instance.orchestration.ended:
                return self._refuse(message)
            if instance is not None:
                generation = instance.orchestration.started.generation + 1
                event = message.event
                assert isinstance(event, ExecutionStarted)
                event = replaced(event, generation=generation)
                messages = (replaced(message, event=event),)
            instance = Instance(Orchestration(instance_id, self.app, self.converter, self.now_us, self.describe))
            self.instances[instance_id] = instance
        elif instance is None:
            raise AssertionError(f"no instance {instance_id!r}")
        elif self.evict:
            self.rehydrate(instance_id)
        step = Step(self.app, list(instance.stored), instance.custom_status, list(messages), self.now_us, Turn(0), [])
        step.turn = turn = instance.orchestration.turn(messages, self.now_us, idle=self.passive)
        step.effects = open_effects(turn)
        instance.steps.append(step)
        self._store(instance, turn)
        if turn.events is not None:
            self.written.setdefault(instance_id, []).append((turn.reset or len(instance.stored) == 1, turn.events))
        self.effects += step.effects
        self.pending += [effect for effect in step.effects if isinstance(effect, DispatchActivity)]
        self.pending += turn.messages
        return turn

    def _refuse(self, message: Message) -> Turn:
        started = message.event
        assert isinstance(started, ExecutionStarted)
        assert started.parent is not None, "the instance is running"
        parent = started.parent
        failed = SubOrchestrationInstanceFailed(parent.task_id, GONE)
        self.pending.append(Message(parent.instance_id, failed, parent.execution_id, parent.generation))
        return Turn(self.now_us)

    def _store(self, instance: Instance, turn: Turn) -> None:
        orchestration = instance.orchestration
        if turn.events is not None:
            if turn.reset:
                instance.stored = []
            instance.stored.append((turn.seq, turn.events))
        else:
            assert not turn.messages, "messages leave although no history says why"
            assert not turn.projection_changed, "the row changes although no history says why"
            # One that lacks its orchestrator wants, being woken in vain, to be woken at once again; nobody listens.
            assert orchestration.projection() == instance.projection or orchestration.state.idle
            assert orchestration.segments == [data for _, data in instance.stored]
            return
        if turn.projection_changed:
            instance.projection = orchestration.projection()
            instance.custom_status = orchestration.custom_status
        assert orchestration.projection() == instance.projection, "the row is out of date"
        assert orchestration.segments == [data for _, data in instance.stored]
        assert view(orchestration.state) == view(fold_segments(orchestration.segments)), "history says otherwise"

    # --- memory -----------------------------------------------------------------------------------------------------

    def rehydrate(self, instance_id: str = "i", app: App | None = None) -> Instance:
        """Throws the object away and rebuilds it from what is stored, with another deployment's functions if given."""
        self.app = app or self.app
        instance = self.instances[instance_id]
        old = instance.orchestration
        if old.ended:
            return instance  # as in the engine: what has ended is never rebuilt
        assert view(old.state) == view(fold_segments(old.segments)) or old.state.idle
        old.close()
        new = instance.orchestration = self.rebuilt(instance.stored, instance.custom_status, instance_id)
        assert view(new.state) == view(fold_segments(new.segments))
        assert (new.projection(), new.next_seq) == (instance.projection, old.next_seq)
        return instance

    def rebuilt(
        self, stored: Iterable[tuple[int, bytes]], custom_status: str | None, instance_id: str, app: App | None = None
    ) -> Orchestration:
        """An instance from its bytes."""
        orchestration = Orchestration(instance_id, app or self.app, self.converter, 0, self.describe)
        orchestration.replay(stored, custom_status)
        return orchestration

    def retrace(self, instance_id: str = "i") -> int:
        """Does every turn again on an object rebuilt from what was stored before it; the same must come of it.

        Returns:
            How many turns were done again.
        """
        steps = [step for step in self.instances[instance_id].steps if step.before]
        for step in steps:
            again = self.rebuilt(step.before, step.status_before, instance_id, step.app)
            assert again.segments == [data for _, data in step.before], "replaying changes history"
            assert view(again.state) == view(fold_segments(again.segments))
            if again.ended:
                continue
            turn = again.turn(step.messages, step.now_us, idle=self.passive)
            assert outcome(turn, open_effects(turn)) == outcome(step.turn, step.effects)
            again.close()
        return len(steps)


def messages_of(segment: bytes, instance_id: str) -> tuple[int, list[Message]]:
    """The time of a stored turn, and the messages that make it happen again."""
    opening, *events = decode_segment(segment)
    arrived = [event for event in events if not isinstance(event, ACTIONS) and type(event).__name__ != "TimerFired"]
    return opening.at, [Message(instance_id, event) for event in arrived]  # type: ignore[union-attr, arg-type]


def without_tracebacks(error: BaseException) -> FailureDetails:
    """Failures as they are kept, but for file names and lines."""
    kept: FailureDetails | None = None
    for link in reversed(list(failure_from_exception(error).chain())):
        kept = replaced(link, traceback=None, cause=kept)
    assert kept is not None
    return kept


def view(state: InstanceState) -> dict[str, object]:
    """The state without what a turn that left no trace may have moved: the time."""
    names = ("begun", "completed", "next_task_id", "open_work", "pending", "started", "status", "wake_at")
    return {name: getattr(state, name) for name in names}


def open_effects(turn: Turn) -> list[Effect]:
    """What the turn's effects are once its commit is durable."""
    commit = object()
    turn.effects.bind(commit)
    return list(turn.effects.open(CommitReceipt(commit)))


def outcome(turn: Turn, effects: Sequence[Effect]) -> tuple[object, ...]:
    """Everything a turn says."""
    return turn.at, turn.seq, turn.events, turn.reset, turn.projection_changed, turn.messages, turn.dispositions, list(effects)


def replaced(value: Any, **fields: Any) -> Any:
    """A struct with some fields changed."""
    return msgspec.structs.replace(value, **fields)
