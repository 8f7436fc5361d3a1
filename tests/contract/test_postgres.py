import pytest

from perdure.testing.store_suite import CONTRACT, SHARING_CONTRACT, Check
from tests.postgres import PostgresHarness

# What the guide "Run on PostgreSQL" tells to grant.
_LEAST_RIGHTS = """
    GRANT USAGE ON SCHEMA {schema} TO {role};
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};
"""


@pytest.mark.parametrize("check", [*CONTRACT, *SHARING_CONTRACT], ids=lambda check: check.__name__)
async def test_contract(check: Check, postgres_harness: PostgresHarness) -> None:
    role = f"engine_of_{postgres_harness.schema}"
    postgres_harness.database.execute(
        f"CREATE ROLE {role} LOGIN;" + _LEAST_RIGHTS.format(schema=postgres_harness.schema, role=role)
    )
    postgres_harness.url = postgres_harness.url.replace("postgres@", f"{role}@")
    await check(postgres_harness)
    assert postgres_harness.database.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0
