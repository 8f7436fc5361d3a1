"""The public contract suite: what every store must pass, whoever wrote it.

It needs no test framework. Give each check a harness with a new, empty hub::

    @pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
    async def test_contract(check, tmp_path):
        await check(MyHarness(tmp_path))

A store that several engines can share has ``SHARING_CONTRACT`` to pass too.
"""

from collections.abc import Awaitable, Callable

from perdure.store.contract import HubStore
from perdure.testing.store_checks import commits, leases, lifecycle, queries, reads, shared_queue, sharing
from perdure.testing.store_checks.harness import StoreHarness

Check = Callable[[StoreHarness], Awaitable[None]]

CONTRACT: tuple[Check, ...] = (*lifecycle.CHECKS, *leases.CHECKS, *commits.CHECKS, *reads.CHECKS, *queries.CHECKS)
"""What every store has to keep; each check is named after what it proves."""

SHARING_CONTRACT: tuple[Check, ...] = (*sharing.CHECKS, *shared_queue.CHECKS)
"""What those with ``sharing`` have to keep besides."""

__all__ = ["CONTRACT", "SHARING_CONTRACT", "Check", "HubStore", "StoreHarness"]
