"""A worker process that is going to be killed: engine and client of one SQLite hub.

``python -m tests.chaos.worker DATABASE LOG SEED NEXT LAST`` goes on with what the hub holds, starts the instances from number
NEXT on, up to LAST, and ends well when all are completed with the right result. The log says what was acknowledged and
what was run; a line that was written survives the process.
"""

import asyncio
import os
import random
import sys
import time
from pathlib import Path

import perdure as df
from perdure.store.sqlite import SqliteStore
from perdure.testing.replay_checker import ReplayChecker
from tests.simulation.workload import Program, events_of, interpret, outcome, random_program, step

AT_ONCE = 12
Status = df.OrchestrationRuntimeStatus


def program_of(seed: int, number: int) -> Program:
    """What instance ``number`` runs."""
    return random_program(random.Random(f"{seed}/{number}"), number, pauses=(0, 0.01, 0.3))


class Worker:
    """One life."""

    def __init__(self, database: Path, log: Path, seed: int) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._seed = seed
        self.checker = ReplayChecker(SqliteStore(database))
        self._hub = df.TaskHub(self._app(), self.checker, settings=df.EngineSettings(max_sessions=20))
        self.checker.watch(self._hub.live_state)

    async def live(self, next_number: int, last: int) -> None:
        """Until all is done."""
        room = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with room:
                await self._instance(number)

        async with self._hub, asyncio.TaskGroup() as everybody:
            running = await self._hub.client.get_status_by(runtime_status=[Status.Running, Status.Pending])
            left = {int(status.instance_id[1:]) for status in running if ":" not in status.instance_id}
            for number in sorted(left | set(range(next_number, last))):
                everybody.create_task(one(number))
        if self.checker.mismatches:
            raise self.checker.mismatches[0]

    async def _instance(self, number: int) -> None:
        client, name, program = self._hub.client, f"c{number}", program_of(self._seed, number)
        await client.start_new("interpret", name, program, reuse_policy=df.ReusePolicy.RETURN_EXISTING)
        self._say(f"started {number}")
        try:
            for position, event in enumerate(events_of(program)):
                await client.raise_event(name, event, [number, position])
        except df.InstanceFinishedError:
            pass  # an earlier life had raised them
        status = await client.wait_for_completion(name)
        if (status.runtime_status, status.output) != (Status.Completed, outcome(program)):
            raise AssertionError(f"{name}: {status} instead of {outcome(program)}")
        self._say(f"completed {number}")

    def _say(self, line: str) -> None:
        os.write(self._log, f"{line}\n".encode())

    def _run(self) -> None:
        context = df.activity_context()
        execution_id, generation, _ = context.idempotency_key.rsplit("-", 2)
        self._say(f"run {execution_id} {generation} {context.task_id}")

    def _app(self) -> df.DFApp:
        app = df.DFApp()
        app.orchestration_trigger(context_name="context")(interpret)

        @app.activity_trigger(input_name="value")
        def work(value: int) -> int:
            self._run()
            time.sleep(random.random() * 0.02)
            return step(value)

        @app.activity_trigger(input_name="value")
        async def fail(value: int) -> int:
            self._run()
            raise ValueError(f"no {value}")

        @app.activity_trigger(input_name="value")
        async def flaky(value: int) -> int:
            self._run()
            await asyncio.sleep(random.random() * 0.02)
            attempt = df.activity_context().attempt
            if attempt < value:
                raise ValueError(f"attempt {attempt}")
            return step(value)

        return app


if __name__ == "__main__":
    database, log, seed, next_number, last = sys.argv[1:]
    asyncio.run(Worker(Path(database), Path(log), int(seed)).live(int(next_number), int(last)))
