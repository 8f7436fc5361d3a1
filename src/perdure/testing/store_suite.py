"""The public contract suite: what every store must pass, whoever wrote it.

It needs no test framework. Give each check a harness with a new, empty hub::

    @pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
    async def test_contract(check, tmp_path):
        await check(MyHarness(tmp_path))
"""

from collections.abc import Awaitable, Callable

from perdure.testing.store_checks import commits, leases, lifecycle, queries, reads
from perdure.testing.store_checks.harness import HubStore, StoreHarness

Check = Callable[[StoreHarness], Awaitable[None]]

CONTRACT: tuple[Check, ...] = (*lifecycle.CHECKS, *leases.CHECKS, *commits.CHECKS, *reads.CHECKS, *queries.CHECKS)
"""Every check, each named after what it proves."""

__all__ = ["CONTRACT", "Check", "HubStore", "StoreHarness"]
