"""The design's budgets, and where in the results each one's figure is found."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Line = dict[str, Any]
"""One result."""


@dataclass(frozen=True)
class Budget:
    """One promise, and where its figure is found."""

    what: str
    promised: str
    workload: str
    parameters: dict[str, Any]
    figure: Callable[[Line], float]
    unit: str
    kept: Callable[[float], bool]


def _beyond_the_disk(line: Line) -> float:
    """A step's time less the time that the floor's commit of the same row, measured right after, waited for the disk."""
    floor_us = line["us_per_unit"] * line["ratio_to_floor"]
    floor_cpu_us = line["cpu_us_per_unit"] * line["cpu_ratio_to_floor"]
    return line["us_per_unit"] - (floor_us - floor_cpu_us)


def _cpu(line: Line) -> float:
    return line["cpu_us_per_unit"]


def _value(line: Line) -> float:
    return line["value"]


BUDGETS = (
    Budget(
        "chained activity under load (200 x 20)",
        "≤ 40 µs of CPU",
        "chain",
        {"instances": 200, "activities": "async"},
        _cpu,
        "µs",
        lambda us: us <= 40,
    ),
    Budget(
        "the same, throughput",
        "≥ 25,000/s",
        "chain",
        {"instances": 200, "activities": "async"},
        _value,
        "/s",
        lambda rate: rate >= 25_000,
    ),
    Budget(
        "fan-out activity, 10,000 wide",
        "≤ 25 µs of CPU",
        "fan_out",
        {"width": 10_000, "activities": "async"},
        _cpu,
        "µs",
        lambda us: us <= 25,
    ),
    Budget(
        "fan-out activity, 100,000 wide",
        "≤ 25 µs of CPU (linear)",
        "fan_out",
        {"width": 100_000},
        _cpu,
        "µs",
        lambda us: us <= 25,
    ),
    Budget(
        "lone chain, per step, beyond one fdatasync",
        "≤ 250 µs",
        "chain",
        {"instances": 1, "steps": 100, "activities": "async"},
        _beyond_the_disk,
        "µs",
        lambda us: us <= 250,
    ),
    Budget(
        "start + one activity + complete", "≥ 15,000/s", "starts", {"answers": "none"}, _value, "/s", lambda rate: rate >= 15_000
    ),
    Budget(
        "replay on rehydration, chain",
        "≥ 150,000 events/s",
        "replay",
        {"history": "chain"},
        _value,
        "/s",
        lambda rate: rate >= 150_000,
    ),
    Budget(
        "replay on rehydration, fan-out",
        "≥ 150,000 events/s",
        "replay",
        {"history": "fan_out"},
        _value,
        "/s",
        lambda rate: rate >= 150_000,
    ),
    Budget(
        "100,000 dormant: RAM per instance after a restart",
        "none",
        "dormant",
        {"instances": 100_000, "waiting_for": "event"},
        lambda line: line["restart_rss_bytes_per_instance"],
        "bytes",
        lambda size: size < 32,
    ),
    Budget(
        "100,000 dormant: restart, from the start of the process",
        "≤ 2 s",
        "dormant",
        {"instances": 100_000, "waiting_for": "timer"},
        lambda line: line["restart_process_seconds"],
        "s",
        lambda seconds: seconds <= 2,
    ),
    Budget(
        "chain of 10,000: CPU of the last 1,000 steps over that of the first",
        "flat",
        "chain",
        {"steps": 10_000},
        lambda line: line["last_over_first_cpu"],
        "x",
        lambda ratio: ratio <= 1.15,
    ),
    Budget(
        "SIGKILL in 200 x 20: completed activities lost",
        "0",
        "recovery",
        {},
        lambda line: line["completed_activities_lost"] + line["instances_lost"] + line["steps_never_run"],
        "",
        lambda lost: lost == 0,
    ),
    Budget(
        "signals to one entity",
        "≥ 30,000/s",
        "entities",
        {"scenario": "signals_to_one"},
        _value,
        "/s",
        lambda rate: rate >= 30_000,
    ),
    Budget(
        "signals to 1,000 entities from 100 orchestrations",
        "≥ 20,000/s",
        "entities",
        {"scenario": "signals_to_many"},
        _value,
        "/s",
        lambda rate: rate >= 20_000,
    ),
    Budget(
        "`call_entity`, round trip under load",
        "≤ 100 µs of CPU",
        "entities",
        {"scenario": "calls"},
        _cpu,
        "µs",
        lambda us: us <= 100,
    ),
    Budget(
        "critical section: lock of 2 entities, 2 calls, release",
        "≥ 2,000/s",
        "entities",
        {"scenario": "critical_sections"},
        _value,
        "/s",
        lambda rate: rate >= 2_000,
    ),
    Budget(
        "100,000 idle entities: Python objects left per entity",
        "none",
        "entities",
        {"scenario": "idle"},
        lambda line: line["python_objects_per_entity_dehydrated"],
        "",
        lambda objects: objects < 0.05,
    ),
    Budget(
        "start over HTTP, polled to its end, host and load on two cores",
        "≥ 2,500/s",
        "http",
        {"scenario": "start", "client": "perdure", "rate": 0},
        _value,
        "/s",
        lambda rate: rate >= 2_500,
    ),
    Budget(
        "`perdure start` on a new app, to its first answer",
        "≤ 1 s",
        "cold_start",
        {},
        lambda line: line["us_per_unit"] / 1e6,
        "s",
        lambda seconds: seconds <= 1,
    ),
)

POSTGRES_BUDGETS = (
    Budget(
        "one engine: chained activities (200 x 20)",
        "≥ 4,000/s",
        "postgres",
        {"scenario": "chain", "instances": 200},
        _value,
        "/s",
        lambda rate: rate >= 4_000,
    ),
    Budget(
        "one engine: fan-out activities, 10,000 wide",
        "≥ 10,000/s",
        "postgres",
        {"scenario": "fan_out", "width": 10_000},
        _value,
        "/s",
        lambda rate: rate >= 10_000,
    ),
    Budget(
        "one engine: HelloCities, orchestrations of 5 activities",
        "≥ 800/s",
        "postgres",
        {"scenario": "hello_cities"},
        _value,
        "/s",
        lambda rate: rate >= 800,
    ),
    Budget(
        "two engines, in times of one",
        "≥ 1.6 x",
        "engines",
        {"load": "local", "engines": 2},
        lambda line: line["times_one_engine"],
        "x",
        lambda times: times >= 1.6,
    ),
    Budget(
        "SIGKILL of one of two engines: until the other has its partitions",
        "≤ lease (10 s) + 2 s",
        "takeover",
        {},
        lambda line: line["take_over_seconds"],
        "s",
        lambda seconds: seconds <= 12,
    ),
    Budget(
        "the same: instances and completed activities lost",
        "0",
        "takeover",
        {},
        lambda line: line["completed_activities_lost"] + line["instances_lost"] + line["steps_never_run"],
        "",
        lambda lost: lost == 0,
    ),
    Budget(
        "idle hub: queries per process",
        "< 1/s",
        "engines",
        {"load": "none"},
        lambda line: line["queries_per_unit"],
        "/s",
        lambda rate: rate < 1,
    ),
)
