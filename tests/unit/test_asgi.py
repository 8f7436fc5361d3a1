"""``perdure.asgi``: mounted into another service, on its own, and with or without a lifespan."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import azure.functions as func
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

import perdure as df
from perdure.store.memory import MemoryData, MemoryStore
from perdure.store.sqlite import SqliteStore


def greeter() -> df.DFApp:
    app = df.DFApp(http_auth_level=func.AuthLevel.FUNCTION)

    @app.route(route="hello", auth_level=func.AuthLevel.ANONYMOUS)
    @app.durable_client_input(client_name="client")
    async def hello(req: func.HttpRequest, client: Any) -> func.HttpResponse:
        instance_id = await client.start_new("greet", None, req.params["name"])
        return client.create_check_status_response(req, instance_id)

    @app.route(route="guarded")
    def guarded(req: func.HttpRequest) -> str:
        return req.url

    @app.orchestration_trigger(context_name="context")
    def greet(context: df.DurableOrchestrationContext) -> str:
        return f"Hello {context.get_input()}"

    return app


@asynccontextmanager
async def calling(app: ASGIApp) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://outer") as client:
        yield client


async def result(client: httpx.AsyncClient, payload: dict[str, str]) -> Any:
    response = await client.get(payload["statusQueryGetUri"])
    while response.status_code == 202:
        response = await client.get(payload["statusQueryGetUri"])
    assert response.status_code == 200, response.text
    return response.json()["output"]


async def test_a_mounted_app_answers_below_its_mount_and_its_urls_lead_there(tmp_path: Path) -> None:
    durable = df.asgi(greeter(), MemoryStore(), keys_file=tmp_path / "keys.json")
    outer = Starlette(routes=[Mount("/durable", durable)], lifespan=df.lifespan(durable))
    async with outer.router.lifespan_context(outer), calling(outer) as client:
        response = await client.get("/durable/api/hello?name=Ada")
        assert response.status_code == 202
        payload = response.json()
        assert payload["statusQueryGetUri"].startswith("http://outer/durable/runtime/webhooks/durabletask/instances/")
        assert await result(client, payload) == "Hello Ada"
        assert (await client.get("/durable/api/guarded")).status_code == 401
        assert (await client.get("/durable/runtime/webhooks/durabletask/instances")).status_code == 401
        assert (await client.get("/api/hello?name=Ada")).status_code == 404


async def test_without_keys_the_outer_app_decides_who_gets_in() -> None:
    durable = df.asgi(greeter(), "memory://", keys_file=None)
    outer = Starlette(routes=[Mount("/durable", durable)], lifespan=df.lifespan(durable))
    async with outer.router.lifespan_context(outer), calling(outer) as client:
        assert (await client.get("/durable/api/guarded?x=1")).text == "http://outer/durable/api/guarded?x=1"
        assert (await client.get("/durable/runtime/webhooks/durabletask/instances")).json() == []


async def test_the_management_api_can_be_left_out() -> None:
    durable = df.asgi(greeter(), "memory://", keys_file=None, management=False)
    async with calling(durable) as client:
        assert (await client.get("/runtime/webhooks/durabletask/instances")).status_code == 404
        assert (await client.get("/api/guarded")).status_code == 200
    await durable.close()


async def test_without_a_lifespan_the_first_request_opens_the_hub_once(tmp_path: Path) -> None:
    durable = df.asgi(greeter(), f"sqlite:///{tmp_path}/hub.db", keys_file=None)
    async with calling(durable) as client:
        responses = await asyncio.gather(*(client.get(f"/api/hello?name={number}") for number in range(5)))
        assert [await result(client, response.json()) for response in responses] == [f"Hello {number}" for number in range(5)]
    await durable.close()


async def test_the_hub_is_there_for_the_code_around() -> None:
    durable = df.asgi(greeter(), MemoryStore(MemoryData()), keys_file=None)
    await durable.open()
    instance_id = await durable.hub.client.start_new("greet", None, "Bob")
    assert (await durable.hub.client.wait_for_completion(instance_id)).output == "Hello Bob"
    await durable.close()


async def test_its_own_lifespan_opens_and_drains(tmp_path: Path) -> None:
    durable = df.asgi(greeter(), f"sqlite:///{tmp_path}/hub.db", keys_file=None)
    received: asyncio.Queue[Any] = asyncio.Queue()
    sent: asyncio.Queue[Any] = asyncio.Queue()
    living = asyncio.get_running_loop().create_task(durable({"type": "lifespan"}, received.get, sent.put))
    received.put_nowait({"type": "lifespan.startup"})
    assert (await sent.get())["type"] == "lifespan.startup.complete"
    received.put_nowait({"type": "lifespan.shutdown"})
    assert (await sent.get())["type"] == "lifespan.shutdown.complete"
    await living
    async with df.TaskHub(greeter(), f"sqlite:///{tmp_path}/hub.db"):
        pass  # it is free again
    with pytest.raises(df.EngineStoppedError, match="make another"):
        await durable.open()


async def test_a_hub_that_cannot_be_opened_is_tried_again_by_the_next_request(tmp_path: Path) -> None:
    durable = df.asgi(greeter(), SqliteStore(tmp_path / "hub.db"), keys_file=None)
    async with df.TaskHub(greeter(), f"sqlite:///{tmp_path}/hub.db"), calling(durable) as client:
        with pytest.raises(df.HubInUseError):
            await client.get("/api/guarded")
    async with calling(durable) as client:
        assert (await client.get("/api/guarded")).status_code == 200
    await durable.close()


async def test_an_app_that_cannot_be_served_says_why_at_once() -> None:
    app = greeter()

    @app.route(route="hello", methods=["GET"])
    def other(req: func.HttpRequest) -> str:
        return ""

    with pytest.raises(df.PerdureError, match=r"'hello' .* and 'other' .* both answer GET"):
        df.asgi(app, "memory://", keys_file=None)
