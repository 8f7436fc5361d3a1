"""Callers who wait for another engine: each gets an answer, whatever gets lost."""

import asyncio
import inspect
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any

import pytest

from perdure.core.errors import PerdureError
from perdure.core.events import (
    EntityAction,
    EntityOperationSignaled,
    EventRaised,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionTerminated,
    IncomingEvent,
)
from perdure.core.messages import Message, ReusePolicy
from perdure.engine.envelopes import Envelope, Origin
from perdure.engine.errors import (
    CommitFailedError,
    EngineStoppedError,
    InstanceAlreadyExistsError,
    InstanceFinishedError,
    InstanceNotFoundError,
    InstanceRunningError,
    NobodyAnswersError,
)
from perdure.engine.nudges import Answered, Hint
from perdure.engine.requests import AnswerByNudge, Requests
from perdure.store.contract import InstanceRecord, InstanceRow
from perdure.store.errors import StoreUnavailableError
from perdure.testing.virtual_clock import VirtualClock, run_simulation

PATIENCE = 30


def record(status: str, execution_id: str = "e") -> InstanceRecord:
    row = InstanceRow(
        instance_id="i",
        partition=0,
        execution_id=execution_id,
        generation=0,
        name="f",
        version=None,
        status=status,
        created_at=0,
        custom_status=None,
        tags={},
        parent_id=None,
        pending=0,
        wake_at=None,
        first_seq=0,
    )
    return InstanceRecord(row, 0, None, None)


class World:
    """What the store says, and what is waited for."""

    def __init__(self) -> None:
        self.waiting: set[str] = set()
        self.record: InstanceRecord | None = None
        self.failing: set[str] = set()
        self.asked: list[Sequence[str]] = []
        world: Any = self
        self.requests = Requests("me", world, world, PATIENCE)

    async def still_stored(self, message_ids: Sequence[str]) -> Collection[str]:
        self._fail("still_stored")
        self.asked.append(message_ids)
        return self.waiting.intersection(message_ids)

    async def get(self, instance_id: str) -> InstanceRecord | None:
        assert instance_id == "i"
        self._fail("get")
        return self.record

    def ask(
        self,
        event: IncomingEvent | EntityAction | None,
        *,
        to: str = "i",
        stored: bool = True,
        reuse: ReusePolicy = ReusePolicy.RAISE,
    ) -> tuple[str, "asyncio.Future[None]"]:
        """A caller's request; without an event it is a purge."""
        reply: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        message = None if event is None else Message(to, event, reuse=reuse)
        message_id = self.requests.store(Envelope(to, message, Origin.CLIENT, reply=reply, purge=event is None), 0).message_id
        if stored:
            self.requests.stored([message_id])
        return message_id, reply

    def _fail(self, method: str) -> None:
        if method in self.failing:
            raise StoreUnavailableError(f"{method} fails")


def world_test(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    def run(**arguments: Any) -> None:
        async def main(_: VirtualClock) -> None:
            await test(World(), **arguments)

        run_simulation(main)

    run.__name__ = test.__name__
    run.__signature__ = _without_first(test)  # type: ignore[attr-defined]
    return run


def _without_first(function: Callable[..., Any]) -> inspect.Signature:
    signature = inspect.signature(function)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


EVENT = EventRaised("go")


@world_test
async def test_an_answer_reaches_its_caller_and_no_other(world: World) -> None:
    first, reply = world.ask(EVENT)
    second, other = world.ask(EVENT)
    assert first < second
    world.requests.answered(Answered(second))
    assert other.done()
    assert not reply.done()
    world.requests.answered(Answered("me/of an earlier life/000000000000"))
    world.requests.answered(Answered(second))
    assert not reply.done()


@pytest.mark.parametrize(
    "error",
    [CommitFailedError, InstanceAlreadyExistsError, InstanceFinishedError, InstanceNotFoundError, InstanceRunningError],
)
@world_test
async def test_an_error_arrives_as_what_it_was(world: World, error: type[PerdureError]) -> None:
    message_id, reply = world.ask(EVENT)
    hints: list[Hint] = []
    AnswerByNudge(message_id, hints.append).set_exception(error("what was wrong"))
    (hint,) = hints
    assert isinstance(hint, Answered)
    world.requests.answered(hint)
    with pytest.raises(error, match="what was wrong"):
        await reply


@world_test
async def test_an_error_that_isnt_known_here_says_that_the_outcome_isnt(world: World) -> None:
    message_id, reply = world.ask(EVENT)
    world.requests.answered(Answered(message_id, "PD9999", "of a newer engine"))
    with pytest.raises(CommitFailedError, match="of a newer engine"):
        await reply


@world_test
async def test_a_lost_answer_is_found_out_at_the_second_look(world: World) -> None:
    _, reply = world.ask(EVENT)
    world.record = record("Running")
    await world.requests.look()
    assert not reply.done()  # the answer may be on its way
    await world.requests.look()
    await reply
    await world.requests.look()
    assert len(world.asked) == 2  # nobody is left to ask for


RUNNING, COMPLETED, FAILED = record("Running"), record("Completed"), record("Failed")
ANOTHER = record("Running", "another")


@pytest.mark.parametrize(
    ("event", "found", "verdict"),
    [
        (None, None, None),
        (None, COMPLETED, InstanceRunningError),
        (ExecutionStarted(name="f", execution_id="e"), RUNNING, None),
        (ExecutionStarted(name="f", execution_id="e"), COMPLETED, None),
        (ExecutionStarted(name="f", execution_id="e"), ANOTHER, CommitFailedError),
        (ExecutionStarted(name="f", execution_id="e"), None, CommitFailedError),
        (EVENT, RUNNING, None),
        (EVENT, COMPLETED, CommitFailedError),
        (EVENT, None, InstanceNotFoundError),
        (ExecutionRewound(""), RUNNING, None),
        (ExecutionRewound(""), FAILED, CommitFailedError),
        (ExecutionTerminated(""), record("Terminated"), None),
        (ExecutionTerminated(""), COMPLETED, None),
        (ExecutionTerminated(""), None, InstanceNotFoundError),
    ],
)
@world_test
async def test_what_a_handled_request_has_come_to(
    world: World, event: IncomingEvent | None, found: InstanceRecord | None, verdict: type[PerdureError] | None
) -> None:
    _, reply = world.ask(event)
    world.record = found
    await world.requests.look()
    await world.requests.look()
    if verdict is None:
        assert await reply is None
    else:
        with pytest.raises(verdict):
            await reply


@world_test
async def test_a_start_that_takes_what_is_there_has_succeeded_whoever_started_it(world: World) -> None:
    _, reply = world.ask(ExecutionStarted(name="f", execution_id="e"), reuse=ReusePolicy.RETURN_EXISTING)
    world.record = ANOTHER
    await world.requests.look()
    await world.requests.look()
    assert await reply is None


@world_test
async def test_a_signal_that_an_entity_has_taken_has_succeeded_although_no_state_is_left(world: World) -> None:
    _, reply = world.ask(EntityOperationSignaled("@counter@a", "reset", 0, None), to="@counter@a")
    await world.requests.look()
    await world.requests.look()
    assert await reply is None


@world_test
async def test_a_request_that_isnt_durable_yet_is_not_taken_for_a_handled_one(world: World) -> None:
    message_id, reply = world.ask(EVENT, stored=False)
    world.record = RUNNING
    for _ in range(3):
        await world.requests.look()
    assert not reply.done()
    world.requests.stored([message_id])
    world.waiting = {message_id}
    for _ in range(3):
        await world.requests.look()
    assert not reply.done()


@world_test
async def test_a_store_that_fails_at_the_wrong_moment_delays_the_verdict_only(world: World) -> None:
    _, reply = world.ask(EVENT)
    world.record = RUNNING
    await world.requests.look()
    for method in ("get", "still_stored"):
        world.failing = {method}
        with pytest.raises(StoreUnavailableError):
            await world.requests.look()
        assert not reply.done()
    world.failing = set()
    await world.requests.look()
    await reply


@world_test
async def test_patience_ends(world: World) -> None:
    message_id, reply = world.ask(EVENT)
    world.waiting = {message_id}
    await asyncio.sleep(PATIENCE)
    await world.requests.look()
    assert not reply.done()
    await asyncio.sleep(0.1)
    await world.requests.look()
    with pytest.raises(NobodyAnswersError, match="'i' is stored and will be handled"):
        await reply


@world_test
async def test_callers_who_have_gone_are_asked_for_no_more(world: World) -> None:
    _, reply = world.ask(EVENT)
    reply.cancel()
    await world.requests.look()
    assert not world.asked


@world_test
async def test_what_was_not_stored_is_forgotten(world: World) -> None:
    reply: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    envelope = Envelope("i", Message("i", EVENT), Origin.CLIENT, reply=reply)
    message_id = world.requests.store(envelope, 0).message_id
    world.requests.forget([envelope])
    world.requests.answered(Answered(message_id))
    assert not reply.done()


@world_test
async def test_when_the_engine_ends_all_are_told(world: World) -> None:
    replies = [world.ask(EVENT, stored=stored)[1] for stored in (True, False)]
    world.requests.fail(EngineStoppedError("closed"))
    for reply in replies:
        with pytest.raises(EngineStoppedError):
            await reply
