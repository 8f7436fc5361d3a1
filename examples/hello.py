"""The smallest orchestration, in both styles: a generator that yields tasks, and a coroutine that awaits them.

``python -m examples.hello``
"""

import asyncio
from collections.abc import Generator
from typing import Any

import perdure as df

app = df.DFApp()


@app.activity_trigger(input_name="city")
def say_hello(city: str) -> str:
    """The work itself. An activity may do anything: read files, call services, take long."""
    return f"Hello {city}!"


@app.orchestration_trigger(context_name="context")
def hello_generator(context: df.DurableOrchestrationContext) -> Generator[df.Task[Any], Any, list[str]]:
    """As in azure-functions-durable: functions by name, results through ``yield``."""
    tokyo = yield context.call_activity("say_hello", "Tokyo")
    seattle = yield context.call_activity("say_hello", "Seattle")
    london = yield context.call_activity("say_hello", "London")
    return [tokyo, seattle, london]


@app.orchestration_trigger(context_name="context")
async def hello_coroutine(context: df.DurableOrchestrationContext) -> list[str]:
    """The same with ``await``. Passing the function instead of its name lets type checkers know that the result is a ``str``."""
    return [await context.call_activity(say_hello, city) for city in ("Tokyo", "Seattle", "London")]


async def main() -> None:
    """Runs both in memory; ``"sqlite:///hello.db"`` would make them survive the process."""
    async with df.TaskHub(app, "memory://") as hub:
        for orchestrator in (hello_generator, hello_coroutine):
            instance_id = await hub.client.start_new(orchestrator)
            status = await hub.client.wait_for_completion(instance_id, timeout=30)
            print(f"{status.name}: {status.runtime_status}, {status.output}")


if __name__ == "__main__":
    asyncio.run(main())
