"""One failure each, at the worst moment."""

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import Any

import pytest

import perdure as df
from perdure.engine.timers import Timers, Wake
from perdure.store.errors import LeaseLostError
from perdure.store.memory import MemoryData, MemoryStore
from perdure.testing.faults import Fault, FaultyStore
from perdure.testing.virtual_clock import VirtualClock, run_simulation

Context = df.DurableOrchestrationContext
Status = df.OrchestrationRuntimeStatus


class Switch:
    """A plan made by hand: the next call of a method gets the fault."""

    def __init__(self) -> None:
        self.next: dict[str, Fault] = {}

    def fault(self, method: str) -> Fault | None:
        """See ``Plan``."""
        return self.next.pop(method, None)


class Bench:
    """One hub on a store with a switch."""

    def __init__(self, clock: VirtualClock, **settings: Any) -> None:
        self.switch = Switch()
        self.data = MemoryData()
        self.clock = clock
        self.runs: list[int] = []
        self.store = FaultyStore(MemoryStore(self.data, clock=clock.now_us), self.switch)
        self.hub = df.TaskHub(self._app(), self.store, settings=df.EngineSettings(**settings), clock=clock)

    def _app(self) -> df.DFApp:
        app = df.DFApp()

        @app.orchestration_trigger(context_name="context")
        def waits(context: Context):
            return (yield context.wait_for_external_event("go"))

        @app.orchestration_trigger(context_name="context")
        def works(context: Context):
            return (yield context.call_activity("work", context.get_input()))

        @app.activity_trigger(input_name="value")
        async def work(value: int) -> int:
            self.runs.append(value)
            await asyncio.sleep(value)
            return value

        return app


def simulate(test: Any, **settings: Any) -> None:
    """Runs a test on virtual time."""

    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, **settings)
        async with bench.hub:
            await test(bench, bench.hub.client)

    run_simulation(main)


async def soon(work: Awaitable[Any], seconds: float = 60) -> Any:
    async with asyncio.timeout(seconds):
        return await work


def test_who_waits_for_an_end_learns_of_it_although_the_commit_was_reported_as_failed() -> None:
    async def test(bench: Bench, client: df.DurableClient) -> None:
        instance_id = await client.start_new("waits")
        waiting = asyncio.create_task(client.wait_for_completion(instance_id))
        await asyncio.sleep(1)
        bench.switch.next["commit"] = Fault("after")
        with pytest.raises(df.CommitFailedError):
            await client.raise_event(instance_id, "go", 1)
        assert (await soon(waiting)).output == 1

    simulate(test)


def test_who_waits_for_a_start_that_failed_learns_that_there_is_no_such_instance() -> None:
    async def test(bench: Bench, client: df.DurableClient) -> None:
        bench.switch.next["commit"] = Fault("hang")
        starting = asyncio.create_task(client.start_new("waits", "x"))
        await bench.store.hanging()
        waiting = asyncio.create_task(client.wait_for_completion("x"))
        await asyncio.sleep(0)
        bench.switch.next["load"] = Fault("before")
        asking = asyncio.create_task(client.raise_event("y", "go"))
        await asyncio.sleep(0.01)
        bench.store.let_go()
        await soon(starting)
        with pytest.raises(df.InstanceNotFoundError):
            await soon(asking)
        await client.terminate("x")
        assert (await soon(waiting)).runtime_status is Status.Terminated

    simulate(test)


def test_calls_that_wait_while_the_engine_recovers_survive_a_second_failure() -> None:
    async def test(bench: Bench, client: df.DurableClient) -> None:
        await client.start_new("waits", "x")
        bench.switch.next["commit"] = Fault("hang")
        first = asyncio.create_task(client.start_new("works", "a", 1))
        await bench.store.hanging()
        bench.switch.next |= {"load": Fault("before"), "commit": Fault("before")}
        others = [asyncio.create_task(client.raise_event("nobody", "go")), asyncio.create_task(client.start_new("works", "b", 1))]
        await asyncio.sleep(0.001)  # the load has failed, the first commit hangs, its recovery waits for it
        bench.store.let_go()
        answers = await soon(asyncio.gather(first, *others, return_exceptions=True))
        assert answers[0] == "a"
        assert isinstance(answers[1], df.InstanceNotFoundError)
        assert answers[2] == "b" or isinstance(answers[2], df.CommitFailedError)
        assert (await client.wait_for_completion("a", timeout=60)).output == 1

    simulate(test)


def test_an_engine_that_stops_while_it_recovers_answers_everybody_and_can_be_closed() -> None:
    async def test(bench: Bench, client: df.DurableClient) -> None:
        await client.start_new("waits", "x")
        bench.switch.next["load"] = Fault("before")
        asking = [asyncio.create_task(client.raise_event("nobody", "go"))]
        await asyncio.sleep(0.001)  # recovers
        asking.append(asyncio.create_task(client.raise_event("x", "other")))
        bench.switch.next["inbox"] = Fault("before", LeaseLostError)
        for call in asking:
            with pytest.raises(df.EngineStoppedError):
                await soon(call)
        with pytest.raises(df.EngineStoppedError):
            await client.start_new("waits")
        with pytest.raises(df.EngineStoppedError):
            await soon(client.wait_for_completion("x"))
        assert (await client.get_status("x")).runtime_status is Status.Running

    simulate(test)


def test_a_lost_lease_stops_the_engine_also_while_it_recovers() -> None:
    async def test(bench: Bench, client: df.DurableClient) -> None:
        await client.start_new("waits", "x")
        bench.switch.next["commit"] = Fault("hang")
        first = asyncio.create_task(client.raise_event("x", "a"))
        await bench.store.hanging()
        bench.switch.next["load"] = Fault("before")
        second = asyncio.create_task(client.raise_event("nobody", "go"))
        await asyncio.sleep(0.001)
        # Somebody else takes over, so the hanging commit will be refused.
        other = MemoryStore(bench.data, clock=bench.clock.now_us)
        hub = await other.open()
        await other.acquire(next(iter(bench.data.leases.values())).owner, range(hub.partition_count), 1)
        bench.store.let_go()
        with pytest.raises(df.CommitFailedError):
            await soon(first)
        with pytest.raises(df.EngineStoppedError):
            await soon(second)
        await asyncio.sleep(60)
        await soon(bench.hub.close())

    simulate(test)


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_activity_that_has_run_is_not_run_again_because_of_a_failed_commit(when: Any) -> None:
    async def test(bench: Bench, client: df.DurableClient) -> None:
        instance_id = await client.start_new("works", client_input=5)
        await asyncio.sleep(4)
        bench.switch.next["commit"] = Fault(when)  # the one that takes the result
        assert (await client.wait_for_completion(instance_id, timeout=60)).output == 5
        assert bench.runs == [5]

    simulate(test)


def test_a_result_that_comes_while_the_engine_recovers_is_kept() -> None:
    async def test(bench: Bench, client: df.DurableClient) -> None:
        instance_id = await client.start_new("works", client_input=1)
        await asyncio.sleep(0.99)
        bench.switch.next["load"] = Fault("before")
        with pytest.raises(df.InstanceNotFoundError):
            await client.raise_event("nobody", "go")
        assert (await client.wait_for_completion(instance_id, timeout=60)).output == 1
        assert bench.runs == [1]

    simulate(test)


def test_calls_that_wait_for_room_go_on_although_what_took_it_needed_no_commit() -> None:
    async def test(bench: Bench, client: df.DurableClient) -> None:
        await client.start_new("works", client_input=5)
        await asyncio.sleep(4)
        bench.switch.next["commit"] = Fault("after")  # so the result that is delivered again is a duplicate
        await asyncio.sleep(1.01)
        await soon(client.start_new("waits"))

    simulate(test, max_queued_messages=0)


def test_closing_keeps_results_of_instances_that_are_not_in_memory() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, max_sessions=0)
        async with bench.hub:
            instance_id = await bench.hub.client.start_new("works", client_input=5)
            await asyncio.sleep(1)
        assert (bench.data.instances[instance_id].row.status, bench.runs) == (Status.Completed, [5])

    run_simulation(main)


def test_a_refused_start_does_not_make_an_instance_forget_that_it_has_just_ended() -> None:
    async def test(bench: Bench, client: df.DurableClient) -> None:
        await client.start_new("waits", "x")
        bench.switch.next["commit"] = Fault("hang")
        other = asyncio.create_task(client.start_new("waits", "y"))
        await bench.store.hanging()
        calls = [
            asyncio.create_task(call)
            for call in (client.terminate("x"), client.start_new("waits", "x", reuse_policy=df.ReusePolicy.RAISE))
        ]
        await asyncio.sleep(0.01)  # both have had their turn, and wait for the commit behind the one that hangs
        late = asyncio.create_task(client.raise_event("x", "go"))
        await asyncio.sleep(0.01)
        bench.store.let_go()
        await soon(other)
        _, refused, finished = await soon(asyncio.gather(*calls, late, return_exceptions=True))
        assert isinstance(refused, df.InstanceAlreadyExistsError)
        assert isinstance(finished, df.InstanceFinishedError)
        assert (await client.get_status("x")).runtime_status is Status.Terminated

    simulate(test)


def test_timers_committed_while_a_page_is_read_are_not_lost() -> None:
    async def main(clock: VirtualClock) -> None:
        stored: list[Wake] = [(clock.now_us() + number * 1_000_000, f"s{number:02}") for number in range(20, 26)]
        woken: list[str] = []

        async def read(after: Wake, limit: int) -> Sequence[Wake]:
            page = sorted(entry for entry in stored if entry > after)[:limit]
            if not woken:
                for number in range(12, 1, -1):  # committed just after the store has answered
                    stored.append((clock.now_us() + number * 1_000_000, f"n{number:02}"))
                    timers.add(*stored[-1])
            return page

        timers = Timers(clock, woken.extend, read, lambda error: woken.append(repr(error)), capacity=2)
        await timers.start()
        await asyncio.sleep(3600)
        assert sorted(set(woken)) == sorted(name for _, name in stored)

    run_simulation(main)


def test_terminate_is_not_read_before_the_start_it_is_for() -> None:
    """Recovery reads messages by id: the tenth turn's must come behind the ninth's."""

    async def main(clock: VirtualClock) -> None:
        app = df.DFApp()

        @app.orchestration_trigger(context_name="context")
        def child(context: Context):
            yield context.wait_for_external_event("never")

        @app.orchestration_trigger(context_name="context")
        def parent(context: Context):
            for _ in range(9):
                yield context.wait_for_external_event("go")
            yield context.call_sub_orchestrator("child", instance_id="child")

        data, switch = MemoryData(), Switch()
        store = FaultyStore(MemoryStore(data, clock=clock.now_us), switch)
        async with df.TaskHub(app, store, clock=clock) as hub:
            await hub.client.start_new("parent", "p")
            for _ in range(8):
                await hub.client.raise_event("p", "go")
            switch.next["load"] = Fault("hang")  # the child's start stays in the store
            await hub.client.raise_event("p", "go")
            await hub.client.terminate("p", recursive=True)
            assert len(data.messages) == 2
            dead, data.leases = hub, dict(data.leases)
            async with df.TaskHub(app, MemoryStore(data, clock=clock.now_us), clock=clock) as survivor:
                await asyncio.sleep(1)
                assert (await survivor.client.get_status("child")).runtime_status is Status.Terminated
            store.let_go()
            del dead

    run_simulation(main)


def test_the_engine_goes_on_after_hours_without_a_store() -> None:
    class Outage(Switch):
        """Every call fails for three hours."""

        def fault(self, method: str) -> Fault | None:
            """See ``Plan``."""
            return Fault("before") if 10 < bench_clock[0].elapsed() < 3 * 3600 and method != "close" else None

    bench_clock: list[VirtualClock] = []

    async def main(clock: VirtualClock) -> None:
        bench_clock.append(clock)
        bench = Bench(clock, max_retry_delay=timedelta(seconds=5))
        bench.store = FaultyStore(MemoryStore(bench.data, clock=clock.now_us), Outage())
        bench.hub = df.TaskHub(bench._app(), bench.store, clock=clock)  # noqa: SLF001
        async with bench.hub:
            client = bench.hub.client
            instance_id = await client.start_new("works", client_input=20)
            waiting = asyncio.create_task(client.wait_for_completion(instance_id, timeout=4 * 3600))
            await asyncio.sleep(60)
            with pytest.raises(df.StoreUnavailableError):
                await client.get_status(instance_id)
            assert (await waiting).output == 20
            assert bench.runs == [20]
            assert 3 * 3600 <= clock.elapsed() < 3 * 3600 + 30

    run_simulation(main)
