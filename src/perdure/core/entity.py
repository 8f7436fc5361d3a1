"""A hydrated entity: one value of state, moved by operations that run one at a time. Pure: values in, values out.

It keeps no history. A turn stores all that is durable of it as one segment, which replaces those before; if it has only added to
what waits, it stores that behind them. An entity without state, lock and waiting messages leaves nothing behind.
"""

import inspect
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from perdure.core.codec import encode_segment
from perdure.core.converter import JsonConverter
from perdure.core.effects import DispatchActivity, Effect, EntityOperationLost, Sealed
from perdure.core.entity_context import DurableEntityContext, current
from perdure.core.entity_id import EntityId
from perdure.core.entity_lock import FATES, Asks, Fate, Holder
from perdure.core.entity_saved import extension, fold_entity
from perdure.core.entity_waiting import Operation, asks_for, releases, sender_of, waits_for_code
from perdure.core.errors import EngineInvariantError, PerdureError
from perdure.core.events import (
    EntityAction,
    EntityLock,
    EntityLockGranted,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    EntityOperationSignaled,
    EntityStateSaved,
    EntityUnlockSent,
    ExecutionStarted,
    ParentLink,
)
from perdure.core.failures import FailureDetails, failure_from_exception
from perdure.core.functions import EntityFunction, Functions, user_names
from perdure.core.ids import child_execution_id
from perdure.core.messages import Message
from perdure.core.status import OrchestrationRuntimeStatus
from perdure.core.turn import Disposition, Turn


class EntityNotRegisteredError(PerdureError):
    """There is no entity function of that name in the app."""

    code = "PD1110"


class EntityWaitedError(PerdureError):
    """An operation awaited or yielded something. Operations run to their end at once: whoever waits, it's an orchestration."""

    code = "PD1111"


class Entity:
    """One entity in memory. Single-threaded; dropped when its commit fails, read from the store when needed again."""

    __slots__ = (
        "_bytes",
        "_converter",
        "_decisions",
        "_describe",
        "_effects",
        "_elsewhere",
        "_function",
        "_functions",
        "_ids",
        "_lock",
        "_now_us",
        "_runs",
        "_saved",
        "_scheduled",
        "_sender",
        "_sent",
        "_shown",
        "_state",
        "_stored",
        "_turn",
        "_waiting",
        "created_at",
        "entity_id",
        "first_seq",
        "instance_id",
        "next_seq",
        "size",
        "started",
    )

    def __init__(
        self,
        instance_id: str,
        functions: Functions,
        converter: JsonConverter,
        created_at: int,
        sender: str,
        describe: Callable[[BaseException], FailureDetails] = failure_from_exception,
        *,
        elsewhere: bool = False,
    ) -> None:
        """``sender`` is new for every object and sorts behind those of earlier ones: it begins the ids of all messages.

        ``elsewhere``: other processes may have functions that aren't registered here.
        """
        self._elsewhere = elsewhere
        self.instance_id = instance_id
        self.entity_id = EntityId.parse(instance_id)
        self.created_at = created_at
        self.first_seq = 0
        self.next_seq = 0
        self.started = ExecutionStarted(self.entity_id.name, sender)
        self._functions = functions
        self._function: EntityFunction | None = functions.entities.get(self.entity_id.name)
        make = None if self._function is None else self._function.converter
        self._converter = converter if make is None else make(converter)
        self._describe = describe
        self._sender = sender
        self._sent = 0
        self._ids = 0
        self._state: str | None = None
        self._lock: EntityLock | None = None
        self._waiting: deque[EntityAction] = deque()
        self._scheduled: list[EntityOperationSignaled] = []
        self._saved = EntityStateSaved()
        self._stored = False
        self._decisions: int = 0
        self._shown: object = None
        self._now_us = 0
        self._runs = False
        self._turn = Turn(0)
        self._effects: list[Effect] = []
        self.size = 0
        self._measure(0)

    # --- what the engine reads ------------------------------------------------------------------------------------

    ended = False
    pending = 0
    custom_status: str | None = None
    status: str = OrchestrationRuntimeStatus.Running

    @property
    def name(self) -> str:
        """Of its function."""
        return self.entity_id.name

    @property
    def registered(self) -> bool:
        """Whether the app has its function."""
        return self._function is not None

    @property
    def wake_at(self) -> int | None:
        """The earliest scheduled signal; at once, where operations wait for nothing but an app that has their code."""
        if not self._runs and waits_for_code(self._lock, self._waiting):
            return self._now_us
        return self._scheduled[0].scheduled_time if self._scheduled else None

    @property
    def durable(self) -> EntityStateSaved:
        """What the stored bytes say."""
        return self._saved

    def open_activities(self) -> list[DispatchActivity]:
        """None: entities call nobody."""
        return []

    def message_prefix(self, turn: Turn) -> str:
        """Not by the turn's number: turns that change nothing aren't stored, and may send nevertheless."""
        self._sent += 1
        return f"{self._sender}/{self._sent:010d}"

    # --- turns ----------------------------------------------------------------------------------------------------

    def turn(self, messages: Sequence[Message], now_us: int, *, idle: bool = False) -> Turn:
        """Takes the messages in order and applies what can be applied.

        ``idle`` keeps everything for an app that has the code. The object has moved on when this returns, durable or not: if
        the commit fails, drop it.
        """
        turn = self._turn = Turn(now_us)
        self._effects = []
        self._now_us = now_us
        ran, self._runs = self._runs, not idle and self._has_code()
        if self._runs and not ran:
            self._take_again()  # as if it came now: it may have waited for nothing but the code
        scheduled = self._scheduled
        while scheduled and scheduled[0].scheduled_time is not None and scheduled[0].scheduled_time <= now_us:
            self._take(scheduled.pop(0))
        for message in messages:
            event = message.event
            if isinstance(event, EntityUnlockSent):
                self._release(event)
            elif isinstance(event, EntityOperationSignaled):
                if event.scheduled_time is not None and event.scheduled_time > now_us:
                    insort(scheduled, event, key=_due)
                else:
                    self._take(event)
            elif isinstance(event, EntityOperationCalled | EntityLockRequested):
                self._take(event)
            else:
                raise EngineInvariantError(f"{type(event).__name__} was sent to entity '{self.instance_id}'")
            turn.dispositions.append(Disposition.ACCEPTED)
        self._close_turn(turn)
        return turn

    def _has_code(self) -> bool:
        # Without the function, what exists waits for an app that has it; a call of what never was is answered.
        return self._function is not None or (self._state is None and not self._waiting)

    def _close_turn(self, turn: Turn) -> None:
        self._save(turn)
        turn.effects = Sealed(self._effects)

    def replay(self, segments: Iterable[tuple[int, bytes]], custom_status: str | None) -> None:
        """Takes over what earlier turns have stored."""
        found = list(segments)
        self._saved = fold_entity(self.instance_id, (data for _, data in found))
        if found:
            self.first_seq, self.next_seq = found[0][0], found[-1][0] + 1
            self._stored = True
            self._measure(sum(len(data) for _, data in found))
        self._state, self._lock, self._decisions = self._saved.state, self._saved.lock, self._saved.decisions
        self._waiting.extend(self._saved.waiting)
        self._scheduled.extend(self._saved.scheduled)
        self._shown = self.wake_at, self.pending

    def close(self) -> None:
        """Nothing: between turns no code of the user's is under way."""

    # --- one message ----------------------------------------------------------------------------------------------

    def _take(self, event: EntityAction) -> None:
        if not self._runs:
            self._waiting.append(event)
            return
        if isinstance(event, EntityUnlockSent):  # kept back with the operations before it
            self._release(event)
            return
        asks = Asks.LOCK if isinstance(event, EntityLockRequested) else Asks.OPERATION
        match FATES[self._holder(sender_of(event)), asks]:
            case Fate.RUNS:
                assert not isinstance(event, EntityLockRequested)
                self._run(event)
            case Fate.LOCKS:
                assert isinstance(event, EntityLockRequested)
                self._grant(event)
            case _:
                self._waiting.append(event)

    def _take_waiting(self) -> None:
        while self._waiting and self._lock is None and self._runs:
            self._take(self._waiting.popleft())

    def _take_again(self) -> None:
        """Each message that waits either goes on waiting, in its place, or does what it is for."""
        waiting, self._waiting = self._waiting, deque()
        for event in waiting:
            self._take(event)

    def _holder(self, sender: str | None) -> Holder:
        if self._lock is None:
            return Holder.NOBODY
        return Holder.SENDER if self._lock.owner == sender else Holder.OTHER

    def _grant(self, request: EntityLockRequested) -> None:
        parent = request.parent
        if parent is None:
            raise EngineInvariantError(f"somebody without an id wants to lock '{self.instance_id}'")
        self._lock = EntityLock(request.critical_section_id, parent.instance_id)
        following = request.position + 1
        if following < len(request.lock_set):
            self._send(Message(request.lock_set[following], msgspec.structs.replace(request, position=following)))
        else:
            granted = EntityLockGranted(parent.task_id, request.critical_section_id, request.lock_set)
            self._send(Message(parent.instance_id, granted, parent.execution_id, parent.generation))
        self._take_again()  # what the new owner had sent before runs now, the rest goes on waiting

    def _release(self, event: EntityUnlockSent) -> None:
        lock = self._lock
        if lock is None or lock.critical_section_id != event.critical_section_id or not waits_for_code(lock, self._waiting):
            self._settle(event)
        elif not any(releases(one, lock.critical_section_id) for one in self._waiting):
            self._waiting.append(event)  # behind what its sender has asked for before
        else:
            self._pass_on(event)  # once is enough

    def _settle(self, event: EntityUnlockSent) -> None:
        section = event.critical_section_id
        holder = Holder.NOBODY if self._lock is None else Holder.OTHER
        if self._lock is not None and self._lock.critical_section_id == section:
            holder = Holder.SENDER
        if FATES[holder, Asks.RELEASE] is Fate.UNLOCKS:
            self._lock = None
            self._take_waiting()
        elif self._waiting:
            self._waiting = deque(one for one in self._waiting if not asks_for(one, section))
        self._pass_on(event)

    def _pass_on(self, event: EntityUnlockSent) -> None:
        if event.following:
            following, *rest = event.following
            self._send(Message(following, EntityUnlockSent(following, event.critical_section_id, following=tuple(rest))))

    # --- operations -----------------------------------------------------------------------------------------------

    def _run(self, operation: Operation) -> None:
        function = self._function
        if function is None:
            known = ", ".join(user_names(self._functions.entities.values())) or "none"
            error = EntityNotRegisteredError(f"there is no entity named '{self.entity_id.name}'. Registered: {known}.")
            self._failed(operation, self._describe(error))
            return
        context = DurableEntityContext(
            self.entity_id, operation, self._state, self._converter, self._functions, self._now_us, self._make_id, self._elsewhere
        )
        token = current.set(context)
        try:
            state, result = context.outcome(_at_once(function.call(context)))
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is this operation's failure, nobody else's
            self._failed(operation, self._describe(error))
            return
        finally:
            current.reset(token)
        self._state = state
        for message in context.messages:
            self._send(message)
        parent = operation.parent if isinstance(operation, EntityOperationCalled) else None
        if parent is not None:
            self._answer(parent, EntityOperationCompleted(parent.task_id, result))

    def _failed(self, operation: Operation, failure: FailureDetails) -> None:
        """Nothing of the operation stays, neither state nor messages."""
        parent = operation.parent if isinstance(operation, EntityOperationCalled) else None
        if parent is not None:
            self._answer(parent, EntityOperationFailed(parent.task_id, failure))
        else:
            error = f"{failure.type}: {failure.message}"
            self._effects.append(EntityOperationLost(self.instance_id, operation.operation, error, failure.traceback))

    def _answer(self, parent: ParentLink, event: EntityOperationCompleted | EntityOperationFailed) -> None:
        self._send(Message(parent.instance_id, event, parent.execution_id, parent.generation))

    def _send(self, message: Message) -> None:
        self._turn.messages.append(message)

    def _make_id(self) -> str:
        self._ids += 1
        return child_execution_id(self._sender, 0, self._ids)

    # --- what is stored -------------------------------------------------------------------------------------------

    def _save(self, turn: Turn) -> None:
        saved = EntityStateSaved(self._state, self._lock, tuple(self._waiting), tuple(self._scheduled), self._decisions)
        if saved == self._saved:
            return
        if saved.state is None and saved.lock is None and not saved.waiting and not saved.scheduled:
            self._saved = _NOTHING
            turn.vacated = self._stored
            self._stored = False
            self._measure(0)
            return
        more = extension(self._saved, saved) if self._stored else None
        self._saved = saved
        turn.seq = self.next_seq
        turn.events = encode_segment((more or saved,))
        turn.reset = more is None
        self.next_seq += 1
        shown = self.wake_at, self.pending
        if not self._stored or shown != self._shown:
            turn.projection_changed = True
            if turn.reset:
                self.first_seq = turn.seq
        self._shown = shown
        self._stored = True
        self._measure(len(turn.events) if more is None else self._bytes + len(turn.events))

    def _measure(self, stored: int) -> None:
        self._bytes = stored
        self.size = 1500 + 2 * stored


_NOTHING = EntityStateSaved()


def _due(signal: EntityOperationSignaled) -> int:
    return signal.scheduled_time or 0


def _at_once(returned: Any) -> Any:
    """What the operation returns, also if it is a coroutine.

    Raises:
        EntityWaitedError: it awaits something that isn't there yet, or yields.
    """
    if inspect.isgenerator(returned):
        returned.close()
        raise EntityWaitedError("an entity function can't yield; only orchestrators do. Return the result.")
    if not inspect.iscoroutine(returned):
        return returned
    try:
        awaited = returned.send(None)
    except StopIteration as stop:
        return stop.value
    returned.close()
    raise EntityWaitedError(
        f"the operation awaited something ({type(awaited).__name__}). An entity runs one operation at a time and can't wait "
        "in between: let an orchestration or an activity wait, and signal the entity with the outcome."
    )
