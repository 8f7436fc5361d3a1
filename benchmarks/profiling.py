"""Where the CPU of a workload goes: ``python -m benchmarks.profiling [chain|starts|fan_out|lone_chain] [--top 15]``.

Two passes. The first, undisturbed, reads the CPU clocks: of the event loop's thread, and of all others (the store's).
The second, under cProfile, tells how the loop thread's CPU is shared among the parts, and the shares are applied to the
clocks. C functions count as part of whoever called them. A profiler makes small functions look dearer than they are, so
a share says where to look, not what a rewrite would save.
"""

import argparse
import cProfile
import json
import pstats
import shutil
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import benchmarks
import perdure
from benchmarks.apps import make_app
from benchmarks.hubs import bench, loop_name, run_on
from benchmarks.machine import machine, revision

CASES = {
    "chain": ("chain", 200, 20, "step", 4_000),
    "starts": ("chain", 2_000, 1, "instance", 2_000),
    "fan_out": ("fan_out", 1, 10_000, "activity", 10_000),
    "lone_chain": ("chain", 1, 1_000, "step", 1_000),
}
"""Orchestrator, instances, input, unit, units."""

PARTS = {
    "core/converter.py": "JSON of payloads",
    "core/codec.py": "history encoding",
    "core/": "turn: state, tasks, code",
    "engine/activities/": "activity execution",
    "engine/committer.py": "group commit",
    "engine/": "partition loop, sessions, timers",
    "store/": "store: encoding of commits",
    "client/": "client",
    "benchmarks/": "the user's functions, and the benchmark",
}
"""The first prefix that fits names the part."""

WRITER = "store: SQLite thread (SQL, fdatasync)"
LOOP = "event loop, asyncio, the rest"

_ROUNDS = 3
_PACKAGES = (str(Path(perdure.__file__).parent) + "/", str(Path(benchmarks.__file__).parent.parent) + "/")


async def clocks(case: str, directory: Path) -> dict[str, float]:
    """CPU microseconds per unit of the loop's thread and of the others; commits and bytes per unit."""
    orchestrator, instances, input_, unit, units = CASES[case]
    async with bench(make_app(), directory / "clocks.db", with_shapes=False) as opened:
        await opened.run_all(orchestrator, instances, input_)
        thread = time.thread_time()
        for _ in range(_ROUNDS - 1):
            await opened.run_all(orchestrator, instances, input_)
        measurement, _ = await opened.measure(orchestrator, instances, input_, unit, units)
        loop_us = (time.thread_time() - thread) * 1e6 / units / _ROUNDS
        figures = measurement.figures()
    return {"loop": loop_us, "others": figures["cpu_us_per_unit"] - loop_us} | figures


async def profile(case: str, directory: Path) -> tuple[pstats.Stats, float]:
    """The profile of the loop's thread, and how long that thread was idle meanwhile."""
    orchestrator, instances, input_, _, _ = CASES[case]
    async with bench(make_app(), directory / "profile.db", with_shapes=False) as opened:
        await opened.run_all(orchestrator, instances, input_)
        profiler = cProfile.Profile()
        begun, cpu = time.perf_counter(), time.thread_time()
        profiler.enable()
        for _ in range(_ROUNDS):
            await opened.run_all(orchestrator, instances, input_)
        profiler.disable()
        idle = (time.perf_counter() - begun) - (time.thread_time() - cpu)
    return pstats.Stats(profiler), idle


def part_of(file: str) -> str:
    """The part that a source file belongs to."""
    for package in _PACKAGES:
        if file.startswith(package):
            inside = file.removeprefix(package)
            return next((part for prefix, part in PARTS.items() if inside.startswith(prefix)), LOOP)
    return LOOP


def shares(stats: pstats.Stats, idle: float) -> dict[str, float]:
    """Seconds per part."""
    table: dict[Any, Any] = stats.stats  # type: ignore[attr-defined]
    parts: defaultdict[str, float] = defaultdict(float)
    for (file, _, _), (_, _, own, _, callers) in table.items():
        if file != "~":
            parts[part_of(file)] += own
            continue
        called = 0.0
        for (caller, _, _), (_, _, own_from, _) in callers.items():
            parts[part_of(caller)] += own_from
            called += own_from
        parts[LOOP] += own - called
    parts[LOOP] -= idle
    return {part: seconds for part, seconds in parts.items() if seconds > 0}


def top(stats: pstats.Stats, units: int, count: int) -> list[dict[str, Any]]:
    """The functions with the largest own time, C functions included, per unit of work."""
    table: dict[Any, Any] = stats.stats  # type: ignore[attr-defined]
    entries = sorted(table.items(), key=lambda item: item[1][2], reverse=True)
    found: list[dict[str, Any]] = []
    for (file, line, name), (_, calls, own, cumulative, _) in entries:
        if "run_until_complete" in name or "run_forever" in name or "select.epoll" in name:
            continue  # waiting
        short = next((file.removeprefix(package) for package in _PACKAGES if file.startswith(package)), file)
        found.append(
            {
                "function": name if file == "~" else f"{short}:{line} {name}",
                "calls_per_unit": round(calls / units, 2),
                "own_us": round(own * 1e6 / units, 2),
                "with_callees_us": round(cumulative * 1e6 / units, 2),
            }
        )
    return found[:count]


def main() -> None:
    """Prints one JSON line per case."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiling", description="Where the CPU of a workload goes.")
    parser.add_argument("cases", nargs="*", default=[*CASES], metavar="case", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--top", type=int, default=15, help="how many functions to list")
    arguments = parser.parse_args()
    loop = loop_name(arguments.loop)
    directory = Path(tempfile.mkdtemp(prefix="perdure-bench-"))
    try:
        for case in arguments.cases:
            units = CASES[case][4]
            figures = run_on(loop, clocks(case, directory))
            stats, idle = run_on(loop, profile(case, directory))
            parts = shares(stats, idle)
            total = sum(parts.values())
            scaled = {part: round(figures["loop"] * seconds / total, 2) for part, seconds in parts.items()}
            scaled[WRITER] = round(figures["others"], 2)
            line = {
                "profile": case,
                "unit": CASES[case][3],
                "cpu_us_by_part": dict(sorted(scaled.items(), key=lambda item: -item[1])),
                "cpu_us": round(figures["cpu_us_per_unit"], 1),
                "commits_per_unit": round(figures["commits_per_unit"], 4),
                "payload_bytes_per_unit": round(figures["payload_bytes_per_unit"], 1),
                "disk_bytes_per_unit": round(figures["disk_bytes_per_unit"], 1),
                "top": top(stats, units * _ROUNDS, arguments.top),
                "loop": loop,
                "machine": machine(directory),
                "revision": revision(),
            }
            print(json.dumps(line), flush=True)
            for file in directory.iterdir():
                file.unlink()
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
