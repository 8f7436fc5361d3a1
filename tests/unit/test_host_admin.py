"""``/admin/...``, and what a host of each role serves and runs."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.functions import HttpRequest

import perdure as df
from perdure.engine.errors import NotShareableError
from perdure.engine.settings import Role
from perdure.host.application import Application
from perdure.host.keys import HostKeys
from perdure.host.settings import HostSettings
from perdure.store.contract import Backlog
from perdure.store.errors import StoreUnavailableError
from perdure.store.memory import MemoryStore
from perdure.store.memory_data import MemoryData
from tests.unit.host_lab import KEYS, http, loaded, served, timer

EMPTY = {
    "backlogMessages": 0,
    "backlogActivities": 0,
    "oldestAgeSeconds": 0.0,
    "processes": 1,
    "runningActivities": 0,
    "recommendedProcesses": 1,
}


async def hello(req: HttpRequest) -> str:
    return "hello"


class Lab:
    """Hosts that share one hub."""

    def __init__(self, app: df.DFApp, keys: HostKeys | None = None) -> None:
        self._app = app
        self._keys = keys
        self.data = MemoryData()
        self.stores: list[MemoryStore] = []

    @asynccontextmanager
    async def host(self, role: Role) -> AsyncGenerator[tuple[Application, httpx.AsyncClient]]:
        folder = Path("app")
        functions = (http(hello), timer(tick, "0 0 1 1 1 *"))
        self.stores.append(MemoryStore(self.data, shared=True))
        application = Application(
            loaded(folder, *functions, app=self._app),
            HostSettings(folder=folder, role=role),
            keys=self._keys,
            store=self.stores[-1],
            app_settings={},
        )
        await application.start()
        try:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(application.asgi), base_url="http://host") as client:
                yield application, client
        finally:
            await application.stop()


async def tick(timer: Any) -> None:
    pass


async def test_a_ping_needs_no_key_and_outranks_the_apps_routes() -> None:
    async with served(http(hello, "{*path}"), keys=KEYS, route_prefix="") as client:
        answer = await client.get("/admin/host/ping")
        assert (answer.status_code, answer.content) == (200, b"")
        assert (await client.get("/admin/host/else")).status_code == 404


async def test_what_autoscalers_ask_needs_the_master_key() -> None:
    async with served(keys=KEYS) as client:
        assert (await client.get("/admin/scale")).status_code == 401
        assert (await client.get("/admin/scale?code=function")).status_code == 401
        assert (await client.get("/admin/scale?code=master")).json() == {**EMPTY, "capacity": 0}
        assert (await client.get("/admin/scale", headers={"x-functions-key": "master"})).status_code == 200


async def test_a_hub_of_one_process_tells_what_its_engine_knows() -> None:
    app, reached, gate = df.DFApp(), asyncio.Event(), asyncio.Event()

    @app.orchestration_trigger(context_name="context")
    async def fan_out(context: df.DurableOrchestrationContext) -> list[str]:
        return await context.task_all([context.call_activity("work", number) for number in range(5)])

    @app.activity_trigger(input_name="number")
    async def work(number: int) -> None:
        reached.set()
        await gate.wait()

    async def start(req: HttpRequest, client: df.DurableOrchestrationClient) -> str:
        return await client.start_new("fan_out")

    async with served(http(start, client="perdure"), app=app, max_concurrent_activities=2) as client:
        await client.get("/api/start")
        await reached.wait()
        busy = (await client.get("/admin/scale")).json()
        gate.set()
    assert busy == {**EMPTY, "backlogActivities": 3, "runningActivities": 2, "capacity": 2}


async def test_a_store_that_cannot_be_asked_is_no_reason_to_scale() -> None:
    lab = Lab(df.DFApp())
    async with lab.host("all") as (_, client):

        async def backlog() -> Backlog:
            raise StoreUnavailableError("the server is away")

        assert lab.stores[0].sharing is not None
        lab.stores[0].sharing.backlog = backlog  # type: ignore[method-assign]
        answer = await client.get("/admin/scale")
        assert answer.status_code == 503
        assert "the server is away" in answer.text


async def test_workers_and_owners_serve_nothing_but_their_health() -> None:
    lab = Lab(df.DFApp())
    for role in ("worker", "owner"):
        async with lab.host(role) as (_, client):
            assert (await client.get("/admin/host/ping")).status_code == 200
            assert (await client.get("/admin/host/status")).json()["state"] == "Running"
            assert (await client.get("/admin/scale")).json()["recommendedProcesses"] == 1
            assert (await client.get("/api/hello")).status_code == 404
            assert (await client.get("/runtime/webhooks/durabletask/instances")).status_code == 404
    assert not lab.data.instances, "nor do they start timers"


async def test_each_role_does_its_part_of_an_orchestration() -> None:
    app = df.DFApp()

    @app.orchestration_trigger(context_name="context")
    async def orchestrate(context: df.DurableOrchestrationContext) -> str:
        return await context.call_activity("say", "Tokyo")

    @app.activity_trigger(input_name="name")
    async def say(name: str) -> str:
        return f"Hello {name}!"

    lab = Lab(app)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(lab.host("owner"))
        await stack.enter_async_context(lab.host("worker"))
        front, client = await stack.enter_async_context(lab.host("http"))
        started = await client.post("/runtime/webhooks/durabletask/orchestrators/orchestrate/greeting")
        assert started.status_code == 202
        ended = await front.hub.client.wait_for_completion("greeting", 20)
        assert ended.output == "Hello Tokyo!"
        assert (await client.get("/api/hello")).text == "hello"
        # The timer was made by the front, the only one that looks after triggers.
        assert set(lab.data.instances) == {"greeting", "perdure-timer-tick"}
        members = [member for member, _ in lab.data.members.values()]
        assert sorted((member.owns_partitions, member.runs_activities) for member in members) == [
            (False, False),
            (False, True),
            (True, False),
        ]
        assert {lease.owner for lease in lab.data.leases.values()} == {it.owner for it in members if it.owns_partitions}
        assert (await client.get("/admin/scale")).json() == {**EMPTY, "capacity": 1000}


async def test_hosts_that_start_together_make_each_timer_once() -> None:
    lab = Lab(df.DFApp())
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(lab.host("all")) for _ in range(3)))
        assert set(lab.data.instances) == {"perdure-timer-tick"}


async def test_a_part_of_the_work_needs_a_hub_that_can_be_shared() -> None:
    with pytest.raises(NotShareableError, match="role 'worker'"):
        async with served(http(hello), role="worker"):
            pass
