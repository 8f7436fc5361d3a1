"""One engine process of a shared hub: starts instances, talks to them and to entities, and logs what was acknowledged.

    python -m tests.chaos.shared_worker URL LOG NAME [--finish]

It goes on until SIGTERM. With ``--finish`` it starts nothing, and ends by itself once nothing is running any more.
"""

import asyncio
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import perdure as df
from perdure.engine.clock import SystemClock
from perdure.engine.errors import CommitFailedError, EngineStoppedError, NobodyAnswersError
from perdure.engine.settings import EngineSettings
from perdure.store.errors import StoreUnavailableError

LEASE = timedelta(seconds=2)
EVENTS = 3
CHILDREN = 3
app = df.DFApp()


@app.activity_trigger(input_name="number")
async def double(number: int) -> int:
    await asyncio.sleep(0.002)
    return number * 2


@app.activity_trigger(input_name="number")
def slow_double(number: int) -> int:
    time.sleep(0.02)
    return number * 2


@app.orchestration_trigger(context_name="context")
async def child(context: df.DurableOrchestrationContext) -> int:
    return await context.call_activity(slow_double, context.get_input())


@app.orchestration_trigger(context_name="context")
async def conversation(context: df.DurableOrchestrationContext) -> list[Any]:
    """Fans out to children and activities, then takes its events in order, and counts itself once."""
    number = context.get_input()
    children = [context.call_sub_orchestrator(child, number + offset) for offset in range(CHILDREN)]
    doubled = await context.task_all([*children, *(context.call_activity(double, number) for _ in range(CHILDREN))])
    heard = [await context.wait_for_external_event("say") for _ in range(EVENTS)]
    await context.create_timer(context.current_utc_datetime + timedelta(milliseconds=50))
    count = await context.call_entity(df.EntityId("tally", f"of-{number % 4}"), "add", 1)
    return [sum(doubled), heard, count > 0]


@app.entity_trigger(context_name="context")
def tally(context: df.DurableEntityContext) -> None:
    total = context.get_state(lambda: 0) + context.get_input()
    context.set_state(total)
    context.set_result(total)


class SkewedClock:
    """A machine whose clock is wrong."""

    def __init__(self, seconds: float) -> None:
        self._clock = SystemClock()
        self._ahead = round(seconds * 1_000_000)

    def now_us(self) -> int:
        return self._clock.now_us() + self._ahead


async def retried(call: Any) -> bool:
    """Whether the call was acknowledged; ``False``: it isn't known."""
    try:
        await call
    except (CommitFailedError, EngineStoppedError, NobodyAnswersError):
        return False
    return True


async def talk(client: df.DurableClient, log: Any, name: str, number: int) -> None:
    instance_id = f"{name}-{number}"
    if not await retried(client.start_new(conversation, instance_id, number)):
        return
    log.write(f"started {instance_id} {number}\n")
    for event in range(EVENTS):
        if not await retried(client.raise_event(instance_id, "say", event)):
            return
        log.write(f"said {instance_id} {event}\n")
    log.write(f"signaling {instance_id}\n")
    if await retried(client.signal_entity(df.EntityId("tally", "signals"), "add", 1)):
        log.write(f"signaled {instance_id}\n")


async def main(url: str, log_file: Path, name: str, finish: bool) -> None:
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    settings = EngineSettings(lease_duration=LEASE, max_activity_threads=4, session_idle_timeout=timedelta(seconds=1))
    skew = SkewedClock(0 if finish else hash(name) % 7 - 3)
    hub = df.TaskHub(app, url, settings=settings, clock=skew)
    while True:
        try:
            await hub.start()
            break
        except StoreUnavailableError:  # the server is being restarted
            hub = df.TaskHub(app, url, settings=settings, clock=skew)
            await asyncio.sleep(0.2)
    try:
        await work(hub, asked, log_file, name, finish)
    finally:
        await hub.close()


async def work(hub: df.TaskHub, asked: asyncio.Event, log_file: Path, name: str, finish: bool) -> None:
    if finish:
        while not asked.is_set():
            counts = await hub.client.count()
            if not {status for status, count in counts.items() if count} - {df.OrchestrationRuntimeStatus.Completed}:
                return
            await asyncio.sleep(0.2)
        return
    # Line by line, in append mode: what is logged was acknowledged, whatever happens to this process.
    with log_file.open("a", buffering=1) as log:
        number = 0
        while not asked.is_set():
            await asyncio.gather(*(talk(hub.client, log, name, number + offset) for offset in range(4)))
            number += 4


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], "--finish" in sys.argv))
