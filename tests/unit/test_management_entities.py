"""The routes of entities, over a client that holds a few in a dict; and without one."""

from datetime import UTC, datetime
from typing import Any

import pytest

from perdure.host.management import EntityFilter, EntityPage, EntityRecord
from tests.unit.management_harness import open_api

THEN = datetime(2026, 1, 5, 10, 0, 0, 123000, tzinfo=UTC)


class Entities:
    """States by name and key, and what was signalled."""

    def __init__(self) -> None:
        self.states = {("counter", "a"): "3", ("counter", ""): '{"x":1}', ("lamp", "é"): "true"}
        self.signals: list[tuple[str, str, str, Any]] = []
        self.filters: list[EntityFilter] = []

    async def read(self, name: str, key: str) -> str | None:
        return self.states.get((name, key))

    async def signal(self, name: str, key: str, operation: str, operation_input: Any) -> None:
        self.signals.append((name, key, operation, operation_input))

    async def list(self, filter: EntityFilter) -> EntityPage:  # noqa: A002
        self.filters.append(filter)
        records = [
            EntityRecord(*entity, THEN, state if filter.fetch_state else None) for entity, state in sorted(self.states.items())
        ]
        start = int(filter.continuation_token or 0)
        end = start + filter.page_size
        return EntityPage(records[start:end], str(end) if end < len(records) else None)


async def test_read_gives_the_bare_state() -> None:
    async with open_api(entities=Entities()) as api:
        answer = await api.get("Entities/counter/a")
        assert (answer.status_code, answer.text, answer.headers["content-type"]) == (200, "3", "application/json; charset=utf-8")
        assert (await api.get("entities/counter/$")).json() == {"x": 1}
        assert (await api.get("entities/lamp/%C3%A9")).text == "true"
        assert (await api.get("entities/counter/b")).status_code == 404


async def test_signal_takes_json_text_or_nothing() -> None:
    entities = Entities()
    async with open_api(entities=entities) as api:
        assert (await api.post("entities/counter/a", query={"op": "add"}, json=[1])).status_code == 202
        assert (await api.post("entities/counter/a", query={"OP": "say"}, content="hé".encode())).status_code == 202
        assert (await api.post("entities/counter/$")).status_code == 202
        assert (await api.delete("entities/counter/a")).status_code == 202
        bad = await api.post("entities/counter/a", content=b"{", headers={"content-type": "application/json"})
        assert bad.status_code == 400
        assert bad.json()["Message"].startswith("Could not parse JSON content: ")
        assert (await api.post("entities/counter/a", content=b"\xff")).status_code == 400
    assert entities.signals == [
        ("counter", "a", "add", [1]),
        ("counter", "a", "say", "hé"),
        ("counter", "", "", None),
        ("counter", "a", "delete", None),
    ]


async def test_list_pages_and_filters() -> None:
    entities = Entities()
    async with open_api(entities=entities) as api:
        answer = await api.get("entities", query={"fetchState": "true", "top": "2"})
        assert answer.text == (
            '[{"entityId":{"name":"counter","key":""},"lastOperationTime":"2026-01-05T10:00:00.123000Z","state":{"x":1}},'
            '{"entityId":{"name":"counter","key":"a"},"lastOperationTime":"2026-01-05T10:00:00.123000Z","state":3}]'
        )
        token = answer.headers["x-ms-continuation-token"]
        query = {"lastOperationTimeFrom": "2026-01-01", "top": "2"}
        rest = await api.get("entities/lamp", query=query, headers={"x-ms-continuation-token": token})
        assert [entity["state"] for entity in rest.json()] == [None]
        assert "x-ms-continuation-token" not in rest.headers
        # A position among entities isn't one among instances.
        assert (await api.get("instances", headers={"x-ms-continuation-token": token})).status_code == 400
    assert entities.filters[1] == EntityFilter("lamp", datetime(2026, 1, 1, tzinfo=UTC), None, False, 2, "2")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "entities"), ("GET", "entities/n"), ("GET", "entities/n/k"), ("POST", "entities/n/k"), ("DELETE", "entities/n/k")],
)
async def test_without_entities_the_answer_says_so(method: str, path: str) -> None:
    async with open_api() as api:
        answer = await api.call(method, path)
        assert answer.status_code == 501
        assert "no durable entities" in answer.json()["ExceptionMessage"]
