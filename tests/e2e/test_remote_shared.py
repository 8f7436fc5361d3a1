"""Workers of a hub that several engines share: instances belong to engines where somebody is there to do their work."""

import asyncio

import perdure as df
from perdure.protocol.nothing import NothingHere
from perdure.store.memory import MemoryData, MemoryStore
from perdure.testing.virtual_clock import VirtualClock, run_simulation
from tests.remote_worker import FakeWorker

app = df.DFApp()


@app.orchestration_trigger(context_name="context")
async def parent(context: df.DurableOrchestrationContext) -> int:
    children = [context.call_sub_orchestrator("child", number) for number in range(8)]
    return sum(await context.task_all(children))


@app.orchestration_trigger(context_name="context")
async def child(context: df.DurableOrchestrationContext) -> int:
    return await context.call_activity("double", context.get_input())


@app.activity_trigger(input_name="number")
def double(number: int) -> int:
    return 2 * number


def a_hub(data: MemoryData, clock: VirtualClock) -> df.TaskHub:
    store = MemoryStore(data, clock=clock.now_us, shared=True)
    return df.TaskHub(NothingHere(), store, settings=df.EngineSettings(remote=df.RemoteSettings()), clock=clock)


def connect(hub: df.TaskHub) -> FakeWorker:
    return FakeWorker(hub.remote, app.functions())


async def ends(hub: df.TaskHub, instance_id: str) -> object:
    async with asyncio.timeout(60):
        return (await hub.client.wait_for_completion(instance_id)).output


async def family(hub: df.TaskHub, instance_id: str) -> object:
    return await ends(hub, await hub.client.start_new("parent", instance_id))


def test_an_engine_without_workers_leaves_the_instances_to_one_that_has_some() -> None:
    async def main(clock: VirtualClock) -> None:
        data = MemoryData()
        async with a_hub(data, clock) as idle:
            async with a_hub(data, clock) as busy:
                worker = connect(busy)
                assert await family(busy, "from-busy") == 56
                # A caller may ask any of them.
                assert await family(idle, "from-idle") == 56
                await worker.stop()
                other = connect(idle)
                assert await family(busy, "the-other-way-round") == 56
                await other.stop()
            await idle.client.start_new("parent", "waits")
            last = connect(idle)
            assert await ends(idle, "waits") == 56
            await last.stop()

    run_simulation(main)


def test_engines_that_all_have_workers_share_the_instances() -> None:
    async def main(clock: VirtualClock) -> None:
        data = MemoryData()
        async with a_hub(data, clock) as one, a_hub(data, clock) as two:
            workers = [connect(one), connect(two)]
            await asyncio.sleep(30)
            assert [await family(hub, f"{number}") for number, hub in enumerate((one, two) * 4)] == [56] * 8
            assert all(worker.done for worker in workers)
            for worker in workers:
                await worker.stop()

    run_simulation(main)
