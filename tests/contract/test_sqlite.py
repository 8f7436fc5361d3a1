from pathlib import Path

import pytest

from perdure.store.sqlite import SqliteStore
from perdure.testing.store_suite import CONTRACT, Check


class SqliteHarness:
    exclusive = True

    def __init__(self, folder: Path) -> None:
        self.database = folder / "hub.db"
        self.time = 1_800_000_000_000_000

    def store(self) -> SqliteStore:
        return SqliteStore(self.database, clock=lambda: self.time)

    def advance(self, microseconds: int) -> None:
        self.time += microseconds


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_contract(check: Check, tmp_path: Path) -> None:
    await check(SqliteHarness(tmp_path))
