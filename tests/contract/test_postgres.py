import re
from pathlib import Path

import pytest

from perdure.testing.store_suite import CONTRACT, SHARING_CONTRACT, Check
from tests.postgres import PostgresHarness

_GUIDE = Path(__file__).parents[2] / "docs/how-to/run-on-postgresql.md"


def least_rights(schema: str, role: str) -> str:
    """What the guide tells to grant to engines that may not change the schema."""
    [grants] = [
        block for block in re.findall(r"```sql\n(.*?)```", _GUIDE.read_text(encoding="utf-8"), re.DOTALL) if "GRANT" in block
    ]
    return grants.replace("perdure_engine", role).replace("SCHEMA perdure", f"SCHEMA {schema}")


@pytest.mark.parametrize("check", [*CONTRACT, *SHARING_CONTRACT], ids=lambda check: check.__name__)
async def test_contract(check: Check, postgres_harness: PostgresHarness) -> None:
    role = f"engine_of_{postgres_harness.schema}"
    postgres_harness.database.execute(f"CREATE ROLE {role} LOGIN;" + least_rights(postgres_harness.schema, role))
    postgres_harness.url = postgres_harness.url.replace("postgres@", f"{role}@")
    await check(postgres_harness)
    assert postgres_harness.database.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0
