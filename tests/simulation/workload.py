"""Random programs, the orchestrator that runs them, and the plain Python that says what must come out."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import perdure as df
from perdure.core.status import TERMINAL_STATUSES
from tests.simulation.world import Machine, World

Status = df.OrchestrationRuntimeStatus
Program = dict[str, Any]
"""``{"run": unique number, "acc": start value, "rounds": generations, "ops": [[operation, argument], ...]}``."""

_RETRY = df.RetryOptions(100, 4, backoff_coefficient=2.0)


# --- programs and their meaning -------------------------------------------------------------------------------------


def step(value: int) -> int:
    """What the activity ``work`` does."""
    return (value * 31 + 7) % 1_000_003


def random_program(luck: random.Random, run: int, depth: int = 0, *, pauses: Sequence[float]) -> Program:
    """Anything that an orchestration may do, in any order."""
    operations = ["chain", "fan", "timer", "fail", "retry", "race", "event", "both"] + ["sub", "subs"] * (depth < 2)
    ops: list[list[Any]] = []
    for _ in range(luck.randint(1, 4)):
        match luck.choice(operations):
            case "chain":
                ops.append(["chain", luck.randint(1, 4)])
            case "fan":
                ops.append(["fan", luck.randint(0, 6)])
            case "timer":
                ops.append(["timer", luck.choice(pauses)])
            case "retry":
                ops.append(["retry", luck.randint(1, 5)])
            case "race":
                ops.append(["race", luck.choice([0, 0.05, 5])])
            case "event" if depth == 0:
                ops.append(["event", luck.choice(["go", "stop"])])
            case "sub":
                ops.append(["subs", [random_program(luck, run, depth + 1, pauses=pauses)]])
            case "subs":
                ops.append(["subs", [random_program(luck, run, depth + 1, pauses=pauses) for _ in range(3)]])
            case other:
                ops.append([other if other != "event" else "fail", 1])
    rounds = luck.choice([0, 0, 1, 3] if depth == 0 else [0, 0, 0, 1])
    return {"run": run, "acc": luck.randint(0, 99), "rounds": rounds, "ops": ops}


def outcome(program: Program) -> int:
    """The result of a program."""
    acc = program["acc"]
    for _ in range(program["rounds"] + 1):
        for operation, argument in program["ops"]:
            match operation:
                case "chain":
                    for _ in range(argument):
                        acc = step(acc)
                case "fan":
                    acc = sum([step(acc + number) for number in range(argument)], acc)
                case "fail":
                    acc += 1000
                case "retry":
                    acc += step(argument) if argument <= 4 else 5000
                case "event":
                    acc += 7
                case "both":
                    acc += step(acc)
                case "subs":
                    acc += sum(outcome(child) for child in argument)
                case _:
                    pass
    return acc


def events_of(program: Program) -> list[str]:
    """The events that it waits for, in order."""
    return [argument for operation, argument in program["ops"] if operation == "event"] * (program["rounds"] + 1)


# --- the application ------------------------------------------------------------------------------------------------


def interpret(context: df.DurableOrchestrationContext):
    """Runs a program, one generation per round."""
    program = context.get_input()
    acc, seen = program["acc"], program.get("seen", 0)
    context.set_custom_status({"rounds left": program["rounds"]})
    for operation, argument in program["ops"]:
        match operation:
            case "chain":
                for _ in range(argument):
                    acc = yield context.call_activity("work", acc)
            case "fan":
                results = yield context.task_all([context.call_activity("work", acc + number) for number in range(argument)])
                acc = sum(results, acc)
            case "timer":
                before = context.current_utc_datetime
                yield context.create_timer(timedelta(seconds=argument))
                if context.current_utc_datetime < before + timedelta(seconds=argument):
                    raise AssertionError("woken too early")
            case "fail":
                try:
                    yield context.call_activity("fail", acc)
                except df.TaskFailedError:
                    acc += 1000
            case "retry":
                try:
                    acc += yield context.call_activity_with_retry("flaky", _RETRY, argument)
                except df.TaskFailedError:
                    acc += 5000
            case "race":
                timer = context.create_timer(timedelta(seconds=argument))
                work = context.call_activity("work", acc)
                winner = yield context.task_any([work, timer])
                if winner == work:
                    timer.cancel()
                elif argument:
                    yield work  # a loser's result is still there to be had
            case "event":
                # Whoever raises events repeats those whose outcome is unknown.
                while (number := (yield context.wait_for_external_event(argument))[1]) < seen:
                    pass
                if number != seen:
                    raise AssertionError(f"event {number} came instead of {seen}")
                seen += 1
                acc += 7
            case "both":
                work = context.call_activity("work", acc)
                timer = context.create_timer(timedelta(seconds=0.5))
                _, (result,) = yield context.task_all([timer, context.task_all([work])])
                acc += result
            case "subs":
                results = yield context.task_all([context.call_sub_orchestrator("interpret", child) for child in argument])
                acc += sum(results)
    if program["rounds"]:
        context.continue_as_new(program | {"acc": acc, "seen": seen, "rounds": program["rounds"] - 1})
        return None
    return acc


async def coroutine_interpret(context: df.DurableOrchestrationContext) -> Any:
    """The same as a coroutine."""
    generator = interpret(context)
    try:
        task = next(generator)
        while True:
            try:
                value = await task
            except df.TaskFailedError as error:
                task = generator.throw(error)
            else:
                task = generator.send(value)
    except StopIteration as stop:
        return stop.value
    finally:
        generator.close()


def build_app(world: World, machine: Machine) -> df.DFApp:
    """The application on one machine. Its activities check that they may run."""
    app = df.DFApp()
    orchestrator = world.luck.choice([interpret, coroutine_interpret])  # each redeployment may change the style
    app.orchestration_trigger(context_name="context", orchestration="interpret")(orchestrator)

    async def begin(name: str) -> None:
        context = df.activity_context()
        execution_id, generation, _ = context.idempotency_key.rsplit("-", 2)
        key = (context.instance_id, execution_id, int(generation), context.task_id)
        if not machine.dead:
            world.facts.check(key in world.facts.scheduled, f"activity {name} of {key} started before its commit was durable")
            again = machine is world.machine and world.facts.completed[key]
            world.facts.check(not again, f"activity {name} of {key} runs again although its result is durable")
        await machine.sleep(world.luck.choice([0, 0, 0.01, 1]))
        world.has_run(key)

    @app.activity_trigger(input_name="value")
    async def work(value: int) -> int:
        await begin("work")
        return step(value)

    @app.activity_trigger(input_name="value")
    async def fail(value: int) -> int:
        await begin("fail")
        raise ValueError(f"no {value}")

    @app.activity_trigger(input_name="value")
    async def flaky(value: int) -> int:
        await begin("flaky")
        attempt = df.activity_context().attempt
        if attempt < value:
            raise ValueError(f"attempt {attempt}")
        return step(value)

    return app


# --- clients --------------------------------------------------------------------------------------------------------


class Client:
    """Takes one instance through its life, and doesn't believe a word that isn't durable."""

    def __init__(self, world: World, instance_id: str, pauses: Sequence[float] = (0, 0.01, 1, 30, 90)) -> None:
        """``pauses``: seconds that orchestrations wait for."""
        self._world = world
        self._pauses = pauses
        self._facts = world.facts
        self._luck = world.luck
        self._id = instance_id

    async def live(self, runs: int) -> None:
        """Several programs one after the other under the same id."""
        for run in range(runs):
            program = random_program(self._luck, run, pauses=self._pauses)
            last = run == runs - 1
            await self._start(program, replace=run > 0)
            await self._pause()
            steering = [self._raise_events(program)]
            if self._luck.random() < 0.3:
                steering.append(self._suspend_and_resume())
            terminated = last and self._luck.random() < 0.2
            if terminated:
                steering.append(self._terminate())
            if last or self._luck.random() < 0.5:
                await asyncio.gather(*steering, self._see_the_end(program, may_be_terminated=terminated))
            else:
                for unwanted in steering:
                    unwanted.close()  # it will be replaced while it runs
        if self._luck.random() < 0.3:
            await self._purge()

    async def _start(self, program: Program, *, replace: bool) -> None:
        policy = df.ReusePolicy.REPLACE if replace else df.ReusePolicy.RETURN_EXISTING
        await self._world.ask(lambda client: client.start_new("interpret", self._id, program, reuse_policy=policy))
        durable = any(f'"run":{program["run"]},' in text for text in self._facts.started.get(self._id, set()))
        self._facts.check(durable, f"{self._id}: start acknowledged, not durable")

    async def _raise_events(self, program: Program) -> None:
        for number, name in enumerate(events_of(program)):
            await self._pause()
            payload = [program["run"], number]
            try:
                await self._world.ask(lambda client: client.raise_event(self._id, self._any_case(name), payload))  # noqa: B023
            except df.InstanceFinishedError:
                return  # terminated
            # A turn that continues as new leaves no trace of the generation that took the event.
            durable = program["rounds"] or f"[{program['run']},{number}]" in self._facts.events.get(self._id, set())
            self._facts.check(durable, f"{self._id}: event {payload} acknowledged, not durable")

    async def _suspend_and_resume(self) -> None:
        await self._pause()
        try:
            await self._world.ask(lambda client: client.suspend(self._id))
            await self._pause()
            await self._world.ask(lambda client: client.resume(self._id))
        except df.InstanceFinishedError:
            pass

    async def _terminate(self) -> None:
        await self._pause()
        await self._world.ask(lambda client: client.terminate(self._id, "enough", recursive=True))
        self._facts.check(self._facts.ended.get(self._id), f"{self._id}: terminate acknowledged, not durable")

    async def _see_the_end(self, program: Program, *, may_be_terminated: bool) -> None:
        status = await self._world.ask(lambda client: client.wait_for_completion(self._id))
        ended = self._facts.ended.get(self._id, set())
        self._facts.check(str(status.runtime_status) in ended, f"{self._id}: {status.runtime_status} shown, not durable")
        if may_be_terminated and status.runtime_status is Status.Terminated:
            return
        found = (status.runtime_status, status.output)
        self._facts.check(found == (Status.Completed, outcome(program)), f"{self._id}: {found} instead of {outcome(program)}")

    async def _purge(self) -> None:
        await self._world.ask(lambda client: client.purge_instance_history(self._id))
        self._facts.check(self._id not in self._world.data.instances, f"{self._id}: purge acknowledged, not durable")
        status = await self._world.ask(lambda client: client.get_status(self._id))
        self._facts.check(not status, f"{self._id}: purged, but shown")

    async def _pause(self) -> None:
        await asyncio.sleep(self._luck.choice([0, 0, 0.02, 1, 20]))

    def _any_case(self, name: str) -> str:
        return self._luck.choice([name, name.upper(), name.title()])


def left_open(world: World) -> list[str]:
    """What should be finished and is not."""
    rows = [instance.row for instance in world.data.instances.values()]
    running = [f"instance {row.instance_id} is {row.status}" for row in rows if row.status not in TERMINAL_STATUSES]
    return running + [f"message {key} for {message.instance_id}" for key, message in world.data.messages.items()]
