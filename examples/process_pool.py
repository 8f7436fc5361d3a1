"""CPU-bound work in processes of its own: neither orchestrators nor other activities feel it.

``python -m examples.process_pool``
"""

import asyncio
import os
from dataclasses import dataclass

import perdure as df

app = df.DFApp()


@dataclass(frozen=True)
class Range:
    """Numbers from ``start`` up to, not including, ``stop``."""

    start: int
    stop: int


@dataclass(frozen=True)
class Primes:
    """How many there are, and which process has counted them."""

    count: int
    process: int


@app.activity_trigger(input_name="numbers", pool="process")
def count_primes(numbers: Range) -> Primes:
    """Has to be importable at module level, because the worker processes import it by name."""
    count = 0
    for number in range(numbers.start, numbers.stop):
        count += all(number % divisor for divisor in range(2, int(number**0.5) + 1))
    return Primes(count, os.getpid())


@app.orchestration_trigger(context_name="context", input_type=Range)
async def count_in_parts(context: df.DurableOrchestrationContext) -> list[Primes]:
    """Two halves, two processes (``EngineSettings.max_activity_processes``)."""
    numbers: Range = context.get_input()
    middle = (numbers.start + numbers.stop) // 2
    halves = (Range(numbers.start, middle), Range(middle, numbers.stop))
    return await context.task_all([context.call_activity(count_primes, half) for half in halves])


async def main() -> None:
    """Counts the primes below 50,000."""
    async with df.TaskHub(app) as hub:
        instance_id = await hub.client.start_new(count_in_parts, client_input=Range(2, 50_000))
        status = await hub.client.wait_for_completion(instance_id, timeout=30)
    total = sum(part["count"] for part in status.output)
    elsewhere = all(part["process"] != os.getpid() for part in status.output)
    print(f"{total} primes below 50,000; counted outside of this process: {elsewhere}")


if __name__ == "__main__":
    asyncio.run(main())
