"""What goes over the wire, byte by byte where it matters: the examples that clients of Durable Functions were written against."""

import re

from perdure.client.links import ManagementLinks
from tests.unit.management_harness import open_api

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"


async def test_start_answers_202_with_the_urls_that_lead_on() -> None:
    async with open_api() as api:
        answer = await api.http.post(
            "/runtime/webhooks/durabletask/orchestrators/Hello?code=system-key",
            content=b'"Tokyo"',
            headers={"content-type": "application/json"},
        )
        assert answer.status_code == 202
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert answer.headers["retry-after"] == "10"
        instance_id = answer.json()["id"]
        assert re.fullmatch("[0-9a-f]{32}", instance_id)
        suffix = "taskHub=Hub&connection=AzureWebJobsStorage&code=system-key"
        prefix = f"http://h/runtime/webhooks/durabletask/instances/{instance_id}"
        assert answer.headers["location"] == f"{prefix}?{suffix}"
        assert answer.text == (
            f'{{"id":"{instance_id}","statusQueryGetUri":"{prefix}?{suffix}",'
            f'"sendEventPostUri":"{prefix}/raiseEvent/{{eventName}}?{suffix}",'
            f'"terminatePostUri":"{prefix}/terminate?reason={{text}}&{suffix}",'
            f'"purgeHistoryDeleteUri":"{prefix}?{suffix}",'
            f'"restartPostUri":"{prefix}/restart?{suffix}",'
            f'"suspendPostUri":"{prefix}/suspend?reason={{text}}&{suffix}",'
            f'"resumePostUri":"{prefix}/resume?reason={{text}}&{suffix}"}}'
        )


async def test_status_with_history_has_the_fields_in_order_and_whole_seconds() -> None:
    async with open_api() as api:
        await api.ended("Hello", "7f3c", "Tokyo")
        answer = await api.get("instances/7f3c", query={"showHistory": "true", "showHistoryOutput": "true"})
        assert answer.status_code == 200
        assert "location" not in answer.headers
        shown = re.sub(rf'"{_TIME}\.\d+Z"', '"PRECISE"', answer.text)
        shown = re.sub(rf'"{_TIME}Z"', '"SECONDS"', shown)
        assert shown == (
            '{"name":"Hello","instanceId":"7f3c","runtimeStatus":"Completed","input":"Tokyo","customStatus":null,'
            '"output":["Hello Tokyo!"],"createdTime":"SECONDS","lastUpdatedTime":"SECONDS","historyEvents":['
            '{"EventType":"ExecutionStarted","Timestamp":"PRECISE","FunctionName":"Hello","Input":"Tokyo"},'
            '{"EventType":"TaskCompleted","Result":"Hello Tokyo!","Timestamp":"PRECISE","ScheduledTime":"PRECISE",'
            '"FunctionName":"SayHello","Input":"Tokyo"},'
            '{"EventType":"ExecutionCompleted","OrchestrationStatus":"Completed","Result":["Hello Tokyo!"],'
            '"Timestamp":"PRECISE"}]}'
        )


async def test_status_of_a_running_instance_is_202_with_its_own_url() -> None:
    async with open_api() as api:
        await api.hub.client.start_new("waiter", "w")
        answer = await api.http.get("/runtime/webhooks/durabletask/instances/w?code=system-key&showInput=false")
        assert answer.status_code == 202
        assert answer.headers["location"] == "http://h/runtime/webhooks/durabletask/instances/w?code=system-key&showInput=false"
        assert answer.headers["retry-after"] == "5"
        body = answer.json()
        assert body["runtimeStatus"] == "Running"
        assert body["customStatus"] == {"waits": "for go"}
        assert "historyEvents" not in body


async def test_the_double_encoded_input_of_the_1x_client_is_stored_as_the_json_value_it_is() -> None:
    async with open_api() as api:
        await api.post("orchestrators/echo/e", json='{"a": 1}')
        await api.hub.client.wait_for_completion("e", timeout=10)
        body = (await api.get("instances/e")).json()
        assert body["input"] == '{"a": 1}'
        assert body["output"] == '{"a": 1}'


def test_management_payload_has_rewind_in_its_place() -> None:
    links = ManagementLinks("http://h/runtime/webhooks/durabletask", "Hub", "Storage", "a/b=")
    payload = links.management_payload("x y")
    assert list(payload) == [
        "id",
        "statusQueryGetUri",
        "sendEventPostUri",
        "terminatePostUri",
        "rewindPostUri",
        "purgeHistoryDeleteUri",
        "restartPostUri",
        "suspendPostUri",
        "resumePostUri",
    ]
    assert payload["id"] == "x y"
    assert payload["rewindPostUri"] == (
        "http://h/runtime/webhooks/durabletask/instances/x%20y/rewind?reason={text}&taskHub=Hub&connection=Storage&code=a%2Fb%3D"
    )
    assert payload["statusQueryGetUri"].endswith("/instances/x%20y?taskHub=Hub&connection=Storage&code=a%2Fb%3D")
    status = links.management_payload("x", fail_with_500=True)["statusQueryGetUri"]
    assert status.endswith("&code=a%2Fb%3D&returnInternalServerErrorOnFailure=true")


def test_creation_urls_carry_the_key_alone() -> None:
    urls = ManagementLinks("http://h/x", "Hub", "Storage", "K").creation_urls()
    assert urls == {
        "createNewInstancePostUri": "http://h/x/orchestrators/{functionName}[/{instanceId}]?code=K",
        "createAndWaitOnNewInstancePostUri": "http://h/x/orchestrators/{functionName}[/{instanceId}]"
        "?timeout={timeoutInSeconds}&pollingInterval={intervalInSeconds}&code=K",
    }
    assert ManagementLinks("http://h/x").creation_urls()["createNewInstancePostUri"].endswith("[/{instanceId}]")
