"""Hundreds of odd requests, made from the API's own description: none is a server error, and the hub is whole afterwards."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import perdure as df
from perdure.host.management import orchestrations
from perdure.host.management.openapi import openapi_document
from perdure.store.memory import MemoryStore
from perdure.testing.replay_checker import ReplayChecker
from tests.e2e.management_server import ManagementServer, serving
from tests.unit.management_harness import HUB, KEYS

_AIMS = {
    "functionName": ["echo", "waiter", "Hello", "parent", "flaky"],
    "instanceId": ["a", "b", "a-child"],
    "eventName": ["go", "Go"],
    "entityName": ["counter", "Counter"],
    "entityKey": ["a", "$"],
}
_EXAMPLES = 12


def _operations(aims: dict[str, list[str]]) -> dict[str, Any]:
    document = openapi_document("http://127.0.0.1/", HUB)
    del document["security"]  # each request brings the key; what happens without it is tested elsewhere
    for item in document["paths"].values():
        item["parameters"] = [
            parameter | {"schema": {"enum": aims[parameter["name"]]}} if parameter["name"] in aims else parameter
            for parameter in item["parameters"]
        ]
    schema = schemathesis.openapi.from_dict(document)
    found: list[Any] = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr] - a bad document raises
    return {operation.label: operation for operation in found}


OPERATIONS = {"positive": _operations(_AIMS), "negative": _operations({})}
"""By mode: well-formed requests for what there is, and malformed ones for anything."""
# How long one request takes says more about the machine.
SLOW_IS_FINE = [
    HealthCheck.too_slow,
    HealthCheck.filter_too_much,
    HealthCheck.data_too_large,
    HealthCheck.function_scoped_fixture,
]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def checker() -> ReplayChecker:
    return ReplayChecker(MemoryStore())


@pytest.fixture(scope="module")
def server(checker: ReplayChecker) -> Iterator[ManagementServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(orchestrations, "MAX_WAIT_SECONDS", 0.01)
        with serving(checker) as running:
            checker.watch(running.hub.live_state)
            running.run(running.hub.client.start_new("waiter", "sentinel"))
            yield running


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers["x-functions-key"] = KEYS.durable_task_key
        yield session


@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("label", OPERATIONS["positive"])
def test_no_request_is_a_server_error_and_every_answer_is_as_described(
    label: str, mode: str, server: ManagementServer, session: requests.Session
) -> None:
    cases: Any = OPERATIONS[mode][label].as_strategy(schemathesis.GenerationMode(mode))
    answers = Counter[int]()
    server.run(_something_to_hit(server.hub.client))

    @settings(
        max_examples=_EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=SLOW_IS_FINE,
    )
    @given(case=cases)
    def ask(case: Any) -> None:
        response = case.call(base_url=server.links.base_url, session=session)
        answers[response.status_code] += 1
        checks = CHECKS
        if response.status_code == 500 and response.json().get("runtimeStatus") == "Failed":
            checks = CHECKS[1:]  # asked for with returnInternalServerErrorOnFailure
        case.validate_response(response, checks=checks)

    ask()
    assert mode == "negative" or set(answers) - {400, 401, 404}, f"nothing was hit, so nothing was tested: {answers}"


async def _something_to_hit(client: df.DurableClient) -> None:
    for name, instance_id in (("waiter", "a"), ("flaky", "b"), ("parent", "a-child")):
        with suppress(df.InstanceAlreadyExistsError):
            await client.start_new(name, instance_id)
    await client.signal_entity("@counter@a", "add", 1)
    await client.terminate("b")


@settings(max_examples=100, derandomize=True, database=None, deadline=None, suppress_health_check=SLOW_IS_FINE)
@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"]),
    segments=st.lists(
        st.sampled_from(
            [
                "instances",
                "orchestrators",
                "raiseEvent",
                "terminate",
                "restart",
                "entities",
                "echo",
                "a",
                "%",
                "%zz",
                "..",
                "%2e%2e",
            ]
        )
        | st.text(max_size=5),
        max_size=5,
    ),
    query=st.text(max_size=40),
    body=st.binary(max_size=40),
)
def test_no_path_query_or_body_is_a_server_error(
    server: ManagementServer, session: requests.Session, method: str, segments: list[str], query: str, body: bytes
) -> None:
    url = f"{server.links.base_url}/{'/'.join(segments)}?{query}"
    response = session.request(method, url, data=body, headers={"content-type": "application/json"})
    assert response.status_code < 500, response.text
    # requests resolves "..", and what is outside of the API answers in its own way.
    if response.status_code >= 400 and response.url.startswith(f"{server.links.base_url}/"):
        assert response.json()["Message"]


def test_afterwards_nothing_is_lost_and_everything_works(server: ManagementServer, checker: ReplayChecker) -> None:
    """Runs last, in the order of the file."""
    client = server.hub.client
    server.run(client.raise_event("sentinel", "go", "still here"))
    assert server.run(client.wait_for_completion("sentinel", timeout=10)).output == "still here"
    hello = server.run(client.start_new("Hello", client_input="again"))
    assert server.run(client.wait_for_completion(hello, timeout=10)).output == ["Hello again!"]
    assert checker.mismatches == []
    found = server.run(client.get_status_all())
    assert checker.checked > len(found)
    for status in found:
        server.run(client.terminate(status.instance_id))
        server.run(client.wait_for_completion(status.instance_id, timeout=10))
    assert server.run(client.purge_instance_history_by()).instances_deleted == len(found)
    assert server.run(client.count()) == {}
