"""A watch that could run for years: a timer between two looks, and ``continue_as_new`` so that its history never grows.

``python -m examples.monitor``
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta

import perdure as df

app = df.DFApp()
INTERVAL = timedelta(milliseconds=100)


@dataclass(frozen=True)
class Watch:
    """What one generation hands to the next: all that the monitor remembers."""

    job: str
    looks: int = 0


@app.activity_trigger(input_name="watch")
def progress_of(watch: Watch) -> int:
    """Stands for a request to some service; this job is done after five looks."""
    return 25 * watch.looks


@app.orchestration_trigger(context_name="context", input_type=Watch)
async def monitor(context: df.DurableOrchestrationContext) -> str | None:
    """One look per generation."""
    watch: Watch = context.get_input()
    percent = await context.call_activity(progress_of, watch)
    watch = replace(watch, looks=watch.looks + 1)
    if percent >= 100:
        return f"{watch.job} was done at look {watch.looks}"
    context.set_custom_status(f"{percent} %")
    await context.create_timer(INTERVAL)
    context.continue_as_new(watch)
    return None


async def main() -> None:
    """Watches one job until it is done."""
    async with df.TaskHub(app) as hub:
        instance_id = await hub.client.start_new(monitor, client_input=Watch("nightly import"))
        await hub.client.wait_for_completion(instance_id, timeout=30)
        status = await hub.client.get_status(instance_id, show_history=True)
    print(f"{status.output}; the last generation's history has {len(status.history or [])} events")


if __name__ == "__main__":
    asyncio.run(main())
