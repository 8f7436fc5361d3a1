"""One engine of a shared hub: ``python -m benchmarks.workers.sharing URL ROLE [LOG]``.

It does what it is told until its input ends. Each line of its input is a JSON list, each line of its output the answer:
``["costs"]``; or ``["run", ORCHESTRATOR, INSTANCES, INPUT]``, which is answered when all of them have completed. The first line
of output says that the hub is open.
"""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import cast

from benchmarks.apps import make_app
from benchmarks.hubs import loop_name, run_on
from benchmarks.sharing import sharing_bench
from benchmarks.workers.killed import logging_app
from perdure.engine.settings import Role


async def _serve(url: str, role: Role, log: Path | None) -> None:
    app = logging_app(log) if log is not None else make_app()
    async with sharing_bench(app, url, role) as bench:
        print("true", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            match json.loads(line):
                case ["costs"]:
                    print(json.dumps(asdict(bench.costs)), flush=True)
                case ["run", orchestrator, instances, input_]:
                    await bench.run_all(orchestrator, instances, input_)
                    print("true", flush=True)
                case unknown:
                    raise ValueError(f"what is {unknown}?")


if __name__ == "__main__":
    run_on(loop_name(""), _serve(sys.argv[1], cast("Role", sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None))
