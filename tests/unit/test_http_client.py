"""The clients over HTTP: they do what the client in process does, raise what it raises, and say what they can't reach."""

import inspect
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

import perdure as df
from perdure.client.http_answers import Answer
from perdure.client.http_operations import HttpOperations, Pause, Request
from tests.unit.management_harness import Api, broken, open_api

NAIVE_YEAR_2999 = datetime(2999, 1, 1)  # noqa: DTZ001 - naive means UTC
Status = df.OrchestrationRuntimeStatus


def client_of(api: Api, **options: Any) -> df.Client:
    return df.Client("http://h/", transport=httpx.ASGITransport(api.asgi), **{"code": "system-key", "task_hub": "hub", **options})


async def test_an_instance_from_start_to_purge() -> None:
    async with open_api() as api, client_of(api) as client:
        instance_id = await client.start_new("waiter", client_input={"when": datetime(2026, 1, 1, tzinfo=UTC)}, version="3")
        status = await client.get_status(instance_id, show_input=True)
        assert (status.runtime_status, status.input_) == (Status.Running, {"when": "2026-01-01T00:00:00Z"})
        assert status.custom_status == {"waits": "for go"}
        assert status.created_time is not None
        assert status.created_time.tzinfo is not None
        assert (await client.get_status(instance_id)).input_ is None
        await client.suspend(instance_id, "a rest")
        assert (await client.get_status(instance_id)).runtime_status is Status.Suspended
        await client.resume(instance_id)
        await client.raise_event(instance_id, "go", [1])
        status = await client.wait_for_completion(instance_id, timeout=30)
        assert (status.output, status.is_terminal) == ([1], True)
        history = (await client.get_status(instance_id, show_history=True, show_history_output=True)).history
        assert history is not None
        assert history[-1]["Result"] == [1]
        assert await client.purge_instance_history(instance_id) == df.PurgeHistoryResult(1)
        assert await client.purge_instance_history(instance_id) == df.PurgeHistoryResult(0)
        assert not await client.get_status(instance_id)


async def test_ids_and_names_of_all_kinds_arrive_unchanged() -> None:
    async with open_api() as api, client_of(api) as client:
        for instance_id in ("a b", "ä%2F", "x&y=z", "a+b", ";", "...", "a:b"):
            assert await client.start_new("WAITER", instance_id) == instance_id
            await client.raise_event(instance_id, "go", None)
            assert (await client.wait_for_completion(instance_id, 30)).output is None


async def test_events_with_odd_names_arrive() -> None:
    async with open_api() as api, client_of(api) as client:
        await client.start_new("waiter", "w")
        await client.raise_event("w", "a/b c?", 1)
        body = (await api.get("instances/w", query={"showHistory": "true"})).json()
        assert body["historyEvents"][1]["Name"] == "a/b c?"


async def test_terminate_rewind_and_restart() -> None:
    async with open_api() as api, client_of(api) as client:
        await client.start_new("waiter", "w", 5)
        await client.terminate("w", "enough & more")
        assert (await client.get_status("w")).output == "enough & more"
        await client.terminate("w")  # again: nothing to do
        again = await client.restart("w")
        assert again != "w"
        assert (await client.get_status(again, show_input=True)).input_ == 5
        assert await client.restart("w", restart_with_new_instance_id=False) == "w"
        await client.start_new("flaky", "f")
        failed = await client.wait_for_completion("f", 30)
        assert failed.runtime_status is Status.Failed
        assert "it is broken" in failed.output
        broken["flaky"] = False
        await client.rewind("f", "mended")
        assert (await client.wait_for_completion("f", 30)).output == "mended"


async def test_terminate_recursive() -> None:
    async with open_api() as api, client_of(api) as client:
        await client.start_new("parent", "p")
        await api.exists("p-child")
        await client.terminate("p", recursive=True)
        assert (await client.wait_for_completion("p-child", 30)).runtime_status is Status.Terminated


async def test_lists_come_whole_or_by_page() -> None:
    async with open_api() as api, client_of(api) as client:
        for number in range(5):
            await api.ended("echo", f"e{number}", number)
        await client.start_new("waiter", "w")
        assert [status.instance_id for status in await client.get_status_all()] == ["e0", "e1", "e2", "e3", "e4", "w"]
        running = await client.get_status_by(
            runtime_status=[Status.Running, Status.Pending], instance_id_prefix="w", names=["waiter"]
        )
        assert [status.instance_id for status in running] == ["w"]
        assert await client.get_status_by(NAIVE_YEAR_2999) == []
        assert len(await client.get_status_by(datetime(2000, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC))) == 6
        page = await client.list_page(page_size=4, show_input=True)
        assert [status.input_ for status in page.instances] == [0, 1, 2, 3]
        rest = await client.list_page(page_size=4, continuation_token=page.continuation_token)
        assert [status.instance_id for status in rest.instances] == ["e4", "w"]
        assert rest.continuation_token is None


async def test_more_instances_than_one_page_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.client.http_operations._LARGEST_PAGE", 2)
    async with open_api() as api, client_of(api) as client:
        for number in range(5):
            await client.start_new("waiter", f"w{number}")
        assert len(await client.get_status_all()) == 5


async def test_purge_by_filters() -> None:
    async with open_api() as api, client_of(api) as client:
        for number in range(3):
            await api.ended("echo", f"e{number}")
        await client.start_new("waiter", "w")
        assert (await client.purge_instance_history_by(runtime_status=[Status.Failed])).instances_deleted == 0
        assert (await client.purge_instance_history_by(runtime_status=[])).instances_deleted == 0
        assert (await client.purge_instance_history_by(created_time_to=datetime(2000, 1, 1, tzinfo=UTC))).instances_deleted == 0
        assert (await client.purge_instance_history_by()).instances_deleted == 3


async def test_entities() -> None:
    async with open_api() as api, client_of(api) as client:
        for key in ("a", "", "x/y"):
            assert not (await client.read_entity_state(df.EntityId("Counter", key))).entity_exists
            await client.signal_entity(df.EntityId("Counter", key), "tell", {"n": 1})
            state = await client.read_entity_state(f"@counter@{key}")
            assert state.entity_exists
            assert state.entity_state == {"told": "tell", "with": {"n": 1}}
        page = await client.list_entities("counter", fetch_state=True, page_size=2)
        assert [entity.entity_id.key for entity in page.entities] == ["", "a"]
        assert page.entities[0].state["told"] == "tell"
        rest = await client.list_entities(page_size=2, continuation_token=page.continuation_token)
        assert [(entity.entity_id.key, entity.state) for entity in rest.entities] == [("x/y", None)]
        assert rest.continuation_token is None
        for entity in ("@counter@$", "counter"):
            with pytest.raises(df.InvalidEntityIdError):
                await client.signal_entity(entity, "tell")
        with pytest.raises(df.EntityNotRegisteredError, match="Counter"):
            await client.signal_entity("@nobody@a", "tell")


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda client: client.start_new("nobody"), df.OrchestratorNotRegisteredError, "waiter"),
        (lambda client: client.start_new("echo", "a/b"), df.InvalidInstanceIdError, "'/'"),
        (lambda client: client.start_new("echo", "", 1), df.InvalidInstanceIdError, "empty"),
        (lambda client: client.start_new("waiter", "w"), df.InstanceAlreadyExistsError, "w"),
        (lambda client: client.start_new("echo", None, float("nan")), df.SerializationError, "nan"),
        (lambda client: client.start_new("echo", None, "x" * 200), df.PayloadTooLargeError, "100"),
        (lambda client: client.raise_event("nobody", "go"), df.InstanceNotFoundError, "nobody"),
        (lambda client: client.raise_event("ended", "go"), df.InstanceFinishedError, "ended"),
        (lambda client: client.suspend("nobody"), df.InstanceNotFoundError, "nobody"),
        (lambda client: client.resume("ended"), df.InstanceFinishedError, "ended"),
        (lambda client: client.terminate("nobody"), df.InstanceNotFoundError, "nobody"),
        (lambda client: client.rewind("w"), df.InstanceRunningError, "w"),
        (lambda client: client.rewind("ended"), df.InstanceFinishedError, "ended"),
        (lambda client: client.restart("nobody"), df.InstanceNotFoundError, "nobody"),
        (lambda client: client.restart("w", False), df.InstanceAlreadyExistsError, "w"),
        (lambda client: client.purge_instance_history("w"), df.InstanceRunningError, "w"),
        (lambda client: client.wait_for_completion("nobody"), df.InstanceNotFoundError, "nobody"),
        (lambda client: client.wait_for_completion("w", timedelta(0)), TimeoutError, "goes on"),
    ],
)
async def test_errors_are_those_of_the_client_in_process(call: Callable[[Any], Any], error: type[Exception], told: str) -> None:
    async with open_api(settings=df.EngineSettings(max_payload_bytes=100)) as api, client_of(api) as client:
        await api.hub.client.start_new("waiter", "w")
        await api.ended("echo", "ended")
        with pytest.raises(error, match=told) as remote:
            await call(client)
        with pytest.raises(error, match=told) as local:
            await call(api.hub.client)
        assert type(remote.value) is type(local.value)
        if isinstance(local.value, df.InstanceNotFoundError | df.InstanceRunningError | df.InstanceFinishedError):
            assert str(remote.value).count("[PD") == 1


async def test_a_wrong_key_hub_or_address_is_told() -> None:
    async with open_api() as api:
        for options, told in (
            ({"code": "wrong"}, "refused the key"),
            ({"code": None}, "refused the key"),
            ({"task_hub": "Other"}, "'Other'"),
        ):
            async with client_of(api, **options) as client:
                for call in (
                    client.get_status("x"),
                    client.start_new("echo"),
                    client.restart("x"),
                    client.purge_instance_history("x"),
                    client.get_status_all(),
                ):
                    with pytest.raises(df.HostAnswerError, match=told):
                        await call
        async with df.Client("http://h/elsewhere", code="system-key", transport=httpx.ASGITransport(api.asgi)) as client:
            for call in (
                client.get_status("x"),
                client.purge_instance_history("x"),
                client.raise_event("x", "go"),
                client.wait_for_completion("x"),
            ):
                with pytest.raises(df.HostAnswerError, match="404"):
                    await call


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"id": 1}', b"null", b"\xff"])
async def test_answers_of_something_else_are_told(body: bytes) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=body))
    async with df.Client("http://h", transport=transport) as client:
        for call in (client.get_status("x"), client.start_new("echo")):
            with pytest.raises(df.HostAnswerError, match="address"):
                await call


async def test_answers_without_body_are_those_of_durable_functions() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(410 if request.url.path.endswith(("terminate", "gone")) else 404)

    async with df.Client("http://h", transport=httpx.MockTransport(answer)) as client:
        assert not await client.get_status("x")
        assert (await client.purge_instance_history("x")).instances_deleted == 0
        await client.terminate("x")
        with pytest.raises(df.InstanceNotFoundError, match="'x'"):
            await client.suspend("x")
        with pytest.raises(df.InstanceFinishedError, match="'x'"):
            await client.raise_event("x", "gone")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (httpx.ConnectError("connection refused"), "perdure start"),
        (httpx.ReadTimeout(""), "in time"),
        (httpx.RemoteProtocolError("server disconnected"), "disconnected"),
        (httpx.UnsupportedProtocol("no scheme"), "localhost:7071"),
    ],
)
async def test_a_host_that_cant_be_reached_is_told_with_the_remedy(error: Exception, told: str) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error

    async with df.Client("http://h", transport=httpx.MockTransport(fail)) as client:
        with pytest.raises(df.HostUnreachableError, match=told) as raised:
            await client.start_new("echo")
        assert "http://h" in str(raised.value)
    blocking = df.BlockingHttpClient("http://h", transport=httpx.MockTransport(fail))
    with blocking, pytest.raises(df.HostUnreachableError, match=told):
        blocking.start_new("echo")


async def test_an_address_that_isnt_one_is_told() -> None:
    async with df.Client("h:port") as client:
        with pytest.raises(df.HostUnreachableError, match="isn't an address"):
            await client.get_status("x")


async def test_the_key_stays_out_of_urls_which_get_logged() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(404)

    async with df.Client("http://h", code="secret", task_hub="Hub", transport=httpx.MockTransport(answer)) as client:
        await client.get_status("x")
        assert "secret" in client.create_http_management_payload("x")["statusQueryGetUri"]
    assert str(seen[0].url) == (
        "http://h/runtime/webhooks/durabletask/instances/x?taskHub=Hub&showHistory=false&showHistoryOutput=false&showInput=false"
    )
    assert seen[0].headers["x-functions-key"] == "secret"


def test_waiting_polls_soon_then_later_but_never_later_than_the_host_says() -> None:
    body = {
        "name": "n",
        "instanceId": "x",
        "runtimeStatus": "Running",
        "createdTime": "2026-01-01T00:00:00Z",
        "lastUpdatedTime": "2026-01-01T00:00:00Z",
    }
    running = Answer(202, {"retry-after": "2"}, json.dumps(body).encode())
    ended = Answer(200, {}, json.dumps(body | {"runtimeStatus": "Completed"}).encode())
    operation = HttpOperations("http://h", code=None, task_hub=None).wait_for_completion("x", None, False)
    assert isinstance(next(operation), Request)
    pauses: list[float] = []
    for _ in range(8):
        step = operation.send(running)
        assert isinstance(step, Pause)
        pauses.append(step.seconds)
        assert isinstance(operation.send(None), Request)
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2, 2]
    with pytest.raises(StopIteration) as end:
        operation.send(ended)
    assert end.value.value.runtime_status is Status.Completed


def _public(cls: type) -> dict[str, inspect.Signature]:
    return {name: inspect.signature(value) for name, value in vars(cls).items() if not name.startswith("_") and callable(value)}


def test_both_clients_have_the_same_methods_and_those_of_the_client_in_process() -> None:
    remote, blocking, local = _public(df.Client), _public(df.BlockingHttpClient), _public(df.DurableClient)
    assert remote == blocking
    assert set(local) - set(remote) == {"count", "clean_entity_storage"}, "the API has neither"
    for name in set(local) & set(remote):
        ours, theirs = remote[name].parameters, local[name].parameters
        assert list(ours.values()) == [value for key, value in theirs.items() if key in ours], name
