import pytest

from perdure.store.memory import MemoryData, MemoryStore
from perdure.testing.store_suite import CONTRACT, Check


class MemoryHarness:
    exclusive = False

    def __init__(self) -> None:
        self.data = MemoryData()
        self.time = 1_800_000_000_000_000

    def store(self) -> MemoryStore:
        return MemoryStore(self.data, clock=lambda: self.time)

    def advance(self, microseconds: int) -> None:
        self.time += microseconds


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_contract(check: Check) -> None:
    await check(MemoryHarness())
