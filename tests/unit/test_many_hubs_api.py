"""The management API of a server with several hubs: which hub, and for whom."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("durabletask.internal.orchestrator_service_pb2")

from starlette.applications import Starlette

from perdure.host.management.api import ManagementOptions
from perdure.host.management.callers import Callers
from perdure.host.management.many_hubs import FoundHub, many_hubs_routes
from perdure.protocol.hubs import StoredHubs
from perdure.store.errors import StoreUnavailableError
from tests.unit.protocol_lab import sqlite_hubs, stored_hubs

LOCAL = ("127.0.0.1", 4711)


@asynccontextmanager
async def api(
    hubs: StoredHubs, *, tokens: tuple[str, ...] = (), certified: bool = False, peer: tuple[str, int] = LOCAL
) -> AsyncIterator[httpx.AsyncClient]:
    async def find(name: str | None) -> FoundHub:
        served = await hubs.find(name)
        return FoundHub(served.name, served.hub.client)

    app = Starlette(routes=many_hubs_routes(find, Callers(tokens, certified=certified), options=ManagementOptions()))
    base = "http://127.0.0.1:7071/runtime/webhooks/durabletask"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app, client=peer), base_url=base) as client:
        yield client
    await hubs.close()


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [each["instanceId"] for each in answer.json()]


async def start(hubs: StoredHubs, name: str, instance_id: str) -> None:
    served = await hubs.get(name)
    await served.hub.raw_client.start("n", instance_id=instance_id)


async def test_each_request_is_for_the_hub_that_it_names_or_for_default():
    hubs = stored_hubs()
    async with api(hubs) as call:
        await start(hubs, "default", "here")
        await start(hubs, "orders", "there")
        assert ids(await call.get("/instances")) == ["here"]
        assert ids(await call.get("/instances?taskHub=Default")) == ["here"]
        assert ids(await call.get("/INSTANCES?TASKHUB=oRders")) == ["there"]
        assert (await call.get("/instances/there")).status_code == 404
        found = await call.get("/instances/there?taskHub=orders")
        assert (found.status_code, found.json()["runtimeStatus"]) == (202, "Pending")


async def test_urls_in_answers_lead_back_to_the_same_hub_with_the_same_token():
    hubs = stored_hubs(remote=True)
    async with api(hubs, tokens=("secret", "other")) as call:
        await hubs.get("orders")
        answer = await call.post("/orchestrators/n/i?taskHub=orders", headers={"x-functions-key": "secret"})
        assert answer.status_code == 202
        url = answer.json()["statusQueryGetUri"]
        assert url.endswith("/instances/i?taskHub=orders&connection=AzureWebJobsStorage&code=secret")
        assert (await call.get(url)).json()["instanceId"] == "i"


async def test_no_hub_is_made_by_a_slip_of_its_name(tmp_path: Path):
    async with api(sqlite_hubs(tmp_path)) as call:
        for query in ("", "?taskHub=ordres", "?taskHub=a/b"):
            answer = await call.get(f"/instances{query}")
            assert answer.status_code == 400
            assert answer.json()["ExceptionType"] == "UnknownTaskHubError"
    assert not (tmp_path / "hub.db").exists()
    assert not (tmp_path / "hub.ordres.db").exists()


async def test_a_hub_that_was_deleted_and_made_again_is_the_new_one():
    hubs = stored_hubs()
    async with api(hubs) as call:
        await start(hubs, "orders", "old")
        assert ids(await call.get("/instances?taskHub=orders")) == ["old"]
        await hubs.create("orders", recreate=True)
        assert ids(await call.get("/instances?taskHub=orders")) == []


async def test_only_so_many_hubs_are_opened(tmp_path: Path):
    hubs = sqlite_hubs(tmp_path)
    for name in ("a", "b"):
        await hubs.get(name)
    await hubs.close()
    url = f"sqlite:///{tmp_path / 'hub.db'}"
    async with api(stored_hubs(url, max_open=1)) as call:
        assert ids(await call.get("/instances?taskHub=a")) == []
        assert (await call.get("/instances?taskHub=b")).status_code == 503


@pytest.mark.parametrize(
    ("parameters", "headers"),
    [
        ({"code": "two"}, {}),
        ({}, {"x-functions-key": "one"}),
        ({}, {"authorization": "Bearer two"}),
        ({}, {"authorization": "bearer  one "}),
    ],
)
async def test_any_token_lets_in_from_anywhere(parameters: dict[str, str], headers: dict[str, str]):
    hubs = stored_hubs()
    await hubs.get("default")
    async with api(hubs, tokens=("one", "two"), peer=("203.0.113.9", 1)) as call:
        answer = await call.get("/instances", params=parameters, headers={"host": "hub.example", **headers})
        assert answer.status_code == 200


@pytest.mark.parametrize("shown", [{}, {"x-functions-key": "three"}, {"authorization": "Basic one"}, {"authorization": "one"}])
async def test_without_a_token_that_is_known_nobody_gets_in_nor_opens_a_hub(shown: dict[str, str]):
    async def find(_: str | None) -> FoundHub:
        raise AssertionError("a stranger has come through")

    app = Starlette(routes=many_hubs_routes(find, Callers(("one",), certified=False), options=ManagementOptions()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app, client=LOCAL), base_url="http://127.0.0.1") as call:
        answer = await call.get("/runtime/webhooks/durabletask/instances?taskHub=orders", headers=shown)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        (("203.0.113.9", 1), {}),
        (LOCAL, {"host": "rebound.example"}),
        (LOCAL, {"origin": "https://page.example"}),
        (LOCAL, {"origin": "null"}),
    ],
)
async def test_without_tokens_only_programs_of_this_machine_are_served(peer: tuple[str, int], headers: dict[str, str]):
    hubs = stored_hubs()
    await hubs.get("default")
    async with api(hubs, peer=peer) as call:
        assert (await call.post("/instances/i/terminate", headers=headers)).status_code == 403


async def test_a_certificate_is_enough():
    hubs = stored_hubs()
    await hubs.get("default")
    async with api(hubs, certified=True, peer=("203.0.113.9", 1)) as call:
        assert (await call.get("/instances", headers={"host": "hub.example"})).status_code == 200


@pytest.mark.parametrize(("error", "status"), [(StoreUnavailableError("gone"), 503), (RuntimeError("a secret"), 500)])
async def test_a_hub_that_can_not_be_opened_is_told_without_secrets(
    error: Exception, status: int, caplog: pytest.LogCaptureFixture
):
    async def find(_: str | None) -> FoundHub:
        raise error

    app: Any = Starlette(routes=many_hubs_routes(find, Callers((), certified=False), options=ManagementOptions()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app, client=LOCAL), base_url="http://127.0.0.1") as call:
        answer = await call.get("/runtime/webhooks/durabletask/instances")
    assert answer.status_code == status
    assert "a secret" not in answer.text
    assert ("a secret" in caplog.text) == (status == 500)
