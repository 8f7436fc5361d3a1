"""A process that writes effects in transactional activities and, at a chosen moment, dies or stands still.

``python -m tests.chaos.transactional_worker URL TABLE STYLE INPUTS MOMENT`` starts (or finds) one orchestration per element of
INPUTS, a JSON list of lists of names, and ends well when all are completed. MOMENT is ``never``, or ``written`` or ``committed``
with the signal that the process sends itself at the second such moment, as in ``written:SIGKILL``.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import perdure as df
from tests.effects import Place
from tests.transactional_app import transactional_app

LEASE = timedelta(seconds=1)
Status = df.OrchestrationRuntimeStatus


class Fate:
    """Counts moments of one kind, and strikes at the second."""

    def __init__(self, moment: str) -> None:
        self._kind, _, self._signal = moment.partition(":")
        self._left = 2

    def come_to(self, kind: str) -> None:
        """It is such a moment now."""
        if kind == self._kind:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.Signals[self._signal])


def tell_of_commits(transactions: Any, fate: Fate) -> None:
    """Makes ``fate`` notice when an activity's transaction has just been committed."""
    begin, begin_async = transactions.begin, transactions.begin_async

    @contextmanager
    def watched() -> Generator[Any]:
        with begin() as transaction:
            commit = transaction.commit

            def told(*arguments: Any) -> None:
                commit(*arguments)
                fate.come_to("committed")

            transaction.commit = told
            yield transaction

    @asynccontextmanager
    async def watched_async() -> AsyncGenerator[Any]:
        async with begin_async() as transaction:
            commit = transaction.commit

            async def told(*arguments: Any) -> None:
                await commit(*arguments)
                fate.come_to("committed")

            transaction.commit = told
            yield transaction

    transactions.begin, transactions.begin_async = watched, watched_async


async def live(place: Place, style: str, inputs: list[list[str]], moment: str) -> None:
    """Until all is done."""
    fate = Fate(moment)
    store = place.store()
    tell_of_commits(store.transactions, fate)
    app = transactional_app(place, style, written=lambda _: fate.come_to("written"))
    settings = df.EngineSettings(lease_duration=LEASE)
    async with df.TaskHub(app, store, settings=settings) as hub:
        for number, names in enumerate(inputs):
            await hub.client.start_new("chain", f"i{number}", names, reuse_policy=df.ReusePolicy.RETURN_EXISTING)
        for number, names in enumerate(inputs):
            status = await hub.client.wait_for_completion(f"i{number}")
            if status.output != [f"wrote {name}" for name in names]:
                raise AssertionError(f"{status} instead of {names}")


if __name__ == "__main__":
    url, table, style, inputs, moment = sys.argv[1:]
    asyncio.run(live(Place(url, table), style, json.loads(inputs), moment))
