"""A bank of entities in a troubled world: money that must not change its sum, and a ledger that must have every entry once."""

import asyncio
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import perdure as df
from perdure.core.entity_id import is_entity
from perdure.core.entity_saved import fold_entity
from perdure.core.status import TERMINAL_STATUSES
from tests.simulation.world import Machine, World

ACCOUNTS = "abcd"
START = 100
Transfer = dict[str, Any]
"""``{"from": key, "to": key, "amounts": [one per round], "slow": seconds in the critical section}``."""


def account(context: df.DurableEntityContext) -> int:
    """An account without money isn't there at all, so that entities come and go all the time."""
    balance: int = context.get_state(lambda: 0)
    amount = context.get_input()
    if context.operation_name == "withdraw" and amount > balance:
        raise ValueError("not enough")
    balance += amount if context.operation_name == "deposit" else -amount
    context.set_state(balance or None)
    return balance


def ledger(context: df.DurableEntityContext) -> None:
    """Entries by sender, in the order of their arrival. Passes every one on to a copy."""
    entries: dict[str, list[int]] = context.get_state(dict)
    sender, number = context.get_input()
    context.set_state({**entries, sender: [*entries.get(sender, []), number]})
    if context.operation_name == "note":
        context.signal_entity(df.EntityId("ledger", f"copy of {context.entity_key}"), "copy", [sender, number])


def blink(context: df.DurableEntityContext) -> None:
    """Comes to be and is gone again with every other operation, and passes each on."""
    context.set_state(True if context.is_newly_constructed else None)
    context.signal_entity(df.EntityId("ledger", "main"), "note", context.get_input())


def fund(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
    """The only source of money."""
    yield context.task_all([context.call_entity(df.EntityId("account", key), "deposit", START) for key in ACCOUNTS])


def transfer(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
    """One round per generation: moves an amount from one account to another, and notes what it does, now and later."""
    plan = context.get_input()
    source, target = df.EntityId("account", plan["from"]), df.EntityId("account", plan["to"])
    book, noted, moved = df.EntityId("ledger", "main"), plan.get("noted", 0), plan.get("moved", 0)
    amount, *rest = plan["amounts"]
    me = context.instance_id
    context.signal_entity(book, "note", [me, noted])
    context.signal_entity(df.EntityId("ledger", "late"), "late", [f"{me}/{noted}", 0], signal_time=timedelta(seconds=30))
    for number in range(2):
        context.signal_entity(df.EntityId("blink", "x"), "go", [f"blink of {me}", 2 * noted // 3 + number])
    yield context.call_activity("pause")
    with (yield context.lock_entities(target, source)):
        context.signal_entity(book, "note", [me, noted + 1])
        try:
            yield context.call_entity(source, "withdraw", amount)
        except df.TaskFailedError:
            pass
        else:
            if plan["slow"]:
                yield context.create_timer(timedelta(seconds=plan["slow"]))
            yield context.call_entity(target, "deposit", amount)
            moved += amount
    yield context.call_entity(book, "note", [me, noted + 2])
    if rest:
        context.continue_as_new(plan | {"amounts": rest, "noted": noted + 3, "moved": moved})
        return None
    return moved


def hold(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
    """Locks accounts and does nothing with them, until somebody ends it."""
    with (yield context.lock_entities(*(df.EntityId("account", key) for key in context.get_input()))):
        yield context.wait_for_external_event("never")


def build_bank(world: World, machine: Machine) -> df.DFApp:
    """The application."""
    app = df.DFApp()

    @app.activity_trigger(input_name="value")
    async def pause(value: None) -> None:
        del value
        await machine.sleep(world.luck.choice([0, 0, 0.01, 1]))

    for function in (account, ledger, blink):
        app.entity_trigger(context_name="context")(function)
    for orchestrator in (fund, transfer, hold):
        app.orchestration_trigger(context_name="context")(orchestrator)
    return app


class Bank:
    """What clients do with it, and what must hold in the end."""

    def __init__(self, world: World, transfers: int) -> None:
        self._world = world
        luck = world.luck
        self._plans: dict[str, Transfer] = {}
        for number in range(transfers):
            source, target = luck.sample(ACCOUNTS, 2)
            amounts = [luck.choice([1, 50, START, 3 * START]) for _ in range(luck.choice([1, 1, 2, 4]))]
            slow = luck.choice([0, 0, 0.01, 5])
            self._plans[f"t{number}"] = {"from": source, "to": target, "amounts": amounts, "slow": slow}

    async def live(self) -> None:
        """Funds the accounts, then runs everything at once."""
        await self._start("fund", "fund", None)
        await self._end("fund")
        holding = self._world.luck.random() < 0.5
        await asyncio.gather(*(self._run(name, plan) for name, plan in self._plans.items()), self._hold(holding))

    async def check(self) -> None:
        """After everything has ended."""
        facts, data = self._world.facts, self._world.data
        store = self._world.store()
        await store.open()
        entities = {
            name: fold_entity(name, [segment.events for segment in await store.history(name)])
            for name in data.instances
            if is_entity(name)
        }
        for name, content in entities.items():
            facts.check(content.lock is None, f"{name} is still locked: {content.lock}")
            facts.check(not content.waiting and not content.scheduled, f"{name}: something is left waiting")
            facts.check(content.state is not None, f"{name} is empty, but has a row")
        money = sum(int(content.state or 0) for name, content in entities.items() if name.startswith("@account@"))
        facts.check(money == START * len(ACCOUNTS), f"{money} instead of {START * len(ACCOUNTS)}")
        for book in ("main", "copy of main"):
            state = (await self._world.ask(lambda client: client.read_entity_state(df.EntityId("ledger", book)))).entity_state  # noqa: B023
            for name, plan in self._plans.items():
                wanted = list(range(3 * len(plan["amounts"])))
                facts.check(state.get(name) == wanted, f"{book}, {name}: {state.get(name)} instead of {wanted}")
                blinks, seen = list(range(2 * len(plan["amounts"]))), state.get(f"blink of {name}")
                facts.check(seen == blinks, f"{book}, blink of {name}: {seen} instead of {blinks}")
        late = (await self._world.ask(lambda client: client.read_entity_state(df.EntityId("ledger", "late")))).entity_state
        wanted_late = {f"{name}/{3 * n}": [0] for name, plan in self._plans.items() for n in range(len(plan["amounts"]))}
        facts.check(late == wanted_late, f"delayed signals: {late}")

    def left_open(self) -> list[str]:
        """What should be finished and is not."""
        rows = [instance.row for instance in self._world.data.instances.values()]
        running = [row.instance_id for row in rows if not is_entity(row.instance_id) and row.status not in TERMINAL_STATUSES]
        waking = [row.instance_id for row in rows if is_entity(row.instance_id) and (row.wake_at is not None or row.pending)]
        return [*running, *waking, *self._world.data.messages]

    async def _run(self, name: str, plan: Transfer) -> None:
        await asyncio.sleep(self._world.luck.choice([0, 0, 0.02, 1]))
        await self._start("transfer", name, plan)
        await self._end(name)

    async def _hold(self, wanted: bool) -> None:
        if wanted:
            await self._start("hold", "hold", self._world.luck.sample(ACCOUNTS, 3))
            await asyncio.sleep(self._world.luck.choice([0, 0.01, 0.5, 3]))
            await self._world.ask(lambda client: client.terminate("hold"))

    async def _start(self, orchestrator: str, instance_id: str, input_: Any) -> None:
        policy = df.ReusePolicy.RETURN_EXISTING
        await self._world.ask(lambda client: client.start_new(orchestrator, instance_id, input_, reuse_policy=policy))

    async def _end(self, instance_id: str) -> None:
        status = await self._world.ask(lambda client: client.wait_for_completion(instance_id))
        completed = status.runtime_status is df.OrchestrationRuntimeStatus.Completed
        self._world.facts.check(completed, f"{instance_id}: {status.runtime_status} {status.output}")
