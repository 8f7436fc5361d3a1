"""Several hubs on one server: kept apart, found by name, made and deleted."""

import asyncio
from pathlib import Path

import pytest

pb = pytest.importorskip("durabletask.internal.orchestrator_service_pb2")

import perdure as df  # noqa: E402 - without the extra these tests are skipped
from perdure.hub import TaskHub  # noqa: E402
from perdure.protocol.errors import UnknownTaskHubError  # noqa: E402
from perdure.protocol.hub_urls import hub_key, url_of_hub  # noqa: E402
from perdure.protocol.hubs import SingleHub  # noqa: E402
from tests.postgres import Database  # noqa: E402
from tests.unit.protocol_lab import Caller, calling, sqlite_hubs, stored_hubs  # noqa: E402


def named(name: str) -> list[tuple[str, str | bytes]]:
    return [("taskhub", name)]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def start(call: Caller, instance_id: str, hub: str | None = None) -> None:
    request = pb.CreateInstanceRequest(name="n", instanceId=instance_id)
    await call("StartInstance", request, metadata=[] if hub is None else named(hub))


async def exists(call: Caller, instance_id: str, hub: str | None = None) -> bool:
    metadata = [] if hub is None else named(hub)
    return (await call("GetInstance", pb.GetInstanceRequest(instanceId=instance_id), metadata=metadata)).exists


async def test_hubs_are_apart_and_their_names_ignore_case(tmp_path: Path):
    async with calling(sqlite_hubs(tmp_path)) as call:
        await start(call, "i", "Orders")
        assert await exists(call, "i", "oRDERS")
        assert not await exists(call, "i", "other")
        assert not await exists(call, "i", "default")
    assert {name for name in names(tmp_path) if name.endswith(".db")} == {"hub.orders.db", "hub.other.db", "hub.db"}
    async with calling(sqlite_hubs(tmp_path)) as call:
        assert await exists(call, "i", "orders")


async def test_a_call_without_a_name_is_for_default(tmp_path: Path):
    async with calling(sqlite_hubs(tmp_path)) as call:
        await start(call, "i", "orders")
        assert not await exists(call, "i")
        await start(call, "k")
        assert await exists(call, "k", "DEFAULT")


async def test_a_stream_without_a_name_is_for_the_hub_of_its_connection():
    async with calling(stored_hubs()) as call:
        await start(call, "j", "other")
        await start(call, "i", "orders")
        request = pb.StreamInstanceHistoryRequest(instanceId="i")
        assert len(await call("StreamInstanceHistory", request, metadata=[])) == 1
        assert (await call.refusal("StreamInstanceHistory", request, metadata=named("other")))[0] == "NOT_FOUND"


@pytest.mark.parametrize("name", ["a/b", "..", "a.b", "-a", "a-", "a--b", "a_-b", "a!", "x" * 65])
async def test_what_can_not_be_a_hub_is_told(name: str):
    async with calling(stored_hubs()) as call:
        metadata = named(name)
        for rpc in ("GetInstance", "CreateTaskHub", "DeleteTaskHub"):
            code, message = await call.refusal(rpc, b"", metadata=metadata)
            assert (code, "can't be the name of a task hub" in message) == ("NOT_FOUND", True)


async def test_there_are_only_so_many_hubs():
    async with calling(stored_hubs(max_open=2)) as call:
        for name in ("a", "b"):
            await start(call, "i", name)
        request = pb.GetInstanceRequest(instanceId="i")
        assert (await call.refusal("GetInstance", request, metadata=named("c")))[0] == "RESOURCE_EXHAUSTED"
        await call("DeleteTaskHub", pb.DeleteTaskHubRequest(), metadata=named("a"))
        assert not await exists(call, "i", "c")


async def test_hubs_are_made_and_deleted(tmp_path: Path):
    async with calling(sqlite_hubs(tmp_path)) as call:
        for _ in range(2):
            await call("CreateTaskHub", pb.CreateTaskHubRequest(), metadata=named("orders"))
        await start(call, "i", "orders")
        await call("CreateTaskHub", pb.CreateTaskHubRequest(), metadata=named("orders"))
        assert await exists(call, "i", "orders")
        await call("CreateTaskHub", pb.CreateTaskHubRequest(recreateIfExists=True), metadata=named("orders"))
        assert not await exists(call, "i", "orders")
        for _ in range(2):
            await call("DeleteTaskHub", pb.DeleteTaskHubRequest(), metadata=named("orders"))
        assert names(tmp_path) == {"hub.orders.db.lock"}


async def test_hubs_in_postgresql_are_schemas_that_are_made_and_deleted(
    postgres_url: str, postgres_schema: str, postgres_database: Database
):
    def schemas() -> int:
        query = "SELECT count(*) FROM pg_namespace WHERE nspname::text IN ($1, $1 || '_orders', $1 || '_a__b')"
        return postgres_database.value(query, postgres_schema)

    async with calling(stored_hubs(postgres_url)) as call:
        await start(call, "i", "Orders")
        await start(call, "i", "a-b")
        assert await exists(call, "i", "orders")
        assert not await exists(call, "i", "default")
        assert schemas() == 3
        await call("CreateTaskHub", pb.CreateTaskHubRequest(recreateIfExists=True), metadata=named("orders"))
        assert not await exists(call, "i", "orders")
        for _ in range(2):
            await call("DeleteTaskHub", pb.DeleteTaskHubRequest(), metadata=named("a-b"))
        assert schemas() == 2
    async with calling(stored_hubs(postgres_url)) as call:
        assert not await exists(call, "i", "a-b")


async def test_a_schema_of_another_program_is_no_hub(postgres_url: str, postgres_schema: str, postgres_database: Database):
    postgres_database.execute(f"CREATE SCHEMA {postgres_schema}_orders; CREATE TABLE {postgres_schema}_orders.prices (id int)")
    async with calling(stored_hubs(postgres_url)) as call:
        for rpc in ("DeleteTaskHub", "CreateTaskHub"):
            code, message = await call.refusal(rpc, b"", metadata=named("orders"))
            assert (code, "tables of another program (prices)" in message) == ("FAILED_PRECONDITION", True)


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "memory"])
async def test_a_hub_is_found_only_where_there_is_one(kind: str, tmp_path: Path, request: pytest.FixtureRequest):
    folder = f"sqlite:///{tmp_path / 'hub.db'}"
    url = request.getfixturevalue("postgres_url") if kind == "postgres" else "memory://" if kind == "memory" else folder
    hubs = stored_hubs(url)
    for name in (None, "orders"):
        with pytest.raises(UnknownTaskHubError, match="there is no task hub"):
            await hubs.find(name)
    made = await hubs.get("Orders")
    assert await hubs.find("orders") is made
    await hubs.close()
    assert not (tmp_path / "hub.db").exists()
    if kind != "memory":
        again = stored_hubs(url)
        assert (await again.find("orders")).name == "orders"
        await again.close()


async def test_the_hub_of_an_app_is_the_only_one_and_stays():
    async with TaskHub(df.DFApp(), "memory://") as hub, calling(SingleHub("Mine", hub)) as call:
        assert not await exists(call, "i")
        assert not await exists(call, "i", "MINE")
        await call("CreateTaskHub", pb.CreateTaskHubRequest())
        for rpc, request, metadata, expected in (
            ("GetInstance", pb.GetInstanceRequest(instanceId="i"), named("other"), "NOT_FOUND"),
            ("CreateTaskHub", pb.CreateTaskHubRequest(recreateIfExists=True), [], "FAILED_PRECONDITION"),
            ("DeleteTaskHub", pb.DeleteTaskHubRequest(), [], "FAILED_PRECONDITION"),
            ("DeleteTaskHub", pb.DeleteTaskHubRequest(), named("other"), "NOT_FOUND"),
        ):
            assert (await call.refusal(rpc, request, metadata=metadata))[0] == expected


async def test_a_store_that_another_process_has_is_told(tmp_path: Path):
    first, second = sqlite_hubs(tmp_path), sqlite_hubs(tmp_path)
    async with calling(first) as owner, calling(second) as call:
        await start(owner, "i")
        code, message = await call.refusal("GetInstance", pb.GetInstanceRequest(instanceId="i"))
        assert (code, "is in use by pid" in message) == ("UNAVAILABLE", True)
        assert (await call.refusal("DeleteTaskHub", pb.DeleteTaskHubRequest()))[0] == "UNAVAILABLE"
        assert await exists(owner, "i")


@pytest.mark.parametrize("ends", ["close", "delete"])
async def test_workers_can_answer_while_their_hub_is_drained(ends: str):
    hubs = stored_hubs(remote=True)
    async with calling(hubs) as call:
        await start(call, "i", "orders")
        work = call.stream("GetWorkItems", pb.GetWorkItemsRequest(), metadata=named("orders"))
        item = await anext(work)
        ending = asyncio.ensure_future(hubs.close() if ends == "close" else hubs.delete("orders"))
        await asyncio.sleep(0)  # it has begun to wait for the worker
        answer = pb.OrchestratorResponse(instanceId="i", completionToken=item.completionToken)
        await call("CompleteOrchestratorTask", answer, metadata=named("orders"))
        await ending
        assert [left async for left in work] == []


async def test_calls_after_the_end_are_refused():
    hubs = stored_hubs()
    async with calling(hubs) as call:
        await start(call, "i")
        await hubs.close()
        await hubs.close()
        assert (await call.refusal("GetInstance", pb.GetInstanceRequest(instanceId="i")))[0] == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("url", "key", "expected"),
    [
        ("sqlite:///data/hub.db", "default", "sqlite:///data/hub.db"),
        ("sqlite:///data/hub.db", "orders", "sqlite:///data/hub.orders.db"),
        ("sqlite:////var/a.b/hub", "orders", "sqlite:////var/a.b/hub.orders"),
        ("hub.db", "a-b", "hub.a-b.db"),
        ("memory://", "orders", "memory://"),
        ("postgresql://u:p%40@h/d", "a-b", "postgresql://u:p%40@h/d?schema=perdure_a__b"),
        ("postgresql://h/d?schema=mine&x=1", "orders", "postgresql://h/d?schema=mine_orders&x=1"),
        ("postgresql://h/d?schema=mine", "default", "postgresql://h/d?schema=mine"),
    ],
)
def test_every_hub_has_its_own_place(url: str, key: str, expected: str):
    assert url_of_hub(url, hub_key(key)) == expected


def test_a_name_that_makes_too_long_a_schema_is_refused():
    assert url_of_hub("postgresql://h/d", "a" * 42).endswith("a" * 42)
    for name in ("a" * 43, "a-" * 20 + "a"):
        with pytest.raises(UnknownTaskHubError, match="too long for the name of a task hub in PostgreSQL"):
            url_of_hub("postgresql://h/d", name)
