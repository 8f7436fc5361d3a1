"""PostgreSQL against the memory store as its model: whatever several engines call in whatever order, both must answer alike."""

from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from perdure.testing.store_suite import HubStore
from tests.contract.test_store_model import PARTITIONS, SharedStoreMachine
from tests.postgres import Cluster, Database, PostgresHarness

_schemas = (f"model_{number}" for number in count(1))


class Place:
    """Where the machines find the server: they are made by Hypothesis, which knows no fixtures."""

    url: str
    database: Database


@pytest.fixture(autouse=True, scope="module")
def place(postgres_cluster: Cluster) -> Iterator[None]:
    Place.url, Place.database = postgres_cluster.url, Database(postgres_cluster.url)
    yield
    Place.database.close()


class PostgresMachine(SharedStoreMachine):
    def hub(self, folder: Path) -> list[HubStore]:
        self.harness = PostgresHarness(Place.url, Place.database, next(_schemas), PARTITIONS)
        self.shown = 0
        return [self.harness.store(), self.harness.store()]

    def both(self, call: Callable[[HubStore], Awaitable[Any]]) -> Any:
        if self.shown != self.time:
            self.shown = self.time
            self.harness.set_clock(self.time)
        return super().both(call)


TestPostgresModel = PostgresMachine.TestCase
TestPostgresModel.settings = settings(max_examples=20, stateful_step_count=20)
