"""Every route of the management API: what it does, and what it answers in each state of an instance."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

import perdure as df
from perdure.host.management import ManagementOptions
from perdure.host.management.orchestrations import OrchestrationRoutes
from tests.unit.management_harness import BASE, Api, broken, open_api

Status = df.OrchestrationRuntimeStatus


async def status_of(api: Api, instance_id: str) -> Status | None:
    return (await api.hub.client.get_status(instance_id)).runtime_status


def told(answer: httpx.Response) -> str:
    body = answer.json()
    assert set(body) == {"Message", "ExceptionMessage", "ExceptionType"}
    return body["ExceptionMessage"]


# --- start ------------------------------------------------------------------------------------------------------------


async def test_start_takes_id_version_and_no_body() -> None:
    async with open_api() as api:
        answer = await api.post("orchestrators/ECHO/my%20id", query={"version": "2.1"})
        assert answer.status_code == 202
        assert answer.json()["id"] == "my id"
        status = await api.hub.client.wait_for_completion("my id", timeout=10, show_input=True)
        assert (status.name, status.version, status.input_) == ("echo", "2.1", None)


async def test_start_that_waits_gives_the_bare_output() -> None:
    async with open_api() as api:
        answer = await api.post("orchestrators/echo", json=[1, None], query={"timeout": "30", "pollingInterval": "0.5"})
        assert (answer.status_code, answer.text) == (200, "[1,null]")
        answer = await api.post("orchestrators/echo", query={"TIMEOUT": "30"})
        assert (answer.status_code, answer.text) == (200, "null")


async def test_start_that_waits_in_vain_gives_the_urls() -> None:
    async with open_api() as api:
        answer = await api.post("orchestrators/waiter/w", query={"timeout": "0.01"})
        assert answer.status_code == 202
        assert answer.json()["id"] == "w"


async def test_an_interval_without_timeout_waits_for_nothing() -> None:
    async with open_api() as api:
        assert (await api.post("orchestrators/waiter", query={"pollingInterval": "3"})).status_code == 202


@pytest.mark.parametrize(("flag", "code"), [("false", 200), ("TRUE", 500)])
async def test_start_that_waits_for_a_failure_gives_its_status(flag: str, code: int) -> None:
    async with open_api() as api:
        query = {"timeout": "30", "pollingInterval": "1", "returnInternalServerErrorOnFailure": flag}
        answer = await api.post("orchestrators/flaky", query=query)
        assert answer.status_code == code
        assert answer.json()["runtimeStatus"] == "Failed"
        assert "it is broken" in answer.json()["output"]


async def test_the_flag_for_failures_is_passed_on_in_the_url() -> None:
    async with open_api() as api:
        answer = await api.post("orchestrators/waiter", query={"returnInternalServerErrorOnFailure": "true"})
        assert answer.headers["location"].endswith("&returnInternalServerErrorOnFailure=true")


async def test_start_of_an_unknown_orchestrator_names_those_there_are() -> None:
    async with open_api() as api:
        answer = await api.post("orchestrators/nobody")
        assert answer.status_code == 400
        assert answer.json()["Message"] == "One or more of the arguments submitted is incorrect"
        assert answer.json()["ExceptionType"] == "OrchestratorNotRegisteredError"
        assert "'nobody'" in told(answer)
        assert "waiter" in told(answer)


async def test_start_over_a_running_id_conflicts_and_over_an_ended_one_replaces() -> None:
    async with open_api() as api:
        assert (await api.post("orchestrators/waiter/x")).status_code == 202
        answer = await api.post("orchestrators/echo/x", json=1)
        assert answer.status_code == 409
        assert "x" in told(answer)
        assert await status_of(api, "x") is Status.Running
        await api.post("instances/x/terminate")
        assert (await api.post("orchestrators/echo/x", json=1)).status_code == 202
        assert (await api.hub.client.wait_for_completion("x", timeout=10)).output == 1


# --- status and lists -------------------------------------------------------------------------------------------------


async def test_status_hides_input_and_results_unless_asked() -> None:
    async with open_api() as api:
        await api.ended("Hello", "h", "Rome")
        body = (await api.get("instances/h", query={"showInput": "false", "showHistory": "True"})).json()
        assert body["input"] is None
        assert body["output"] == ["Hello Rome!"]
        assert [set(event) & {"Input", "Result"} for event in body["historyEvents"]] == [set()] * 3


async def test_history_of_a_pending_instance_is_left_out() -> None:
    async with open_api() as api:
        await api.hub.client.start_new("echo", "later", start_at=timedelta(hours=1))
        answer = await api.get("instances/later", query={"showHistory": "true"})
        assert answer.status_code == 202
        assert answer.json()["runtimeStatus"] == "Pending"
        assert "historyEvents" not in answer.json()


async def test_history_of_every_kind_of_event_can_be_shown() -> None:
    async with open_api() as api:
        await api.ended("flaky", "f")
        await api.hub.client.start_new("parent", "p")
        await api.exists("p-child")
        await api.post("instances/p-child/suspend", query={"reason": "a rest"})
        await api.post("instances/p-child/resume")
        await api.post("instances/p-child/raiseEvent/go", json=1)
        await api.hub.client.wait_for_completion("p", timeout=10)
        for instance_id, expected in (
            ("f", ["ExecutionStarted", "TaskFailed", "ExecutionCompleted"]),
            ("p", ["ExecutionStarted", "SubOrchestrationInstanceCompleted", "ExecutionCompleted"]),
            ("p-child", ["ExecutionStarted", "ExecutionSuspended", "ExecutionResumed", "EventRaised", "ExecutionCompleted"]),
        ):
            answer = await api.get(f"instances/{instance_id}", query={"showHistory": "true", "showHistoryOutput": "true"})
            assert [event["EventType"] for event in answer.json()["historyEvents"]] == expected


async def test_failed_status_is_500_only_if_asked() -> None:
    async with open_api() as api:
        await api.ended("flaky", "f")
        plain = await api.get("instances/f")
        flagged = await api.get("instances/f", query={"RETURNInternalServerErrorOnFailure": "true"})
        assert (plain.status_code, flagged.status_code) == (200, 500)
        assert plain.json() == flagged.json()


async def test_list_filters_by_time_status_prefix_and_name() -> None:
    async with open_api() as api:
        before = datetime.now(UTC).isoformat()
        await api.ended("echo", "a1", 1)
        await api.ended("echo", "b1", 2)
        await api.hub.client.start_new("waiter", "a2")

        async def ids(**query: Any) -> list[str]:
            answer = await api.get("instances/", query=query)
            assert answer.status_code == 200
            return [body["instanceId"] for body in answer.json()]

        assert await ids() == ["a1", "a2", "b1"]
        assert await ids(instanceIdPrefix="a") == ["a1", "a2"]
        assert await ids(name="waiter,nobody") == ["a2"]
        assert await ids(runtimeStatus="completed") == ["a1", "b1"]
        assert await ids(runtimeStatus=["Completed,Failed", "RUNNING"]) == ["a1", "a2", "b1"]
        assert await ids(createdTimeFrom=before) == ["a1", "a2", "b1"]
        assert await ids(createdTimeTo=before) == []
        assert await ids(createdTimeFrom="2999-01-01") == []
        # The plus of an offset, not encoded, arrives as a space.
        answer = await api.http.get(f"{BASE}/instances?code=system-key&createdTimeFrom=2020-01-01T00:00:00+00:00")
        assert (answer.status_code, len(answer.json())) == (200, 3)


async def test_list_shows_inputs_unless_told_not_to() -> None:
    async with open_api() as api:
        await api.ended("echo", "a", {"x": 1})
        [shown] = (await api.get("instances")).json()
        [hidden] = (await api.get("instances", query={"showinput": "FALSE"})).json()
        assert (shown["input"], shown["output"]) == ({"x": 1}, {"x": 1})
        assert (hidden["input"], hidden["output"]) == (None, {"x": 1})


async def test_pages_follow_their_tokens_and_the_last_has_none() -> None:
    async with open_api() as api:
        ids = [f"é{number}" for number in range(5)]
        for instance_id in ids:
            await api.hub.client.start_new("waiter", instance_id)
        found: list[str] = []
        sizes: list[int] = []
        headers: dict[str, str] = {}
        while True:
            answer = await api.get("instances", query={"top": "2"}, headers=headers)
            found += [body["instanceId"] for body in answer.json()]
            sizes.append(len(answer.json()))
            token = answer.headers.get("x-ms-continuation-token")
            if token is None:
                break
            assert "é" not in token
            headers = {"x-ms-continuation-token": token}
        assert (found, sizes) == (ids, [2, 2, 1])


async def test_a_page_that_is_exactly_full_is_the_last() -> None:
    async with open_api() as api:
        for instance_id in ("a", "b"):
            await api.hub.client.start_new("waiter", instance_id)
        answer = await api.get("instances", query={"top": "2"})
        assert len(answer.json()) == 2
        assert "x-ms-continuation-token" not in answer.headers


async def test_a_changed_token_is_refused_and_an_empty_one_is_none() -> None:
    async with open_api() as api:
        for instance_id in ("a", "b"):
            await api.hub.client.start_new("waiter", instance_id)
        token = (await api.get("instances", query={"top": "1"})).headers["x-ms-continuation-token"]
        other = ("B" if token[0] == "A" else "A") + token[1:]
        for bad in (other, token + "AAAA", "a", "é", "!!!!", "null", "{}", "A" * 5000):
            answer = await api.get("instances", headers={"x-ms-continuation-token": bad.encode()})
            assert answer.status_code == 400, bad
            assert "token" in told(answer)
        assert (await api.get("instances", headers={"x-ms-continuation-token": ""})).status_code == 200


# --- steering ---------------------------------------------------------------------------------------------------------


async def test_events_reach_the_instance_and_ended_ones_are_gone() -> None:
    async with open_api() as api:
        await api.hub.client.start_new("waiter", "w")
        answer = await api.post(
            "Instances/w/RAISEEVENT/go/", json={"x": [1]}, headers={"content-type": "Application/JSON; charset=utf-8"}
        )
        assert (answer.status_code, answer.content) == (202, b"")
        assert (await api.hub.client.wait_for_completion("w", timeout=10)).output == {"x": [1]}
        answer = await api.post("instances/w/raiseEvent/go", json=1)
        assert answer.status_code == 410
        assert answer.json()["ExceptionType"] == "InstanceFinishedError"
        assert (await api.post("instances/nobody/raiseEvent/go", json=1)).status_code == 404


@pytest.mark.parametrize("media_type", ["text/plain", "application/jsonx", ""])
async def test_events_must_be_declared_as_json(media_type: str) -> None:
    async with open_api() as api:
        await api.hub.client.start_new("waiter", "w")
        answer = await api.post("instances/w/raiseEvent/go", content=b"1", headers={"content-type": media_type})
        assert answer.status_code == 400
        assert answer.json()["Message"] == "Only application/json request content is supported"
        assert await status_of(api, "w") is Status.Running


async def test_terminate_suspend_and_resume() -> None:
    async with open_api() as api:
        await api.hub.client.start_new("waiter", "w")
        for verb, reached in (
            ("suspend", Status.Suspended),
            ("suspend", Status.Suspended),
            ("resume", Status.Running),
            ("resume", Status.Running),
        ):
            answer = await api.post(f"instances/w/{verb}", query={"reason": "so"})
            assert (answer.status_code, answer.content) == (202, b"")
            assert await status_of(api, "w") is reached
        assert (await api.post("instances/w/terminate", query={"reason": "ça suffit"})).status_code == 202
        status = await api.hub.client.get_status("w")
        assert (status.runtime_status, status.output) == (Status.Terminated, "ça suffit")
        for verb in ("terminate", "suspend", "resume", "rewind"):
            answer = await api.post(f"instances/w/{verb}")
            assert answer.status_code == 410, verb
            assert "w" in told(answer)


@pytest.mark.parametrize("verb", ["terminate", "suspend", "resume", "rewind"])
async def test_steering_an_unknown_instance_is_404(verb: str) -> None:
    async with open_api() as api:
        answer = await api.post(f"instances/nobody/{verb}")
        assert answer.status_code == 404
        assert answer.json()["ExceptionType"] == "InstanceNotFoundError"


async def test_terminate_reaches_children_only_if_asked() -> None:
    async with open_api() as api:
        for instance_id in ("a", "b"):
            await api.hub.client.start_new("parent", instance_id)
            await api.exists(f"{instance_id}-child")
        await api.post("instances/a/terminate")
        await api.post("instances/b/terminate", query={"recursive": "true"})
        await api.hub.client.wait_for_completion("b-child", timeout=10)
        assert await status_of(api, "a-child") is Status.Running
        assert await status_of(api, "b-child") is Status.Terminated


async def test_rewind_lets_a_failed_instance_go_on_and_refuses_others() -> None:
    async with open_api() as api:
        await api.ended("flaky", "f")
        broken["flaky"] = False
        assert (await api.post("instances/f/rewind", query={"reason": "mended"})).status_code == 202
        assert (await api.hub.client.wait_for_completion("f", timeout=10)).output == "mended"
        assert (await api.post("instances/f/rewind")).status_code == 410
        await api.hub.client.start_new("waiter", "w")
        answer = await api.post("instances/w/rewind")
        assert answer.status_code == 409
        assert answer.json()["ExceptionType"] == "InstanceRunningError"


# --- restart and purge ------------------------------------------------------------------------------------------------


async def test_restart_makes_a_new_instance_with_the_same_input() -> None:
    async with open_api() as api:
        await api.ended("echo", "e", {"n": 12345678901234567890123})
        answer = await api.post("instances/e/restart")
        assert answer.status_code == 202
        new_id = answer.json()["id"]
        assert new_id != "e"
        assert answer.headers["location"] == answer.json()["statusQueryGetUri"]
        assert (await api.hub.client.wait_for_completion(new_id, timeout=10)).output == {"n": 12345678901234567890123}


async def test_restart_in_place_replaces_an_ended_instance_and_refuses_a_running_one() -> None:
    async with open_api() as api:
        await api.ended("echo", "e", 7)
        first = await api.hub.client.get_status("e")
        answer = await api.post("instances/e/restart", query={"restartWithNewInstanceId": "False", "timeout": "30"})
        assert (answer.status_code, answer.json()) == (200, 7)
        again = await api.hub.client.get_status("e")
        assert again.created_time != first.created_time
        await api.hub.client.start_new("waiter", "w")
        assert (await api.post("instances/w/restart", query={"restartWithNewInstanceId": "false"})).status_code == 409


async def test_restart_of_an_unknown_instance_is_a_bad_request() -> None:
    async with open_api() as api:
        answer = await api.post("instances/nobody/restart")
        assert answer.status_code == 400
        assert answer.json()["Message"] == "InstanceId does not match a valid orchestration instance."


async def test_purge_of_one_instance() -> None:
    async with open_api() as api:
        await api.ended("echo", "e")
        await api.hub.client.start_new("waiter", "w")
        answer = await api.delete("instances/e")
        assert (answer.status_code, answer.text) == (200, '{"instancesDeleted":1}')
        assert (await api.delete("instances/e")).status_code == 404
        answer = await api.delete("instances/w")
        assert answer.status_code == 409
        assert answer.json()["ExceptionType"] == "InstanceRunningError"
        assert await status_of(api, "w") is Status.Running


async def test_purge_of_many_needs_a_beginning_and_spares_what_runs() -> None:
    async with open_api() as api:
        for number in range(3):
            await api.ended("echo", f"e{number}")
        await api.ended("flaky", "f")
        await api.hub.client.start_new("waiter", "w")
        answer = await api.delete("instances/")
        assert answer.status_code == 400
        assert answer.json()["Message"] == "Please provide value for 'createdTimeFrom' parameter."
        since = {"createdTimeFrom": "2000-01-01T00:00:00Z"}
        assert (await api.delete("instances", query={**since, "createdTimeTo": "2000-01-02"})).status_code == 404
        assert (await api.delete("instances", query={**since, "runtimeStatus": "Failed,Running"})).json() == {
            "instancesDeleted": 1
        }
        assert (await api.delete("instances", query=since)).json() == {"instancesDeleted": 3}
        assert [status.instance_id for status in await api.hub.client.get_status_all()] == ["w"]


# --- around it --------------------------------------------------------------------------------------------------------


async def test_names_may_be_in_any_case_and_connection_is_accepted() -> None:
    async with open_api() as api:
        await api.ended("echo", "e")
        answer = await api.http.get("/Runtime/WEBHOOKS/DurableTask/INSTANCES/e/?CODE=system-key&TaskHub=hub&Connection=Other")
        assert answer.status_code == 200
        assert (await api.http.get(f"{BASE}/instances/E?code=system-key")).status_code == 404, "an id is not a name"


async def test_another_hub_is_refused_and_white_space_is_none() -> None:
    async with open_api() as api:
        await api.ended("echo", "e")
        answer = await api.delete("instances/e", query={"taskHub": "Other"})
        assert answer.status_code == 400
        assert "'Other'" in told(answer)
        assert await status_of(api, "e") is Status.Completed
        assert (await api.get("instances/e", query={"taskHub": "  "})).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_makeprimary_is_accepted(method: str) -> None:
    async with open_api() as api:
        assert (await api.call(method, "makePrimary")).status_code == 200


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({"x-forwarded-host": "example.org, inner", "x-forwarded-proto": "https"}, "https://example.org"),
        ({"forwarded": 'for=1.2.3.4;host="example.org:8443";proto=https, for=5.6.7.8'}, "https://example.org:8443"),
    ],
)
async def test_forwarded_headers_count_only_if_the_operator_says_so(headers: dict[str, str], origin: str) -> None:
    for believed in (False, True):
        async with open_api(options=ManagementOptions(forwarded_headers=believed)) as api:
            answer = await api.post("orchestrators/echo", headers=headers)
            assert answer.headers["location"].startswith(f"{origin if believed else 'http://h'}{BASE}/instances/")


async def test_urls_contain_the_path_where_the_api_is_mounted() -> None:
    async with open_api() as api:
        outer = Starlette()
        outer.mount("/durable", api.asgi)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="https://h:8") as http:
            answer = await http.post(f"/durable{BASE}/orchestrators/echo/a%2Eb?code=system-key")
            url = answer.headers["location"]
            assert url == f"https://h:8/durable{BASE}/instances/a.b?taskHub=Hub&connection=AzureWebJobsStorage&code=system-key"
            assert (await http.get(url)).status_code in (200, 202)


async def test_a_closed_hub_is_503_with_a_time_to_come_back() -> None:
    async with open_api() as api:
        await api.hub.close()
        answer = await api.post("orchestrators/echo")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["ExceptionType"] == "EngineStoppedError"


async def test_a_bug_is_500_that_tells_nothing_unless_asked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def bug(*_: Any) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(OrchestrationRoutes, "status", bug)
    async with open_api() as api:
        answer = await api.get("instances/x")
        assert answer.status_code == 500
        assert answer.json()["Message"] == "Something went wrong while processing your request"
        assert "hunter2" not in answer.text
        assert "hunter2" in caplog.text
    async with open_api(options=ManagementOptions(show_traces=True)) as api:
        answer = await api.get("instances/x")
        assert "hunter2" in answer.json()["ExceptionMessage"]
        assert "in bug" in answer.json()["StackTrace"]
