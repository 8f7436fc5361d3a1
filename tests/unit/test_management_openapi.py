"""The OpenAPI document describes the API that is there: no route more, no route less."""

import inspect
import re
from typing import Any

from perdure.host.management.api import ManagementApi
from perdure.host.management.openapi import openapi_document
from tests.unit.management_harness import BASE, open_api


def operations(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(method, path) for path, item in document["paths"].items() for method in item if method != "parameters"]


async def test_the_document_is_served_for_where_it_was_found() -> None:
    async with open_api() as api:
        document = (await api.get("openapi.json")).json()
        assert document["openapi"].startswith("3.1.")
        assert document["servers"] == [{"url": f"http://h{BASE}"}]


async def test_every_operation_exists_and_answers_as_described() -> None:
    async with open_api() as api:
        document = (await api.get("openapi.json")).json()
        for method, path in operations(document):
            url = (
                path.lstrip("/").replace("{functionName}", "echo").replace("{entityName}", "counter").replace("{entityKey}", "a")
            )
            answer = await api.call(method.upper(), url.replace("{instanceId}", "none").replace("{eventName}", "go"))
            assert str(answer.status_code) in document["paths"][path][method]["responses"], (method, path, answer.status_code)
            if answer.status_code == 404:
                assert answer.json()["ExceptionType"] == "InstanceNotFoundError", (method, path)


def test_every_route_of_the_dispatcher_is_described() -> None:
    """Its patterns are the only list of routes there is."""
    source = inspect.getsource(ManagementApi._route) + inspect.getsource(ManagementApi._route_rest)  # noqa: SLF001
    routes = re.findall(r"case (.*):\n", source)
    described = operations(openapi_document("", "Hub"))
    assert len([route for route in routes if route != "_"]) == len(described)
