"""The routes of entities."""

import re

import pytest

from perdure.core.ids import MAX_INSTANCE_ID_LENGTH
from tests.unit.management_harness import Api, open_api

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"


async def tell(api: Api, key: str, operation: str = "x") -> None:
    assert (await api.post(f"entities/counter/{key}", query={"op": operation})).status_code == 202


async def test_signals_take_json_text_or_nothing_and_reads_give_the_bare_state() -> None:
    async with open_api() as api:
        for options, given in (
            ({"json": [1, None]}, b"[1,null]"),
            ({"content": "hé".encode()}, '"hé"'.encode()),
            ({"content": b"1", "headers": {"content-type": "Application/JSON; charset=utf-8"}}, b"1"),
            ({}, b"null"),
        ):
            answer = await api.post("Entities/COUNTER/a", query={"OP": "add"}, **options)
            assert (answer.status_code, answer.content) == (202, b"")
            read = await api.get("entities/counter/a")
            assert (read.status_code, read.headers["content-type"]) == (200, "application/json; charset=utf-8")
            assert read.content == b'{"told":"add","with":' + given + b"}"


async def test_a_signal_without_operation_has_an_empty_name() -> None:
    async with open_api() as api:
        await api.post("entities/counter/a")
        assert (await api.get("entities/counter/a")).json()["told"] == ""


async def test_delete_is_an_operation_and_unknown_entities_are_404() -> None:
    async with open_api() as api:
        await tell(api, "a")
        assert (await api.delete("entities/counter/a")).status_code == 202
        answer = await api.get("entities/counter/a")
        assert answer.status_code == 404
        assert "@counter@a" in answer.json()["ExceptionMessage"]
        assert (await api.get("entities/nobody/a")).status_code == 404


async def test_the_empty_key_is_a_dollar_and_keys_are_any_text() -> None:
    async with open_api() as api:
        await tell(api, "$", "to nobody in particular")
        assert (await api.hub.client.read_entity_state("@counter@")).entity_state["told"] == "to nobody in particular"
        await tell(api, "a%2Fb@%C3%A9", "x")
        assert (await api.get("entities/counter/a%2Fb@%C3%A9")).json()["told"] == "x"


async def test_entities_that_cant_be_are_400_and_nothing_comes_to_be() -> None:
    async with open_api() as api:
        answer = await api.post("entities/nobody/a", query={"op": "x"})
        assert answer.status_code == 400
        assert answer.json()["ExceptionType"] == "EntityNotRegisteredError"
        for path in ("entities/a%40b/k", "entities/counter/" + "k" * MAX_INSTANCE_ID_LENGTH, "entities/counter/a%00"):
            for method in ("GET", "POST", "DELETE"):
                answer = await api.call(method, path)
                assert answer.status_code == 400, path
                assert answer.json()["ExceptionType"] == "InvalidEntityIdError"
        assert (await api.get("entities")).json() == []


async def test_bodies_that_cant_be_read_are_400_and_do_nothing() -> None:
    async with open_api() as api:
        bad = await api.post("entities/counter/a", content=b"{", headers={"content-type": "application/json"})
        assert bad.status_code == 400
        assert bad.json()["Message"].startswith("Could not parse JSON content: ")
        assert (await api.post("entities/counter/a", content=b"\xff")).status_code == 400
        assert (await api.get("entities/counter/a")).status_code == 404


async def test_list_pages_and_filters() -> None:
    async with open_api() as api:
        for key in ("a", "b", "c"):
            await tell(api, key)
        answer = await api.get("entities", query={"fetchState": "true", "top": "2"})
        assert re.sub(f'"{_TIME}"', '"T"', answer.text) == (
            '[{"entityId":{"name":"counter","key":"a"},"lastOperationTime":"T","state":{"told":"x","with":null}},'
            '{"entityId":{"name":"counter","key":"b"},"lastOperationTime":"T","state":{"told":"x","with":null}}]'
        )
        token = answer.headers["x-ms-continuation-token"]
        rest = await api.get("entities/Counter", query={"top": "2"}, headers={"x-ms-continuation-token": token})
        assert [(entity["entityId"]["key"], entity["state"]) for entity in rest.json()] == [("c", None)]
        assert "x-ms-continuation-token" not in rest.headers
        assert (await api.get("entities/other")).json() == []
        assert (await api.get("entities", query={"lastOperationTimeFrom": "2999-01-01"})).json() == []
        assert len((await api.get("entities", query={"lastOperationTimeTo": "2999-01-01"})).json()) == 3
        # A position among entities isn't one among instances.
        assert (await api.get("instances", headers={"x-ms-continuation-token": token})).status_code == 400


@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("DELETE", ""), ("POST", "/terminate"), ("POST", "/rewind")])
async def test_an_entity_is_no_orchestration(method: str, rest: str) -> None:
    async with open_api() as api:
        await tell(api, "a")
        assert (await api.call(method, f"instances/%40counter%40a{rest}")).status_code == 404
        assert (await api.get("instances")).json() == []
        assert (await api.get("entities/counter/a")).status_code == 200


async def test_history_of_an_orchestration_that_called_an_entity_can_be_shown() -> None:
    async with open_api() as api:
        await api.ended("calls_entity", "o")
        answer = await api.get("instances/o", query={"showHistory": "true", "showHistoryOutput": "true"})
        assert answer.status_code == 200
        assert "@counter@o" in [event.get("EntityId") for event in answer.json()["historyEvents"]]
