"""Runs each case in fresh processes, alternating between what is compared, and boils the runs down to medians."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, machine, revision
from benchmarks.measuring import Measurement

Line = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """What runs: Perdure of this checkout, Perdure of another revision, or a peer."""

    name: str
    kind: str
    """``perdure`` or the peer's name, as ``benchmarks.child`` wants it."""
    source: Path = ROOT
    """Whose ``src`` is imported."""


def measure(variant: Variant, workload: str, parameters: dict[str, Any], loop: str, directory: Path | None) -> list[Measurement]:
    """One run in a process and a directory of its own.

    Raises:
        RuntimeError: the run failed; the message is what it printed.
    """
    with tempfile.TemporaryDirectory(prefix="perdure-bench-", dir=directory) as place:
        command = [sys.executable, "-m", "benchmarks.child", variant.kind, workload, json.dumps(parameters), loop, place]
        # Before the installed package, which may be another checkout's.
        environment = os.environ | {"PYTHONPATH": f"{variant.source / 'src'}{os.pathsep}{ROOT}"}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=ROOT)
    if done.returncode != 0:
        raise RuntimeError(f"{variant.name}: {workload} {parameters} failed:\n{done.stderr}")
    return [Measurement.from_json(values) for values in json.loads(done.stdout)]


def results(
    workload: str, parameters: dict[str, Any], variants: list[Variant], runs: int, loop: str, directory: Path | None
) -> Iterator[Line]:
    """The JSON lines of one case: each variant's median, its floor's, and what they are relative to the first variant's."""
    taken: dict[Variant, list[list[Measurement]]] = {variant: [] for variant in variants}
    with tempfile.TemporaryDirectory(prefix="perdure-bench-", dir=directory) as place:
        facts = machine(Path(place))
    for _ in range(runs):
        for variant in variants:
            taken[variant].append(measure(variant, workload, parameters, loop, directory))
    bases: list[float] = []
    for variant in variants:
        common = {"variant": variant.name, "loop": loop, "machine": facts, "revision": revision(variant.source)}
        if variant.kind != "perdure":
            common = {"variant": variant.name, "machine": facts}
        for place, same in enumerate(zip(*taken[variant], strict=True)):
            figures = _medians(list(same))
            line = {"workload": workload, "parameters": parameters | same[0].parameters, "unit": same[0].unit} | figures
            floors = [measurement.floor for measurement in same if measurement.floor is not None]
            if floors:
                floor = _medians(floors)
                line["ratio_to_floor"] = _rounded(figures["value"] / floor["value"])
                line["cpu_ratio_to_floor"] = _rounded(floor["cpu_us_per_unit"] / figures["cpu_us_per_unit"])
                yield {"workload": "floor", "parameters": {"of": workload} | parameters, "unit": same[0].unit} | floor | common
            if variant is variants[0]:
                bases.append(figures["value"])
            else:
                line[f"{variants[0].name}_over_this"] = _rounded(bases[place] / figures["value"])
            yield line | common


def _medians(measurements: list[Measurement]) -> dict[str, Any]:
    figures = [measurement.figures() for measurement in measurements]
    medians = {name: _rounded(statistics.median(run[name] for run in figures)) for name in figures[0]}
    return medians | {"runs": [_rounded(run["value"]) for run in figures]}


def _rounded(value: float) -> float:
    """Four digits that count; more would be noise."""
    return float(f"{value:.4g}")


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A worktree of that revision, as long as it is needed.

    Raises:
        RuntimeError: there is no such revision.
    """
    place = Path(tempfile.mkdtemp(prefix="perdure-rev-"))
    git = ["git", "-C", str(ROOT), "worktree"]
    made = subprocess.run([*git, "add", "--detach", str(place), commit], check=False, capture_output=True, text=True)
    if made.returncode != 0:
        raise RuntimeError(f"can't check out {commit!r}: {made.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run([*git, "remove", "--force", str(place)], check=False, capture_output=True)
        shutil.rmtree(place, ignore_errors=True)
