"""An executor in a test, and its outcomes."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Self

from perdure.core.converter import JsonConverter
from perdure.core.effects import DispatchActivity
from perdure.core.failures import FailureDetails
from perdure.core.functions import ActivityFunction, EntityFunction, OrchestratorFunction, Pool
from perdure.engine.activities import ActivityExecutor, ActivityOutcome


def activity_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("perdure-activity")]


def activity(
    call: Callable[..., Any],
    pool: Pool,
    *,
    name: str = "",
    takes_input: bool = True,
    input_type: object = None,
    timeout: float | None = None,
) -> ActivityFunction:
    limit = None if timeout is None else timedelta(seconds=timeout)
    return ActivityFunction(name or call.__name__, call, pool, takes_input=takes_input, input_type=input_type, timeout=limit)


def work(name: str, input_: str | None = None, *, instance: str = "i", task: int = 0, generation: int = 0) -> DispatchActivity:
    return DispatchActivity(instance, "e", generation, task, name, input_, 1, f"{instance}/{generation}/{task}")


def failure_of(outcome: ActivityOutcome) -> FailureDetails:
    assert outcome.failure is not None, outcome
    return outcome.failure


class Harness:
    def __init__(
        self,
        *functions: ActivityFunction,
        max_concurrent: int = 100,
        max_threads: int = 4,
        max_processes: int = 1,
        kill_grace: float = 30,
        max_payload_bytes: int = 10_000_000,
    ) -> None:
        self.orchestrators: dict[str, OrchestratorFunction] = {}
        self.entities: dict[str, EntityFunction] = {}
        self.activities = {function.name.casefold(): function for function in functions}
        self.batches: list[list[ActivityOutcome]] = []
        self._news = asyncio.Event()
        self._errors: list[dict[str, Any]] = []
        self.executor = ActivityExecutor(
            self,
            JsonConverter(max_payload_bytes),
            self._receive,
            max_concurrent=max_concurrent,
            max_threads=max_threads,
            max_processes=max_processes,
            kill_grace=timedelta(seconds=kill_grace),
        )

    async def __aenter__(self) -> Self:
        assert not activity_threads()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self._errors.append(context))
        self.executor.start(loop)
        self.dispatch = self.executor.dispatch
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.executor.close(timedelta())
        assert self.executor.running == self.executor.backlog == 0
        assert not activity_threads()
        assert not self._errors

    @property
    def outcomes(self) -> list[ActivityOutcome]:
        return [outcome for batch in self.batches for outcome in batch]

    @property
    def results(self) -> list[str | None]:
        return [outcome.result for outcome in self.outcomes]

    def _receive(self, outcomes: list[ActivityOutcome]) -> None:
        assert asyncio.get_running_loop() is not None
        self.batches.append(outcomes)
        self._news.set()

    async def until(self, count: int) -> list[ActivityOutcome]:
        async with asyncio.timeout(60):
            while len(self.outcomes) < count:
                self._news.clear()
                await self._news.wait()
        return self.outcomes

    async def outcome(self, item: DispatchActivity) -> ActivityOutcome:
        """Dispatches, and gives the next outcome."""
        count = len(self.outcomes)
        self.dispatch(item)
        return (await self.until(count + 1))[count]
