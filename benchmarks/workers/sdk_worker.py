"""A worker of PyPI's ``durabletask`` for ``ADDRESS``: says when it is there, ends with its standard input."""

import logging
import sys
from collections.abc import Generator
from typing import Any

from durabletask.task import when_all
from durabletask.worker import TaskHubGrpcWorker


def step(_context: Any, number: int) -> int:
    return number + 1


def chain(context: Any, steps: int) -> Generator[Any, Any, int]:
    number = 0
    for _ in range(steps):
        number = yield context.call_activity(step, input=number)
    return number


def fan_out(context: Any, width: int) -> Generator[Any, Any, int]:
    results = yield when_all([context.call_activity(step, input=number) for number in range(width)])
    return sum(results)


def main() -> None:
    """Works."""
    quiet = logging.getLogger("benchmarks.sdk")
    quiet.setLevel(logging.CRITICAL)  # it tells of every turn, and of the end of its stream
    with TaskHubGrpcWorker(host_address=sys.argv[1], logger=quiet) as worker:
        worker.add_orchestrator(chain)
        worker.add_orchestrator(fan_out)
        worker.add_activity(step)
        worker.start()
        print("there", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
