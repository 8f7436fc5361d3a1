"""The client of PyPI's azure-functions-durable, unchanged, over real HTTP: everything that it can ask."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("azure.durable_functions", reason="needs the extra 'azure'")

import azure.durable_functions as sdk
import azure.functions as func
import httpx
from azure.durable_functions.models.utils import http_utils

import perdure as df
from perdure.client.links import INSTANCE_PLACEHOLDER
from tests.e2e.management_server import ManagementServer, serving
from tests.unit.management_harness import HUB, KEYS, broken

Status = sdk.OrchestrationRuntimeStatus
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[ManagementServer]:
    with serving() as running:
        yield running


@pytest.fixture
async def client(server: ManagementServer) -> AsyncIterator[sdk.DurableOrchestrationClient]:
    broken["flaky"] = True
    binding = {
        "taskHubName": HUB,
        "connectionName": "AzureWebJobsStorage",
        "creationUrls": server.links.creation_urls(),
        "managementUrls": server.links.management_payload(INSTANCE_PLACEHOLDER),
        "baseUrl": server.links.base_url,
        "requiredQueryStringParameters": server.links.required_query,
        "rpcBaseUrl": server.rpc_base_url,
    }
    yield sdk.DurableOrchestrationClient(json.dumps(binding), function_invocation_id="an id")
    await http_utils._close_session()  # noqa: SLF001 - the SDK closes it at the end of the process only
    await asyncio.sleep(0.05)  # its connections close a little later


def request(server: ManagementServer, path: str = "/api/start") -> func.HttpRequest:
    return func.HttpRequest("POST", f"{server.url}{path}", body=b"")


async def ended(client: sdk.DurableOrchestrationClient, instance_id: str) -> Any:
    async with asyncio.timeout(20):
        while True:
            status = await client.get_status(instance_id)
            if status.runtime_status not in (Status.Running, Status.Pending):
                return status
            await asyncio.sleep(0.02)


async def test_start_and_status(client: sdk.DurableOrchestrationClient) -> None:
    instance_id = await client.start_new("echo", client_input={"city": "Tokyo"}, version="1.0")
    status = await ended(client, instance_id)
    assert status
    assert status.instance_id == instance_id
    assert status.name == "echo"
    assert status.runtime_status is Status.Completed
    # The SDK encodes twice; a host stores what it gets, and shows it.
    assert json.loads(status.input_) == json.loads(status.output) == {"city": "Tokyo"}
    assert status.created_time.utcoffset() == timedelta(0)
    assert status.created_time <= status.last_updated_time


async def test_start_under_an_id_of_your_own(client: sdk.DurableOrchestrationClient) -> None:
    assert await client.start_new("waiter", "sdk-own") == "sdk-own"
    with pytest.raises(Exception, match="sdk-own"):
        await client.start_new("waiter", "sdk-own")
    await client.terminate("sdk-own", "again")
    assert await client.start_new("echo", "sdk-own") == "sdk-own", "an ended instance is replaced"


async def test_start_of_an_unknown_function_is_a_clean_exception(client: sdk.DurableOrchestrationClient) -> None:
    with pytest.raises(Exception, match=r"^\[PD1105\] there is no orchestrator named 'nobody'"):
        await client.start_new("nobody")


async def test_history_comes_with_the_status(client: sdk.DurableOrchestrationClient) -> None:
    instance_id = await client.start_new("Hello", client_input="Tokyo")
    await ended(client, instance_id)
    status: Any = await client.get_status(instance_id, show_history=True, show_history_output=True, show_input=True)
    # The SDK has no property for it, but keeps what it doesn't know.
    assert [event["EventType"] for event in status.historyEvents] == ["ExecutionStarted", "TaskCompleted", "ExecutionCompleted"]


async def test_an_unknown_instance_is_falsy(client: sdk.DurableOrchestrationClient) -> None:
    assert not await client.get_status("sdk-nobody")


async def test_events(client: sdk.DurableOrchestrationClient) -> None:
    instance_id = await client.start_new("waiter")
    await client.raise_event(instance_id, "go", {"x": 1}, task_hub_name=HUB, connection_name="Storage")
    status = await ended(client, instance_id)
    assert json.loads(status.output) == {"x": 1}
    with pytest.raises(Exception, match="is gone"):
        await client.raise_event(instance_id, "go")
    with pytest.raises(Exception, match="No instance with ID sdk-nobody found"):
        await client.raise_event("sdk-nobody", "go")


async def test_terminate_suspend_and_resume(client: sdk.DurableOrchestrationClient) -> None:
    instance_id = await client.start_new("waiter")
    await client.suspend(instance_id, "a rest & more")
    assert (await client.get_status(instance_id)).runtime_status is Status.Suspended
    await client.resume(instance_id, "on")
    assert (await client.get_status(instance_id)).runtime_status is Status.Running
    await client.terminate(instance_id, "enough")
    status = await client.get_status(instance_id)
    assert (status.runtime_status, status.output) == (Status.Terminated, "enough")
    for call in (client.terminate, client.suspend, client.resume):
        await call(instance_id, "too late")  # 410 is a success to the SDK
        with pytest.raises(Exception, match="No instance with ID 'sdk-nobody' found"):
            await call("sdk-nobody", "why")


async def test_rewind(client: sdk.DurableOrchestrationClient) -> None:
    instance_id = await client.start_new("flaky")
    assert (await ended(client, instance_id)).runtime_status is Status.Failed
    broken["flaky"] = False
    await client.rewind(instance_id, "mended", task_hub_name=HUB)
    assert (await ended(client, instance_id)).output == "mended"
    with pytest.raises(Exception, match="only supported on failed"):
        await client.rewind(instance_id, "again")
    with pytest.raises(Exception, match="No instance with ID sdk-nobody found"):
        await client.rewind("sdk-nobody", "why")


async def test_restart(client: sdk.DurableOrchestrationClient) -> None:
    instance_id = await client.start_new("echo", client_input="again")
    await ended(client, instance_id)
    links: Any = await client.restart(instance_id)  # declared as str, but the SDK gives the whole body
    assert links["id"] != instance_id
    assert (await ended(client, links["id"])).output == '"again"'
    same: Any = await client.restart(instance_id, restart_with_new_instance_id=False)
    assert same["id"] == instance_id
    with pytest.raises(Exception, match="400"):
        await client.restart("sdk-nobody")


async def test_lists_and_purges(client: sdk.DurableOrchestrationClient) -> None:
    for number in range(3):
        await client.start_new("echo", f"sdk-list-{number}")
        await ended(client, f"sdk-list-{number}")
    listed = await client.get_status_by(
        LONG_AGO, datetime(2999, 1, 1, tzinfo=UTC), [Status.Completed, Status.Failed], "sdk-list-"
    )
    assert [status.instance_id for status in listed] == ["sdk-list-0", "sdk-list-1", "sdk-list-2"]
    assert {status.instance_id for status in await client.get_status_all()} > {"sdk-list-1"}
    assert (await client.purge_instance_history("sdk-list-0")).instances_deleted == 1
    assert (await client.purge_instance_history("sdk-list-0")).instances_deleted == 0
    assert (await client.purge_instance_history_by(LONG_AGO, LONG_AGO)).instances_deleted == 0
    assert (await client.purge_instance_history_by(LONG_AGO, None, [Status.Completed])).instances_deleted >= 2
    assert not await client.get_status("sdk-list-1")


async def test_entities(client: sdk.DurableOrchestrationClient) -> None:
    entity = sdk.EntityId("Counter", "sdk key")
    assert not (await client.read_entity_state(entity)).entity_exists
    await client.signal_entity(entity, "tell", {"n": 1}, task_hub_name=HUB)
    found = await client.read_entity_state(entity)
    assert found.entity_exists
    assert found.entity_state == {"told": "tell", "with": '{"n": 1}'}, "encoded twice by the SDK, as inputs are"


async def test_check_status_response_leads_through_the_life_of_an_instance(
    server: ManagementServer, client: sdk.DurableOrchestrationClient
) -> None:
    instance_id = await client.start_new("waiter")
    response = client.create_check_status_response(request(server), instance_id)
    assert response.status_code == 202
    assert response.headers["Retry-After"] == "10"
    links = json.loads(response.get_body())
    assert links == client.create_http_management_payload(instance_id) == server.links.management_payload(instance_id)
    assert response.headers["Location"] == links["statusQueryGetUri"]
    async with httpx.AsyncClient() as http:
        assert (await http.get(links["statusQueryGetUri"])).json()["runtimeStatus"] == "Running"
        assert (await http.post(links["suspendPostUri"].replace("{text}", "a"))).status_code == 202
        assert (await http.post(links["resumePostUri"].replace("{text}", "b"))).status_code == 202
        assert (await http.post(links["sendEventPostUri"].replace("{eventName}", "go"), json=1)).status_code == 202
        await ended(client, instance_id)
        assert (await http.post(links["terminatePostUri"].replace("{text}", "c"))).status_code == 410
        assert (await http.post(links["rewindPostUri"].replace("{text}", "d"))).status_code == 410
        assert (await http.post(links["restartPostUri"])).status_code == 202
        assert (await http.delete(links["purgeHistoryDeleteUri"])).json() == {"instancesDeleted": 1}
        assert (await http.get(links["statusQueryGetUri"].replace(KEYS.durable_task_key, "wrong"))).status_code == 401


async def test_wait_for_completion_or_check_status(server: ManagementServer, client: sdk.DurableOrchestrationClient) -> None:
    wait = client.wait_for_completion_or_create_check_status_response
    done = await wait(request(server), await client.start_new("echo", client_input=[1]), 10_000, 20)
    assert (done.status_code, json.loads(done.get_body())) == (200, [1])
    failed = await wait(request(server), await client.start_new("flaky"), 10_000, 20)
    assert failed.status_code == 500
    assert json.loads(failed.get_body())["runtimeStatus"] == "Failed"
    open_ = await client.start_new("waiter")
    late = await wait(request(server), open_, 50, 20)
    assert late.status_code == 202
    assert json.loads(late.get_body())["id"] == open_


async def test_our_own_clients_over_the_same_wire(server: ManagementServer) -> None:
    def blocking() -> None:
        with df.BlockingHttpClient(server.url, code=KEYS.master_key, task_hub=HUB) as client:
            instance_id = client.start_new("waiter", client_input="x")
            client.suspend(instance_id)
            client.resume(instance_id)
            client.raise_event(instance_id, "go", 7)
            assert client.wait_for_completion(instance_id, timeout=20).output == 7
            again = client.restart(instance_id)
            client.terminate(again, "so")
            assert client.get_status(again).output == "so"
            with pytest.raises(df.InstanceFinishedError):
                client.rewind(again)
            assert {instance_id, again} <= {status.instance_id for status in client.get_status_all()}
            assert len(client.list_page(page_size=1).instances) == 1
            assert client.purge_instance_history(instance_id).instances_deleted == 1
            assert (
                client.purge_instance_history_by(runtime_status=[df.OrchestrationRuntimeStatus.Terminated]).instances_deleted >= 1
            )
            assert client.create_http_management_payload("a")["id"] == "a"

    await asyncio.to_thread(blocking)
    async with df.Client(server.url, code=KEYS.master_key) as client:
        with pytest.raises(TimeoutError):
            await client.wait_for_completion(await client.start_new("waiter"), timeout=0.2)


async def test_nobody_at_the_address() -> None:
    async with df.Client("http://127.0.0.1:9") as client:
        with pytest.raises(df.HostUnreachableError, match="perdure start"):
            await client.get_status("x")
