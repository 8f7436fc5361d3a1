"""Entities through the public API, on every store, hot and evicted, called by generators and by coroutines."""

import asyncio
import copy
import dataclasses
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import perdure as df
from perdure.core.effects import CommitReceipt
from perdure.core.events import EntityLockRequested, ParentLink
from perdure.core.messages import Message
from perdure.engine import partition_loop
from perdure.engine.hooks import EngineHooks
from perdure.store.contract import Commit
from perdure.store.memory import MemoryData, MemoryStore
from perdure.testing.virtual_clock import VirtualClock, run_simulation
from tests.e2e.lab import Lab, real_scenario, scenario, until

Status = df.OrchestrationRuntimeStatus


def counter(context: df.DurableEntityContext) -> None:
    number = context.get_state(lambda: 0)
    match context.operation_name:
        case "add":
            context.set_state(number + context.get_input())
        case "get":
            context.set_result(number)
        case "fail":
            raise ValueError("on purpose")
        case _:
            context.delete_state()


def log(context: df.DurableEntityContext) -> Any:
    if context.operation_name != "read":
        context.set_state([*context.get_state(list), context.get_input()])
    return context.get_state(list)


@dataclasses.dataclass
class Account:
    balance: int = 0

    def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    def withdraw(self, amount: int) -> int:
        if amount > self.balance:
            raise ValueError("not enough money")
        self.balance -= amount
        return self.balance


def entities(lab: Lab) -> None:
    for function in (counter, log):
        lab.app.entity_trigger(context_name="context")(function)
    lab.app.entity(Account)


async def settled(check: Callable[[], Any]) -> Any:
    """Waits until ``check()`` (a coroutine function) gives something true. Time is virtual."""
    for _ in range(1000):
        found = await check()
        if found:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("it never happens")


@scenario
async def test_signals_are_durable_and_applied_in_order(lab: Lab) -> None:
    entities(lab)
    async with lab.hub() as hub:
        for number in range(20):
            await hub.client.signal_entity(df.EntityId("Log", "a"), "add", number)
        await asyncio.gather(*(hub.client.signal_entity("@counter@a", "add", number) for number in range(20)))
    async with lab.hub() as hub:
        assert (await hub.client.read_entity_state("@log@a")).entity_state == list(range(20))
        assert await hub.client.read_entity_state(df.EntityId("COUNTER", "a")) == df.EntityStateResponse(True, 190)
        assert await hub.client.read_entity_state("@counter@A") == df.EntityStateResponse(False, None)


@scenario
async def test_orchestrations_call_and_signal_with_types(lab: Lab) -> None:
    entities(lab)

    def orchestrate(context: df.DurableOrchestrationContext) -> Any:
        account = df.EntityId("Account", "me")
        context.signal_entity(account, "deposit", 5)
        first = yield context.call_entity(account, "deposit", 5)
        try:
            yield context.call_entity(account, "withdraw", 100)
        except df.TaskFailedError as error:
            refused = [error.is_caused_by(ValueError), error.details.message]
        last = yield context.call_entity(account, "withdraw", 1)
        return [first, refused, last]

    lab.orchestrator(orchestrate)
    async with lab.hub() as hub:
        status = await hub.client.wait_for_completion(await hub.client.start_new("orchestrate"), 10)
        assert status.output == [10, [True, "not enough money"], 9]
        assert (await hub.client.read_entity_state("@account@me", Account)).entity_state == Account(9)


@scenario
async def test_money_is_neither_made_nor_lost_by_concurrent_transfers(lab: Lab) -> None:
    entities(lab)

    def transfer(context: df.DurableOrchestrationContext) -> Any:
        source, target, amount = context.get_input()
        a, b = df.EntityId("account", source), df.EntityId("account", target)
        with (yield context.lock_entities(a, b)):
            try:
                yield context.call_entity(a, "withdraw", amount)
            except df.TaskFailedError:
                return False
            yield context.create_timer(timedelta(milliseconds=1))
            yield context.call_entity(b, "deposit", amount)
        return True

    lab.orchestrator(transfer)
    async with lab.hub() as hub:
        for key in "abcd":
            await hub.client.signal_entity(df.EntityId("account", key), "deposit", 100)
        pairs = [(x, y, 7 * n % 90 + 1) for n, (x, y) in enumerate((x, y) for x in "abcd" for y in "abcd" if x != y)]
        ids = [await hub.client.start_new("transfer", client_input=pair) for pair in pairs]
        done = [await hub.client.wait_for_completion(one, 60) for one in ids]
        assert {status.runtime_status for status in done} == {Status.Completed}
        page = await hub.client.list_entities("account", fetch_state=True)
        assert sum(entity.state["balance"] for entity in page.entities) == 400

        async def all_released() -> bool:  # what ends an orchestration reaches the entities only behind that
            page = await hub.client.list_entities("account")
            return all(entity.locked_by is None and entity.backlog == 0 for entity in page.entities)

        await until(all_released)


@scenario
async def test_delayed_signals_survive_a_restart_and_come_in_time(lab: Lab) -> None:
    entities(lab)
    assert lab.clock is not None
    async with lab.hub() as hub:
        await hub.client.signal_entity("@counter@a", "add", 1, signal_time=timedelta(hours=1))
        await hub.client.signal_entity("@counter@a", "add", 10, signal_time=_in(lab, hours=2))
        assert not (await hub.client.read_entity_state("@counter@a")).entity_exists
        assert (await hub.client.list_entities()).entities == [], "an entity without state doesn't exist"
    async with lab.hub() as hub:
        await asyncio.sleep(3590)
        assert not (await hub.client.read_entity_state("@counter@a")).entity_exists
        await asyncio.sleep(20)
        assert (await hub.client.read_entity_state("@counter@a")).entity_state == 1
        await asyncio.sleep(3600)
        assert (await hub.client.read_entity_state("@counter@a")).entity_state == 11


def _in(lab: Lab, **duration: int) -> datetime:
    assert lab.clock is not None
    return datetime.fromtimestamp(lab.clock.now_us() / 1e6, UTC) + timedelta(**duration)


@scenario
async def test_orchestrations_signal_later(lab: Lab) -> None:
    entities(lab)

    def remind(context: df.DurableOrchestrationContext) -> Any:
        context.signal_entity("@counter@a", "add", 1, signal_time=timedelta(minutes=5))
        context.signal_entity("@counter@a", "add", 2, signal_time=context.current_utc_datetime)
        return (yield context.call_entity("@counter@a", "get"))

    lab.orchestrator(remind)
    async with lab.hub() as hub:
        status = await hub.client.wait_for_completion(await hub.client.start_new("remind"), 10)
        assert status.output == 2
        await asyncio.sleep(301)
        assert (await hub.client.read_entity_state("@counter@a")).entity_state == 3


@scenario
async def test_entities_signal_entities_and_start_orchestrations(lab: Lab) -> None:
    entities(lab)

    @lab.app.entity_trigger(context_name="context")
    def relay(context: df.DurableEntityContext) -> None:
        for number in range(3):
            context.signal_entity(df.EntityId("log", "b"), "add", number)
        context.start_new("hello", instance_id="made-by-entity", client_input=context.entity_key)

    lab.orchestrator(hello)
    async with lab.hub() as hub:
        await hub.client.signal_entity(df.EntityId("relay", "x"), "go")
        await settled(lambda: hub.client.get_status("made-by-entity"))
        assert (await hub.client.wait_for_completion("made-by-entity", 10)).output == "hello x"
        assert (await hub.client.read_entity_state("@log@b")).entity_state == [0, 1, 2]


def hello(context: df.DurableOrchestrationContext) -> Any:
    return f"hello {context.get_input()}"
    yield


@scenario
async def test_lists_have_pages_and_filters_and_orchestration_lists_show_no_entities(lab: Lab) -> None:
    entities(lab)
    lab.orchestrator(hello)
    async with lab.hub() as hub:
        client = hub.client
        await client.start_new("hello", "first")
        for number in range(7):
            await client.signal_entity(df.EntityId("counter", f"k{number}"), "add", number)
            await asyncio.sleep(1)
        middle = _in(lab)
        await asyncio.sleep(1)
        await client.signal_entity("@counter@k2", "add", 1)
        await client.signal_entity("@log@only", "add", "x")
        found: list[df.EntityStatus] = []
        token = None
        while True:
            page = await client.list_entities("Counter", page_size=3, continuation_token=token)
            found += page.entities
            token = page.continuation_token
            if token is None:
                break
        assert [str(entity.entity_id) for entity in found] == [f"@counter@k{number}" for number in range(7)]
        assert {entity.state for entity in found} == {None}
        late = await client.list_entities(last_operation_from=middle, fetch_state=True)
        assert [(str(entity.entity_id), entity.state) for entity in late.entities] == [("@counter@k2", 3), ("@log@only", ["x"])]
        early = await client.list_entities(last_operation_to=middle)
        assert len(early.entities) == 6
        assert [status.instance_id for status in await client.get_status_all()] == ["first"]
        assert [status.instance_id for status in await client.get_status_by(instance_id_prefix="@")] == []
        assert await client.count() == {Status.Completed: 1}


@scenario
async def test_what_is_for_orchestrations_is_refused_for_entities(lab: Lab) -> None:
    entities(lab)
    lab.orchestrator(hello)
    async with lab.hub() as hub:
        client, name = hub.client, "@counter@a"
        await client.signal_entity(name, "add", 1)
        assert not await client.get_status(name)
        assert await client.purge_instance_history(name) == df.PurgeHistoryResult(0)
        for call in (client.terminate, client.suspend, client.resume, client.rewind, client.restart, client.wait_for_completion):
            with pytest.raises(df.InstanceNotFoundError):
                await call(name)
        with pytest.raises(df.InstanceNotFoundError, match="takes signals only"):
            await client.raise_event(name, "x")
        with pytest.raises(df.InvalidInstanceIdError):
            await client.start_new("hello", name)
        with pytest.raises(df.EntityNotRegisteredError, match="no entity named 'nobody'"):
            await client.signal_entity("@nobody@a", "x")
        assert (await client.read_entity_state(name)).entity_state == 1


@scenario
async def test_a_deleted_entity_is_gone_and_can_begin_anew(lab: Lab) -> None:
    entities(lab)
    async with lab.hub() as hub:
        for _ in range(3):
            await hub.client.signal_entity("@counter@a", "add", 1)
            assert (await hub.client.read_entity_state("@counter@a")).entity_state == 1
            await hub.client.signal_entity("@counter@a", "delete")
            assert not (await hub.client.read_entity_state("@counter@a")).entity_exists
        assert (await hub.client.list_entities()).entities == []
    async with lab.hub() as hub:
        await asyncio.gather(*(hub.client.signal_entity("@counter@a", name, 1) for name in ["add", "delete", "add"] * 5))
        assert (await hub.client.read_entity_state("@counter@a")).entity_state == 1


@scenario
async def test_a_failed_signal_is_told_to_the_hooks(lab: Lab) -> None:
    entities(lab)
    lost: list[tuple[str, str, str]] = []

    class Hooks(EngineHooks):
        def entity_operation_lost(self, instance_id: str, operation: str, error: str, traceback: str | None) -> None:
            assert "on purpose" in (traceback or "")
            lost.append((instance_id, operation, error))

    async with lab.hub(hooks=Hooks()) as hub:
        await hub.client.signal_entity("@counter@a", "fail")
        await hub.client.signal_entity("@counter@a", "add", 1)
        assert lost == [("@counter@a", "fail", "ValueError: on purpose")]


def holder(context: df.DurableOrchestrationContext) -> Any:
    with (yield context.lock_entities("@counter@a", "@counter@b")):
        yield context.wait_for_external_event("go")
        yield context.call_entity("@counter@a", "add", 1)
        yield context.call_entity("@counter@b", "add", 1)


@scenario
async def test_others_wait_for_the_end_of_a_critical_section_also_across_a_restart(lab: Lab) -> None:
    entities(lab)
    lab.orchestrator(holder)
    async with lab.hub() as hub:
        await hub.client.signal_entity("@counter@a", "add", 10)
        await hub.client.start_new("holder", "h")
        await settled(lambda: _locked(hub))
        await hub.client.signal_entity("@counter@a", "add", 100)
        assert (await hub.client.read_entity_state("@counter@a")).entity_state == 10
    async with lab.hub() as hub:
        (entity,) = (await hub.client.list_entities()).entities
        assert (entity.locked_by, entity.backlog) == ("h", 1)
        await hub.client.raise_event("h", "go")
        await hub.client.wait_for_completion("h", 10)
        await settled(lambda: _is(hub, "@counter@a", 111))
        assert (await hub.client.read_entity_state("@counter@b")).entity_state == 1


async def _locked(hub: df.TaskHub) -> bool:
    return [entity.locked_by for entity in (await hub.client.list_entities()).entities] == ["h"]


async def _is(hub: df.TaskHub, entity: str, state: Any) -> bool:
    return (await hub.client.read_entity_state(entity)).entity_state == state


@scenario
async def test_terminating_the_holder_or_who_waits_releases(lab: Lab) -> None:
    entities(lab)
    lab.orchestrator(holder)
    async with lab.hub() as hub:
        await hub.client.signal_entity("@counter@a", "add", 10)
        await hub.client.start_new("holder", "h")
        await settled(lambda: _locked(hub))
        await hub.client.start_new("holder", "waiting")
        await hub.client.terminate("waiting")
        await hub.client.terminate("h")
        await hub.client.signal_entity("@counter@a", "add", 1)
        await settled(lambda: _is(hub, "@counter@a", 11))
        await hub.client.start_new("holder", "next")
        await hub.client.raise_event("next", "go")
        await hub.client.wait_for_completion("next", 10)


def waits_for_go(context: df.DurableOrchestrationContext) -> Any:
    yield context.wait_for_external_event("go")


@pytest.mark.parametrize("owner", ["gone", "ended", "other-generation"])
@scenario
async def test_a_lock_for_somebody_who_does_not_want_it_any_more_is_given_back(lab: Lab, owner: str) -> None:
    """The request was still on its way from entity to entity when the orchestration ended and released them."""
    entities(lab)
    lab.orchestrator(waits_for_go)
    lab.orchestrator(hello)
    async with lab.hub() as hub:
        await hub.client.wait_for_completion(await hub.client.start_new("hello", "ended"), 10)
        await hub.client.signal_entity("@counter@a", "add", 1)
        request = EntityLockRequested(0, "section", ("@counter@a", "@counter@b"), 0, ParentLink(owner, "e", 4, 0))
        if owner == "other-generation":
            await hub.client.start_new("waits_for_go", owner)
        await hub._engine.send(Message("@counter@a", request))  # noqa: SLF001 - no client can
        await hub.client.signal_entity("@counter@a", "add", 1)
        await hub.client.signal_entity("@counter@b", "add", 1)
        await settled(lambda: _is(hub, "@counter@a", 2))
        await settled(lambda: _is(hub, "@counter@b", 1))


@scenario
async def test_orphaned_locks_can_be_released(lab: Lab) -> None:
    if lab.kind.store != "memory":
        pytest.skip("it takes a damaged store, and this test can damage only the memory one")
    entities(lab)
    lab.orchestrator(holder)
    async with lab.hub() as hub:
        await hub.client.signal_entity("@counter@a", "add", 10)
        await hub.client.start_new("holder", "h")
        await settled(lambda: _locked(hub))
    data: MemoryData = lab._data  # noqa: SLF001 - what no program can damage
    del data.instances["h"]
    async with lab.hub() as hub:
        await hub.client.signal_entity("@counter@a", "add", 1)
        assert await hub.client.clean_entity_storage(release_orphaned_locks=False) == df.CleanEntityStorageResult(0, 0)
        assert await _is(hub, "@counter@a", 10)
        assert await hub.client.clean_entity_storage() == df.CleanEntityStorageResult(0, 2)
        assert await _is(hub, "@counter@a", 11)
        assert await hub.client.clean_entity_storage() == df.CleanEntityStorageResult(0, 0)


@scenario
async def test_a_passive_hub_records_signals_and_an_active_one_applies_them(lab: Lab) -> None:
    entities(lab)
    async with lab.hub(passive=True) as hub:
        for number in range(3):
            await hub.client.signal_entity("@log@a", "add", number)
        assert not (await hub.client.read_entity_state("@log@a")).entity_exists
    async with lab.hub() as hub:
        await settled(lambda: _is(hub, "@log@a", [0, 1, 2]))


def chatty(context: df.DurableOrchestrationContext) -> Any:
    """Signals in every way there is: many in a turn, one per turn, across generations, and to entities of its own choice."""
    base, rounds = context.get_input()
    for number in range(10):
        context.signal_entity(df.EntityId("log", str(number % 3)), "add", [context.instance_id, base + number])
    yield context.create_timer(timedelta(0))
    for number in range(10, 13):
        yield context.call_entity(df.EntityId("log", str(number % 3)), "add", [context.instance_id, base + number])
    if rounds:
        context.signal_entity(df.EntityId("log", "0"), "add", [context.instance_id, base + 99])
        context.continue_as_new([base + 100, rounds - 1])


@pytest.mark.parametrize(("batch", "gathered"), [(1, 1), (3, 2), (3, 7), (1000, 5000)])
@scenario
async def test_each_senders_operations_arrive_once_and_in_order_however_small_the_batches(
    lab: Lab, batch: int, gathered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small batches postpone many messages, which later ones of the same sender must not overtake."""
    monkeypatch.setattr(partition_loop, "_MAX_GATHERED", gathered)
    entities(lab)
    lab.orchestrator(chatty)
    async with lab.hub(max_batch_turns=batch) as hub:
        ids = [await hub.client.start_new("chatty", f"s{number}", [0, 2]) for number in range(6)]
        for one in ids:
            await hub.client.wait_for_completion(one, 60)
        await settled(lambda: _complete(hub, 6 * (13 * 3 + 2)))
        for key in "012":
            entries = (await hub.client.read_entity_state(df.EntityId("log", key))).entity_state
            for one in ids:
                numbers = [number for who, number in entries if who == one]
                assert numbers == sorted(set(numbers))


def talkative(context: df.DurableOrchestrationContext) -> Any:
    for number in range(20):
        yield context.wait_for_external_event("more")
        for part in range(4):
            context.signal_entity(df.EntityId("log", str(part % 2)), "add", 4 * number + part)


@pytest.mark.parametrize(("batch", "gathered"), [(1, 1), (2, 1), (3, 2), (1000, 3)])
@scenario
async def test_nothing_overtakes_what_was_postponed(lab: Lab, batch: int, gathered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender goes on while its earlier messages still wait for their turn."""
    monkeypatch.setattr(partition_loop, "_MAX_GATHERED", gathered)
    entities(lab)
    lab.orchestrator(talkative)
    async with lab.hub(max_batch_turns=batch) as hub:
        await hub.client.start_new("talkative", "i")
        await asyncio.gather(*(hub.client.raise_event("i", "more") for _ in range(20)))
        await settled(lambda: _complete(hub, 80))
        for key in "01":
            numbers = (await hub.client.read_entity_state(df.EntityId("log", key))).entity_state
            assert numbers == sorted(numbers)


async def _complete(hub: df.TaskHub, expected: int) -> bool:
    page = await hub.client.list_entities("log", fetch_state=True)
    return sum(len(entity.state) for entity in page.entities) == expected


class Snapshots(MemoryStore):
    """Keeps what a crash after each commit would leave."""

    def __init__(self, data: MemoryData, clock: VirtualClock) -> None:
        super().__init__(data, clock=clock.now_us)
        self.taken: list[MemoryData] = []

    async def commit(self, commit: Commit) -> CommitReceipt:
        receipt = await super().commit(commit)
        self.taken.append(copy.deepcopy(self._data))
        return receipt


def blink(context: df.DurableEntityContext) -> None:
    """Exists after every other operation only, and tells of each."""
    context.set_state(True if context.is_newly_constructed else None)
    context.signal_entity(df.EntityId("log", "of blinks"), "add", context.get_input())


def blinks(context: df.DurableOrchestrationContext) -> Any:
    for number in range(7):
        context.signal_entity("@blink@x", "go", number)
        if number % 3 == 2:
            yield context.create_timer(timedelta(0))


@pytest.mark.parametrize(("batch", "gathered"), [(1, 1), (2, 1), (1, 2), (1000, 5000)])
def test_a_crash_after_any_commit_loses_nothing_and_repeats_nothing(
    batch: int, gathered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an entity is gone for a moment while more is on its way to it."""
    monkeypatch.setattr(partition_loop, "_MAX_GATHERED", gathered)
    app = df.DFApp()
    for function in (log, blink):
        app.entity_trigger(context_name="context")(function)
    app.orchestration_trigger(context_name="context")(blinks)
    settings = df.EngineSettings(max_batch_turns=batch)

    async def main(clock: VirtualClock) -> None:
        async def ends_well(store: MemoryStore) -> None:
            async with df.TaskHub(app, store, settings=settings, clock=clock) as hub:
                if await hub.client.get_status("i"):
                    await hub.client.wait_for_completion("i", 60)
                    await settled(lambda: _is(hub, "@log@of blinks", list(range(7))))
                    assert await _is(hub, "@blink@x", True)

        first = Snapshots(MemoryData(), clock)
        async with df.TaskHub(app, first, settings=settings, clock=clock) as hub:
            await hub.client.start_new("blinks", "i")
            await hub.client.wait_for_completion("i", 60)
            await settled(lambda: _is(hub, "@log@of blinks", list(range(7))))
        assert len(first.taken) >= (8 if batch == 1 else 2)
        for data in first.taken:
            await ends_well(MemoryStore(data, clock=clock.now_us))

    run_simulation(main)


@scenario
async def test_rewind_calls_failed_operations_again_but_not_out_of_a_critical_section(lab: Lab) -> None:
    broken = True

    @lab.app.entity_trigger(context_name="context")
    def moody(context: df.DurableEntityContext) -> None:
        if broken:
            raise ValueError("a bad day")
        context.set_state(context.get_state(lambda: 0) + 1)
        context.set_result("fine")

    def outside(context: df.DurableOrchestrationContext) -> Any:
        return (yield context.call_entity("@moody@a", "go"))

    def inside(context: df.DurableOrchestrationContext) -> Any:
        with (yield context.lock_entities("@moody@b")):
            return (yield context.call_entity("@moody@b", "go"))

    lab.orchestrator(outside)
    lab.orchestrator(inside)
    async with lab.hub() as hub:
        for name in ("outside", "inside"):
            await hub.client.start_new(name, name)
            assert (await hub.client.wait_for_completion(name, 10)).runtime_status is Status.Failed
        broken = False
        await hub.client.rewind("outside")
        assert (await hub.client.wait_for_completion("outside", 10)).output == "fine"
        assert await _is(hub, "@moody@a", 1)
        with pytest.raises(df.InstanceFinishedError, match="failed inside of a critical section"):
            await hub.client.rewind("inside")


@real_scenario
async def test_a_thousand_entities_and_a_hundred_senders(lab: Lab) -> None:
    entities(lab)

    def spread(context: df.DurableOrchestrationContext) -> Any:
        first = context.get_input()
        for number in range(20):
            context.signal_entity(df.EntityId("counter", str((first + number * 7) % 200)), "add", 1)
        yield context.call_entity(df.EntityId("counter", str(first)), "get")

    lab.orchestrator(spread)
    async with lab.hub() as hub:
        ids = [await hub.client.start_new("spread", client_input=number) for number in range(40)]
        for one in ids:
            await hub.client.wait_for_completion(one, 60)

        async def total() -> bool:
            page = await hub.client.list_entities("counter", fetch_state=True, page_size=1000)
            return sum(entity.state for entity in page.entities) == 800

        await settled(total)


def test_the_history_of_an_orchestration_shows_what_it_did_with_entities(lab: Lab) -> None:
    async def scene() -> None:
        entities(lab)

        def orchestrate(context: df.DurableOrchestrationContext) -> Any:
            context.signal_entity("@counter@a", "add", 1)
            with (yield context.lock_entities("@counter@a")):
                yield context.call_entity("@counter@a", "get")
            with suppress(df.TaskFailedError):
                yield context.call_entity("@counter@a", "fail", "x")

        lab.orchestrator(orchestrate)
        async with lab.hub() as hub:
            await hub.client.wait_for_completion(await hub.client.start_new("orchestrate", "i"), 10)
            status = await hub.client.get_status("i", show_history=True, show_history_output=True, show_input=True)
            varies = {"Timestamp", "ScheduledTime", "Details", "FailureDetails"}
            shown = [{key: entry[key] for key in entry if key not in varies} for entry in status.history or []]
            assert shown[1:-1] == [
                {"EventType": "EntityOperationSignaled", "EntityId": "@counter@a", "Operation": "add", "Input": 1},
                {"EventType": "EntityLockGranted", "LockSet": ["@counter@a"]},
                {
                    "EventType": "EntityOperationCompleted",
                    "EntityId": "@counter@a",
                    "Operation": "get",
                    "Input": None,
                    "Result": 1,
                },
                {"EventType": "EntityUnlockSent", "EntityId": "@counter@a"},
                {
                    "EventType": "EntityOperationFailed",
                    "EntityId": "@counter@a",
                    "Operation": "fail",
                    "Input": "x",
                    "Reason": "on purpose",
                },
            ]

    lab.run(scene, real_time=False)


def test_the_blocking_client_has_the_same_methods() -> None:
    app = df.DFApp()
    app.entity_trigger(context_name="context")(counter)
    with df.BlockingTaskHub(app) as hub:
        hub.client.signal_entity("@counter@a", "add", 3)
        assert hub.client.read_entity_state("@counter@a") == df.EntityStateResponse(True, 3)
        (entity,) = hub.client.list_entities(fetch_state=True).entities
        assert entity.state == 3
        assert hub.client.clean_entity_storage() == df.CleanEntityStorageResult(0, 0)
