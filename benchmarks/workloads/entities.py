"""Entities: signals to one and to many, calls, critical sections, and many that do nothing."""

import asyncio
import sys
import time
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

import perdure as df
from benchmarks.hubs import Bench, Parameters, bench
from benchmarks.measuring import Measurement, Meter, file_bytes, settled_bytes

Steps = Generator[Any, Any, Any]

_ENTITIES = 1_000
_AT_ONCE = 2_000


def cases(*, short: bool) -> list[Parameters]:
    """``scenario`` is a name of ``_SCENARIOS``; ``units`` is what one result is the average of."""
    scale = 1 if short else 5
    return [
        {"scenario": "signals_from_client", "units": 20_000 * scale},
        {"scenario": "signals_to_one", "units": 20_000 * scale},
        {"scenario": "signals_to_many", "units": 20_000 * scale},
        {"scenario": "calls", "units": 4_000 * scale},
        {"scenario": "critical_sections", "units": 1_000 * scale},
        {"scenario": "idle", "units": 5_000 if short else 100_000},
    ]


async def run(parameters: Parameters, directory: Path) -> list[Measurement]:
    scenario, units = parameters["scenario"], parameters["units"]
    settings = df.EngineSettings(session_idle_timeout=timedelta(seconds=1)) if scenario == "idle" else None
    async with bench(_app(), directory / "hub.db", settings=settings) as opened:
        return [await _SCENARIOS[scenario](opened, units)]


def _app() -> df.DFApp:
    app = df.DFApp()

    @app.entity_trigger(context_name="context")
    def counter(context: df.DurableEntityContext) -> None:  # pyright: ignore[reportUnusedFunction]
        number: int = context.get_state(int)
        if context.operation_name == "add":
            context.set_state(number + context.get_input(int))
        else:
            context.set_result(number)

    @app.orchestration_trigger("context")
    def send(context: df.DurableOrchestrationContext) -> Steps:  # pyright: ignore[reportUnusedFunction]
        first, count, entities = context.get_input()
        for number in range(count):
            context.signal_entity(df.EntityId("counter", str((first + number) % entities)), "add", 1)
        yield context.call_entity(df.EntityId("counter", str(first % entities)), "get")

    @app.orchestration_trigger("context")
    def call(context: df.DurableOrchestrationContext) -> Steps:  # pyright: ignore[reportUnusedFunction]
        key, count = context.get_input()
        entity = df.EntityId("counter", key)
        for _ in range(count):
            yield context.call_entity(entity, "add", 1)

    @app.orchestration_trigger("context")
    def transfer(context: df.DurableOrchestrationContext) -> Steps:  # pyright: ignore[reportUnusedFunction]
        key, count = context.get_input()
        first, second = df.EntityId("counter", f"{key}-a"), df.EntityId("counter", f"{key}-b")
        for _ in range(count):
            with (yield context.lock_entities(first, second)):
                yield context.call_entity(first, "add", -1)
                yield context.call_entity(second, "add", 1)

    return app


async def _signals_from_client(opened: Bench, units: int) -> Measurement:
    """As clients send them: each call waits until its signal is durable, a thousand wait at a time."""
    client, entity = opened.hub.client, df.EntityId("counter", "one")

    async def sender(count: int) -> None:
        for _ in range(count):
            await client.signal_entity(entity, "add", 1)

    await sender(10)
    meter = Meter(opened.store)
    await asyncio.gather(*(sender(units // 1000) for _ in range(1000)))
    measurement = meter.stop("signal", units)
    await _check(opened, "one", units + 10)
    return measurement


async def _signals_to_one(opened: Bench, units: int) -> Measurement:
    return await _sent(opened, units, senders=20, entities=1)


async def _signals_to_many(opened: Bench, units: int) -> Measurement:
    return await _sent(opened, units, senders=100, entities=_ENTITIES)


async def _sent(opened: Bench, units: int, *, senders: int, entities: int) -> Measurement:
    each = units // senders
    await _started(opened, "send", [[0, entities, entities]])
    meter = Meter(opened.store)
    await _started(opened, "send", [[number * each, each, entities] for number in range(senders)])
    measurement = meter.stop("signal", units)
    await _check(opened, "0", 1 + units // entities)
    return measurement


async def _calls(opened: Bench, units: int) -> Measurement:
    callers = 100
    await _started(opened, "call", [[str(number), 1] for number in range(callers)])
    meter = Meter(opened.store)
    await _started(opened, "call", [[str(number), units // callers] for number in range(callers)])
    measurement = meter.stop("call", units)
    await _check(opened, "0", 1 + units // callers)
    return measurement


async def _critical_sections(opened: Bench, units: int) -> Measurement:
    """Lock two, call each once, release."""
    callers = 100
    await _started(opened, "transfer", [[str(number), 1] for number in range(callers)])
    meter = Meter(opened.store)
    await _started(opened, "transfer", [[str(number), units // callers] for number in range(callers)])
    measurement = meter.stop("critical section", units)
    await _check(opened, "0-b", 1 + units // callers)
    return measurement


async def _idle(opened: Bench, units: int) -> Measurement:
    client = opened.hub.client
    await client.signal_entity(df.EntityId("counter", "first"), "add", 1)
    before, blocks = settled_bytes(), sys.getallocatedblocks()
    opened.store.shapes.clear()
    meter = Meter(opened.store)
    for begun in range(0, units, _AT_ONCE):
        keys = range(begun, min(begun + _AT_ONCE, units))
        await asyncio.gather(*(client.signal_entity(df.EntityId("counter", str(key)), "add", 1) for key in keys))
    measurement = meter.stop("entity", units)
    until = time.monotonic() + 15
    while opened.hub.hydrated_instances > 1 and time.monotonic() < until:
        await asyncio.sleep(0.3)
        await client.signal_entity(df.EntityId("counter", "first"), "add", 1)
    opened.store.shapes.clear()
    measurement.extra |= {
        "rss_bytes_per_entity_dehydrated": (settled_bytes() - before) / units,
        "python_objects_per_entity_dehydrated": (sys.getallocatedblocks() - blocks) / units,
        "hydrated_entities_at_the_end": opened.hub.hydrated_instances,
        "disk_bytes_per_entity": file_bytes(opened.store.database) / units,
    }
    return measurement


async def _started(opened: Bench, orchestrator: str, inputs: list[Any]) -> None:
    target = opened.endings.ended + len(inputs)
    start = opened.hub.client.start_new
    await asyncio.gather(*(start(orchestrator, client_input=input_) for input_ in inputs))
    await opened.endings.reach(target)


async def _check(opened: Bench, key: str, expected: int) -> None:
    """Figures of work that wasn't done mean nothing. What was signaled last may still be on its way."""
    until = time.monotonic() + 30
    while True:
        state = (await opened.hub.client.read_entity_state(df.EntityId("counter", key))).entity_state
        if state == expected:
            return
        if time.monotonic() > until:
            raise RuntimeError(f"counter {key} is {state}, not {expected}")
        await asyncio.sleep(0.01)


_SCENARIOS = {
    "signals_from_client": _signals_from_client,
    "signals_to_one": _signals_to_one,
    "signals_to_many": _signals_to_many,
    "calls": _calls,
    "critical_sections": _critical_sections,
    "idle": _idle,
}
