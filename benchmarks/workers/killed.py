"""Runs chains whose activities leave a line in a log; is killed on the way, and goes on when it is run again."""

import asyncio
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import perdure as df
from benchmarks.hubs import loop_name, run_on
from perdure.store.sqlite import SqliteStore


def logging_app(log: Path) -> df.DFApp:
    """An app with ``logged_chain``."""
    app = df.DFApp()
    fd = os.open(log, os.O_WRONLY | os.O_APPEND)

    @app.activity_trigger("step")
    async def logged_step(step: str) -> int:
        os.write(fd, f"{step}\n".encode())
        return 1

    @app.orchestration_trigger("context")
    def logged_chain(context: df.DurableOrchestrationContext) -> Generator[df.Task[Any], Any, int]:
        done = 0
        for step in range(context.get_input()):
            done += yield context.call_activity(logged_step, f"{context.instance_id} {step}")
        return done

    return app


async def _work(database: Path, log: Path, instances: int, steps: int) -> None:
    """Starts what hasn't been started, and waits for all; so a restarted worker goes on where the killed one was."""
    async with df.TaskHub(logging_app(log), SqliteStore(database)) as hub:
        names = [f"chain-{number}" for number in range(instances)]
        policy = df.ReusePolicy.RETURN_EXISTING
        start = hub.client.start_new
        await asyncio.gather(*(start("logged_chain", name, steps, reuse_policy=policy) for name in names))
        ends = await asyncio.gather(*(hub.client.wait_for_completion(name, timeout=300) for name in names))
        if any(end.output != steps for end in ends):
            raise RuntimeError("an instance ended with a wrong result")


if __name__ == "__main__":
    run_on(loop_name(""), _work(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
