"""Entities one by one: state, operations, failures, time. What goes on between several is in test_critical_sections."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import perdure as df
from perdure.core.codec import decode_segment, encode_segment
from perdure.core.entity import Entity
from perdure.core.entity_saved import EntitySummary, fold_entity, summary
from perdure.core.errors import EngineInvariantError
from perdure.core.events import (
    EntityBacklogExtended,
    EntityLock,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    EntityOperationSignaled,
    EntityStateSaved,
    EntityUnlockSent,
    EventRaised,
    ExecutionStarted,
    ParentLink,
)
from perdure.core.messages import Message
from tests.unit.entity_world import App, EntityWorld

SECOND = 1_000_000
CALLER = ParentLink("caller", "execution", 3, 7)


@pytest.fixture(params=[False, True], ids=["hot", "evicted"])
def evict(request: pytest.FixtureRequest) -> bool:
    return request.param


def counter(context: df.DurableEntityContext) -> Any:
    number = context.get_state(lambda: 0)
    match context.operation_name:
        case "add":
            context.set_state(number + context.get_input())
        case "get":
            context.set_result(number)
        case "fail":
            context.set_state(-1)
            context.signal_entity("@counter@other", "add", 1)
            raise ValueError("no")
        case "delete":
            context.delete_state()
        case "destruct":
            context.destruct_on_exit()
        case "nothing":
            pass
        case other:
            raise LookupError(other)


def journal(context: df.DurableEntityContext) -> None:
    context.set_state([*context.get_state(list), context.operation_name])


def world(evict: bool, *calls: Callable[[df.DurableEntityContext], Any]) -> EntityWorld:
    app = App()
    for call in calls or (counter, journal):
        app.entity(call)
    return EntityWorld(app, evict=evict)


def call(world: EntityWorld, entity: str, operation: str, text: str | None = None) -> Message:
    """Calls as an orchestration does, and gives the answer."""
    turn = world.turn(entity, Message(entity, EntityOperationCalled(entity, operation, 7, text, CALLER)))
    return turn.messages[-1]


def test_operations_change_the_state_one_after_the_other(evict: bool) -> None:
    here = world(evict)
    for number in range(5):
        here.signal("@counter@a", "add", number)
    assert here.state("@counter@a") == 10


def test_a_batch_is_one_turn_and_one_segment() -> None:
    here = world(False)
    entity = "@counter@a"
    signals = [Message(entity, EntityOperationCalled(entity, "add", 7, str(number), CALLER)) for number in range(100)]
    turn = here.turn(entity, *signals)
    assert here.state(entity) == 4950
    assert len(here.stored[entity]) == 1
    assert len(turn.messages) == 100


def test_the_answer_goes_to_the_execution_that_called(evict: bool) -> None:
    here = world(evict)
    here.signal("@counter@a", "add", 4)
    assert call(here, "@counter@a", "get") == Message("caller", EntityOperationCompleted(7, "4"), "execution", 3)


def test_a_question_writes_nothing(evict: bool) -> None:
    here = world(evict)
    here.signal("@counter@a", "add", 4)
    turn = here.turn("@counter@a", Message("@counter@a", EntityOperationCalled("@counter@a", "get", 7, None, CALLER)))
    assert (turn.events, turn.vacated) == (None, False)


def test_messages_of_two_turns_never_share_an_id_though_nothing_was_stored() -> None:
    here = world(False)
    entity = here.hydrated("@counter@a")
    prefixes = [entity.message_prefix(entity.turn([], 0)) for _ in range(3)]
    assert prefixes == sorted(set(prefixes))


def test_a_failing_operation_is_undone_and_its_neighbours_are_not(evict: bool) -> None:
    here = world(evict)
    entity = "@counter@a"
    operations = [("add", "1"), ("fail", None), ("add", "2")]
    turn = here.turn(
        entity, *(Message(entity, EntityOperationCalled(entity, name, 7, text, CALLER)) for name, text in operations)
    )
    assert here.state(entity) == 3
    assert [type(message.event) for message in turn.messages] == [
        EntityOperationCompleted,
        EntityOperationFailed,
        EntityOperationCompleted,
    ], "the failed operation's signal left nevertheless"


def test_the_caller_gets_type_message_traceback_and_cause(evict: bool) -> None:
    def fragile(context: df.DurableEntityContext) -> None:
        try:
            raise KeyError("deep")
        except KeyError as error:
            raise ValueError("shallow") from error

    answer = call(world(evict, fragile), "@fragile@a", "any").event
    assert isinstance(answer, EntityOperationFailed)
    failure = answer.failure
    assert (failure.type, failure.message) == ("ValueError", "shallow")
    assert failure.traceback is not None
    assert "in fragile" in failure.traceback
    assert "core/entity" not in failure.traceback
    assert failure.is_caused_by(KeyError)


def test_a_failing_signal_is_reported_once_and_undone(evict: bool) -> None:
    here = world(evict)
    here.signal("@counter@a", "add", 1)
    here.signal("@counter@a", "fail")
    (lost,) = here.lost
    assert (lost.instance_id, lost.operation, lost.error) == ("@counter@a", "fail", "ValueError: no")
    assert here.state("@counter@a") == 1


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_nothing_that_user_code_raises_leaves_the_turn(error: BaseException) -> None:
    def rude(context: df.DurableEntityContext) -> None:
        raise error

    assert isinstance(call(world(False, rude), "@rude@a", "any").event, EntityOperationFailed)


def test_a_state_that_cannot_be_stored_fails_the_operation_that_set_it(evict: bool) -> None:
    def bad(context: df.DurableEntityContext) -> None:
        context.set_state(object() if context.operation_name == "bad" else 1)

    here = world(evict, bad)
    here.signal("@bad@a", "good")
    answer = call(here, "@bad@a", "bad").event
    assert isinstance(answer, EntityOperationFailed)
    assert answer.failure.type == "perdure.SerializationError"
    assert here.state("@bad@a") == 1


@pytest.mark.parametrize("operation", ["delete", "destruct"])
def test_a_deleted_entity_leaves_no_row(evict: bool, operation: str) -> None:
    here = world(evict)
    here.signal("@counter@a", "add", 1)
    turn = here.signal("@counter@a", operation)
    assert turn.vacated
    assert "@counter@a" not in here.stored
    here.signal("@counter@a", "add", 5)
    assert here.state("@counter@a") == 5, "the deleted state came back"


def test_an_entity_that_was_only_looked_at_leaves_no_row(evict: bool) -> None:
    here = world(evict)
    here.signal("@counter@a", "get")
    turn = here.signal("@counter@a", "nothing")
    assert not turn.vacated, "there was nothing to delete"
    assert here.stored == {}


def test_newly_constructed_is_true_exactly_once(evict: bool) -> None:
    seen: list[bool] = []

    def entity(context: df.DurableEntityContext) -> None:
        seen.append(context.is_newly_constructed)
        if context.operation_name == "fail":
            raise ValueError
        if context.operation_name == "delete":
            context.delete_state()
        else:
            context.set_state(1)

    here = world(evict, entity)
    for operation in ("fail", "set", "set", "delete", "set", "set"):
        here.signal("@entity@a", operation)
    assert seen == [True, True, False, False, True, False], "a failed operation creates nothing; a deleted entity is new again"


def test_changing_the_state_object_in_place_changes_the_state(evict: bool) -> None:
    def basket(context: df.DurableEntityContext) -> None:
        state = context.get_state(dict)
        if context.is_newly_constructed:
            context.set_state(state)
        state[context.get_input()] = True
        if context.operation_name == "fail":
            raise ValueError

    here = world(evict, basket)
    here.signal("@basket@a", "put", "x")
    here.signal("@basket@a", "put", "y")
    here.signal("@basket@a", "fail", "z")
    assert here.state("@basket@a") == {"x": True, "y": True}


def test_what_the_function_returns_is_the_result_unless_one_was_set(evict: bool) -> None:
    def both(context: df.DurableEntityContext) -> str:
        if context.operation_name == "set":
            context.set_result("set")
        return "returned"

    here = world(evict, both)
    assert call(here, "@both@a", "set").event == EntityOperationCompleted(7, '"set"')
    assert call(here, "@both@a", "return").event == EntityOperationCompleted(7, '"returned"')


def test_a_coroutine_function_runs_to_its_end(evict: bool) -> None:
    async def inner() -> int:
        return 3

    async def slow(context: df.DurableEntityContext) -> None:
        context.set_state(await inner())

    here = world(evict, slow)  # type: ignore[arg-type]
    here.signal("@slow@a", "go")
    assert here.state("@slow@a") == 3


def test_waiting_for_something_real_is_an_error_and_leaves_no_coroutine_behind() -> None:
    closed: list[bool] = []

    class Never:
        def __await__(self) -> Any:
            yield self

    async def waits(context: df.DurableEntityContext) -> None:
        context.set_state(1)
        try:
            await Never()
        finally:
            closed.append(True)

    here = world(False, waits)  # type: ignore[arg-type]
    answer = call(here, "@waits@a", "go").event
    assert isinstance(answer, EntityOperationFailed)
    assert answer.failure.type == "perdure.EntityWaitedError"
    assert "awaited something (Never)" in answer.failure.message
    assert closed == [True]
    assert here.stored == {}


def test_a_generator_function_is_an_error() -> None:
    def yields(context: df.DurableEntityContext) -> Any:
        yield 1

    answer = call(world(False, yields), "@yields@a", "go").event
    assert isinstance(answer, EntityOperationFailed)
    assert "can't yield" in answer.failure.message


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_scheduled_signal_waits_for_its_time_and_is_applied_once(evict: bool) -> None:
    here = world(evict)
    due = here.now_us + 10 * SECOND
    turn = here.signal("@counter@a", "add", 1, at=due)
    assert turn.projection_changed
    assert here.wakes["@counter@a"] == due
    here.now_us = due - 1
    here.turn("@counter@a")
    assert here.state("@counter@a") is None
    here.now_us = due
    here.settle()
    here.turn("@counter@a")
    assert here.state("@counter@a") == 1
    assert here.wakes["@counter@a"] is None


def test_scheduled_signals_come_in_the_order_of_their_times(evict: bool) -> None:
    def log(context: df.DurableEntityContext) -> None:
        context.set_state([*context.get_state(list), context.get_input()])

    here = world(evict, log)
    start = here.now_us
    for offset, name in ((3, "c"), (1, "a"), (3, "d"), (2, "b")):
        here.signal("@log@a", "add", name, at=start + offset * SECOND)
    here.now_us = start + 5 * SECOND
    here.signal("@log@a", "add", "now")
    assert here.state("@log@a") == ["a", "b", "c", "d", "now"]


def test_a_signal_for_the_past_is_applied_at_once(evict: bool) -> None:
    here = world(evict)
    here.signal("@counter@a", "add", 1, at=here.now_us - 1)
    assert here.state("@counter@a") == 1


def test_an_entity_that_only_has_signals_to_come_has_no_state_but_a_row(evict: bool) -> None:
    here = world(evict)
    here.signal("@counter@a", "get", at=here.now_us + SECOND)
    assert here.saved("@counter@a").state is None
    assert here.stored["@counter@a"]
    here.now_us += SECOND
    here.settle()
    assert here.stored == {}


# --- what it sets off -------------------------------------------------------------------------------------------------


def test_entities_signal_each_other_in_order_also_later(evict: bool) -> None:
    def relay(context: df.DurableEntityContext) -> None:
        for number in range(3):
            context.signal_entity(df.EntityId("Counter", "a"), "add", number)
        context.signal_entity("@counter@a", "add", 100, signal_time=timedelta(seconds=1))

    here = world(evict, relay, counter)
    here.signal("@relay@a", "go")
    here.settle()
    assert here.state("@counter@a") == 3
    here.now_us += SECOND
    here.settle()
    assert here.state("@counter@a") == 103


def test_an_entity_starts_an_orchestration_but_not_if_it_fails(evict: bool) -> None:
    def starter(context: df.DurableEntityContext) -> None:
        made = context.start_new("greet", client_input=context.entity_key)
        other = context.schedule_new_orchestration("Greet", "you", instance_id="fixed")
        context.set_result([made, other])
        if context.operation_name == "fail":
            raise ValueError

    def greet(context: df.DurableOrchestrationContext) -> str:
        return f"hello {context.get_input()}"

    here = world(evict, starter)
    here.app.orchestrator(greet)
    turn = here.turn("@starter@me", Message("@starter@me", EntityOperationCalled("@starter@me", "go", 7, None, CALLER)))
    started = [message for message in turn.messages if isinstance(message.event, ExecutionStarted)]
    del here.channels["@starter@me", "caller"]
    here.settle()
    assert here.output(started[0].instance_id) == "hello me"
    assert here.output("fixed") == "hello you"
    assert len({message.event.execution_id for message in started}) == 2  # type: ignore[union-attr]
    failed = here.turn("@starter@me", Message("@starter@me", EntityOperationCalled("@starter@me", "fail", 7, None, CALLER)))
    assert len(failed.messages) == 1


def test_an_unknown_orchestrator_fails_the_operation(evict: bool) -> None:
    def starter(context: df.DurableEntityContext) -> None:
        context.start_new("nobody")

    answer = call(world(evict, starter), "@starter@a", "go").event
    assert isinstance(answer, EntityOperationFailed)
    assert answer.failure.type == "perdure.OrchestratorNotRegisteredError"


# --- without the code -------------------------------------------------------------------------------------------------


def test_a_call_of_an_entity_that_never_was_is_answered(evict: bool) -> None:
    here = world(evict)
    answer = call(here, "@unknown@a", "go").event
    assert isinstance(answer, EntityOperationFailed)
    assert answer.failure.type == "perdure.EntityNotRegisteredError"
    assert "Registered: counter" in answer.failure.message
    assert here.stored == {}


def test_an_entity_whose_code_is_gone_keeps_what_arrives_until_it_is_back() -> None:
    here = world(True)
    here.signal("@counter@a", "add", 1)
    entities, here.app.entities = here.app.entities, {}
    here.signal("@counter@a", "add", 2)
    assert here.saved("@counter@a").state == "1"
    assert here.wakes["@counter@a"] is not None, "nobody would wake it when its code is back"
    here.app.entities = entities
    here.signal("@counter@a", "add", 3)
    assert here.state("@counter@a") == 6


def test_a_passive_engine_records_signals_and_an_active_one_applies_them() -> None:
    here = world(True)
    entity = here.hydrated("@counter@a")
    for number in (1, 2):
        message = Message("@counter@a", EntityOperationCalled("@counter@a", "add", 7, str(number), CALLER))
        turn = entity.turn([message], here.now_us, idle=True)
        here.store("@counter@a", entity, turn)
        assert not turn.messages
    here.wakes["@counter@a"] = entity.wake_at
    here.channels.clear()
    here.turn("@counter@a")
    assert here.state("@counter@a") == 3


def test_a_release_does_not_overtake_the_operations_that_its_sender_left_without_code() -> None:
    here = world(True)
    parent = ParentLink("owner", "execution", 0, 1)
    here.turn("@journal@a", Message("@journal@a", EntityLockRequested(1, "s", ("@journal@a",), parent=parent)))
    here.signal("@journal@a", "of somebody else")
    entities, here.app.entities = here.app.entities, {}
    for event in (
        EntityOperationSignaled("@journal@a", "own", sender="owner"),
        EntityUnlockSent("@journal@a", "s", following=("@journal@b",)),
        EntityUnlockSent("@journal@a", "s", following=("@journal@b",)),
        EntityOperationSignaled("@journal@a", "own, later", sender="owner"),
    ):
        here.turn("@journal@a", Message("@journal@a", event))
    assert here.saved("@journal@a").lock is not None
    assert here.wakes["@journal@a"] is not None, "nobody would wake it when its code is back"
    here.app.entities = entities
    here.channels.clear()
    here.turn("@journal@a")
    assert here.state("@journal@a") == ["own", "of somebody else", "own, later"]
    assert here.saved("@journal@a").lock is None


def test_what_comes_to_wait_is_added_and_not_all_of_it_written_again(evict: bool) -> None:
    here = world(evict)
    parent = ParentLink("owner", "execution", 0, 1)
    here.signal("@journal@a", "first")
    here.turn("@journal@a", Message("@journal@a", EntityLockRequested(1, "s", ("@journal@a",), parent=parent)))
    turns = [here.signal("@journal@a", f"{number}") for number in range(3)]
    assert [turn.reset for turn in turns] == [False] * 3
    (_, base), (_, first), *_, (_, last) = here.stored["@journal@a"]
    assert first == (
        b'[{"type":"EntityBacklogExtended","before":0,"waiting":[{"type":"EntityOperationSignaled","entity":"@journal@a","operation":"0"}]}]'
    )
    assert summary("@journal@a", base, last) == EntitySummary('["first"]', EntityLock("s", "owner"), 3)
    assert here.turn("@journal@a", Message("@journal@a", EntityUnlockSent("@journal@a", "s"))).reset
    assert here.state("@journal@a") == ["first", "0", "1", "2"]
    assert len(here.stored["@journal@a"]) == 1


def test_a_backlog_with_a_hole_is_found_out() -> None:
    segments = [encode_segment((EntityStateSaved("1"),)), encode_segment((EntityBacklogExtended(1, ()),))]
    with pytest.raises(EngineInvariantError, match="EntityBacklogExtended that doesn't follow"):
        fold_entity("@journal@a", segments)


def test_an_orchestrations_event_at_an_entity_is_a_bug_of_perdures() -> None:
    with pytest.raises(EngineInvariantError, match="EventRaised was sent to entity"):
        world(False).turn("@counter@a", Message("@counter@a", EventRaised("x")))


def test_the_context_is_there_during_an_operation_and_not_after() -> None:
    seen: list[str] = []

    def curious(context: df.DurableEntityContext) -> None:
        seen.append(str(df.entity_context().entity_id))

    world(False, curious).signal("@curious@Key", "go")
    assert seen == ["@curious@Key"]
    with pytest.raises(df.NoEntityOperationError):
        df.entity_context()


def test_the_context_tells_who_it_is() -> None:
    seen: list[Any] = []

    def who(context: df.DurableEntityContext) -> None:
        seen.extend((context.entity_name, context.entity_key, context.operation_name, context.get_input()))

    world(False, who).signal("@who@Some@Key", "Do", {"a": 1})
    assert seen == ["who", "Some@Key", "Do", {"a": 1}]


def test_its_stored_form_is_one_event() -> None:
    here = world(False)
    here.signal("@counter@a", "add", 2)
    ((_, data),) = here.stored["@counter@a"]
    assert data == b'[{"type":"EntityStateSaved","state":"2"}]'
    assert isinstance(here.live["@counter@a"], Entity)
    assert here.live["@counter@a"].durable == EntityStateSaved("2")


def test_its_whole_stored_form_is_frozen() -> None:
    """Bytes that an earlier release has written must stay readable, so whoever changes this needs a way to read the old form."""
    stored = (
        b'[{"type":"EntityStateSaved","state":"[1]","lock":{"critical_section_id":"s","owner":"i"},"waiting":['
        b'{"type":"EntityOperationSignaled","entity":"@log@a","operation":"add","input":"2","sender":"j"},'
        b'{"type":"EntityOperationCalled","entity":"@log@a","operation":"add","task_id":4,"input":"3","parent":'
        b'{"instance_id":"k","execution_id":"e","generation":0,"task_id":4}},'
        b'{"type":"EntityLockRequested","task_id":5,"critical_section_id":"t","lock_set":["@a@a","@log@a"],"position":1,"parent":'
        b'{"instance_id":"k","execution_id":"e","generation":0,"task_id":5}}],"scheduled":['
        b'{"type":"EntityOperationSignaled","entity":"@log@a","operation":"add","input":"9","scheduled_time":99}]}]'
    )
    parent = ParentLink("k", "e", 0, 4)
    (event,) = decode_segment(stored)
    assert event == EntityStateSaved(
        "[1]",
        EntityLock("s", "i"),
        (
            EntityOperationSignaled("@log@a", "add", input="2", sender="j"),
            EntityOperationCalled("@log@a", "add", 4, "3", parent),
            EntityLockRequested(5, "t", ("@a@a", "@log@a"), 1, ParentLink("k", "e", 0, 5)),
        ),
        (EntityOperationSignaled("@log@a", "add", input="9", scheduled_time=99),),
    )
    assert encode_segment([event]) == stored
