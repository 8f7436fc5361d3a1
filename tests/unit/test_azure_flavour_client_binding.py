"""The SDK's own client understands the binding."""

import json

import pytest

pytest.importorskip("azure.durable_functions")

import azure.functions as func
from azure.durable_functions import DurableOrchestrationClient

from perdure.host.azure.client_binding import client_binding

API = "http://host:7071/runtime/webhooks/durabletask"


def test_the_client_makes_the_urls_that_the_host_serves() -> None:
    client = DurableOrchestrationClient(client_binding("http://host:7071/", "My Hub", "Storage", "k/1"))
    payload = client.create_http_management_payload("an/id")
    assert payload["id"] == "an/id"
    assert payload["statusQueryGetUri"].startswith(f"{API}/instances/")
    assert payload["terminatePostUri"].endswith("/terminate?reason={text}&taskHub=My%20Hub&connection=Storage&code=k%2F1")


def test_a_check_status_response_keeps_the_origin_of_the_request() -> None:
    client = DurableOrchestrationClient(client_binding("http://127.0.0.1:7071", "Hub", "Storage", "k"))
    request = func.HttpRequest("POST", "https://public.example/api/start", body=b"")
    response = client.create_check_status_response(request, "abc")
    assert response.status_code == 202
    expected = "https://public.example/runtime/webhooks/durabletask/instances/abc?taskHub=Hub&connection=Storage&code=k"
    assert response.headers["Location"] == expected
    assert json.loads(response.get_body())["sendEventPostUri"].startswith(
        "https://public.example/runtime/webhooks/durabletask/instances/abc/raiseEvent/{eventName}?"
    )


@pytest.mark.parametrize(("rpc", "expected"), [(None, f"{API}/"), ("http://127.0.0.1:9/secret", "http://127.0.0.1:9/secret/")])
def test_the_clients_own_requests_go_where_no_key_is_needed(rpc: str | None, expected: str) -> None:
    binding = json.loads(client_binding("http://host:7071", "Hub", "Storage", None, rpc_base_url=rpc))
    assert binding["rpcBaseUrl"] == expected
    assert "code=" not in json.dumps(binding)
