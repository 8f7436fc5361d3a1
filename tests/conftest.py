"""What holds for every test."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.postgres import Cluster, Database, PostgresHarness, running_cluster

# No deadline: how long one example takes says more about the machine than about Perdure.
settings.register_profile("perdure", deadline=None, print_blob=True)
settings.load_profile("perdure")

_schemas = (f"hub_{number}" for number in itertools.count(1))


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """A PostgreSQL server for all tests that only use it; those that restart or break one start their own."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def postgres_schema() -> str:
    """A schema that no test has used yet."""
    return next(_schemas)


@pytest.fixture
def postgres_url(postgres_cluster: Cluster, postgres_schema: str) -> str:
    """The URL of a new hub."""
    return f"{postgres_cluster.url}?schema={postgres_schema}"


@pytest.fixture
def postgres_database(postgres_cluster: Cluster) -> Iterator[Database]:
    """The database of ``postgres_url``, as its superuser sees it."""
    database = Database(postgres_cluster.url)
    yield database
    database.close()


@pytest.fixture
def postgres_harness(postgres_cluster: Cluster, postgres_database: Database, postgres_schema: str) -> PostgresHarness:
    """A new hub whose clock stands still."""
    return PostgresHarness(postgres_cluster.url, postgres_database, postgres_schema)
