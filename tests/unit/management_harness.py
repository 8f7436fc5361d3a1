"""A hub in memory, the management API over it, and an HTTP client that needs no network."""

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.applications import Starlette

import perdure as df
from perdure.host.keys import HostKeys
from perdure.host.management import ManagementOptions, management_routes

BASE = "/runtime/webhooks/durabletask"
HUB = "Hub"
KEYS = HostKeys(master_key="master-key", function_keys={"default": "function-key"}, system_keys={"durabletask": "system-key"})

app = df.DFApp()


@app.activity_trigger(input_name="city")
async def SayHello(city: str) -> str:  # noqa: N802 - the name of the wire examples
    return f"Hello {city}!"


@app.orchestration_trigger(context_name="context")
def Hello(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:  # noqa: N802
    return [(yield context.call_activity("SayHello", context.get_input()))]


@app.orchestration_trigger(context_name="context")
def echo(context: df.DurableOrchestrationContext) -> Any:
    return context.get_input()


@app.orchestration_trigger(context_name="context")
def waiter(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
    context.set_custom_status({"waits": "for go"})
    return (yield context.wait_for_external_event("go"))


@app.orchestration_trigger(context_name="context")
def parent(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
    return (yield context.call_sub_orchestrator("waiter", instance_id=f"{context.instance_id}-child"))


@app.entity_trigger(context_name="context")
def Counter(context: df.DurableEntityContext) -> None:  # noqa: N802
    """Says what it was told last, unless it is told to be gone."""
    if context.operation_name == "delete":
        context.destruct_on_exit()
    else:
        context.set_state({"told": context.operation_name, "with": context.get_input()})


@app.orchestration_trigger(context_name="context")
def calls_entity(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
    yield context.call_entity(df.EntityId("counter", context.instance_id), "tell", 1)


broken = {"flaky": True}


@app.activity_trigger(input_name="value")
async def flaky_work(value: Any) -> str:
    if broken["flaky"]:
        raise ValueError("it is broken")
    return "mended"


@app.orchestration_trigger(context_name="context")
def flaky(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
    return (yield context.call_activity("flaky_work"))


@dataclass
class Api:
    """The API as a caller with the key sees it."""

    hub: df.TaskHub
    asgi: Starlette
    http: httpx.AsyncClient

    async def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        query = options.pop("query", {})
        return await self.http.request(method, f"{BASE}/{path}", params={"code": "system-key", **query}, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.call("GET", path, **options)

    async def post(self, path: str, **options: Any) -> httpx.Response:
        return await self.call("POST", path, **options)

    async def delete(self, path: str, **options: Any) -> httpx.Response:
        return await self.call("DELETE", path, **options)

    async def exists(self, instance_id: str) -> None:
        """Returns once there is such an instance."""
        async with asyncio.timeout(10):
            while not await self.hub.client.get_status(instance_id):  # noqa: ASYNC110 - nobody tells when a child is made
                await asyncio.sleep(0)

    async def ended(self, name: str, instance_id: str, value: Any = None) -> None:
        await self.hub.client.start_new(name, instance_id, value)
        await self.hub.client.wait_for_completion(instance_id, timeout=10)


@asynccontextmanager
async def open_api(
    *,
    keys: HostKeys | None = KEYS,
    options: ManagementOptions | None = None,
    settings: df.EngineSettings | None = None,
) -> AsyncIterator[Api]:
    broken["flaky"] = True
    async with df.TaskHub(app, settings=settings) as hub:
        routes = management_routes(hub.client, keys, HUB, options=options or ManagementOptions())
        asgi = Starlette(routes=routes)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://h") as http:
            yield Api(hub, asgi, http)
