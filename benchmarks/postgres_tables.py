"""The tables about PostgreSQL. See ``benchmarks.tables``."""

from collections.abc import Callable

from benchmarks.budgets import POSTGRES_BUDGETS, Line
from benchmarks.cells import kept, number, row, transposed
from benchmarks.scaling import Model

_FIGURES = {
    "value": "per second",
    "us_per_unit": "µs",
    "cpu_us_per_unit": "engines' CPU µs",
    "server_cpu_us_per_unit": "server's CPU µs",
    "commits_per_unit": "commits",
    "round_trips_per_unit": "round trips",
    "rows_per_unit": "rows that commits write",
    "payload_bytes_per_unit": "payload bytes",
    "sent_bytes_per_unit": "bytes sent",
    "received_bytes_per_unit": "bytes received",
    "wal_bytes_per_unit": "WAL bytes",
    "file_bytes_per_unit": "bytes of tables and indexes",
}
_RATES = (10_000, 100_000, 1_000_000)
_BUSY = 0.7
_DAY = 24 * 3600


def budgets(lines: list[Line]) -> list[str]:
    """The budgets of the design and of the release that brought PostgreSQL."""
    return kept(POSTGRES_BUDGETS, lines)


def where(lines: list[Line]) -> list[str]:
    """The machine, the server and the code."""
    line = next((line for line in lines if "postgresql" in line.get("parameters", {})), None)
    if line is None:
        return []
    machine, server = line["machine"], line["parameters"]["postgresql"]
    return [
        (
            f"{machine['cpu']}, {machine['cores']} cores for engines and server, {machine['system']}, {machine['file_system']}, "
            f"one fdatasync of 4 KiB {machine['fdatasync_us']} µs; PostgreSQL {server} on loopback, `fsync` and "
            f"`synchronous_commit` on; Python {machine['python']}, {line['loop']}; revision {line['revision']}; load at the "
            f"beginning {machine['load']}."
        )
    ]


def one_engine(lines: list[Line]) -> list[str]:
    """What a unit of each workload costs, and where."""
    ran = _of(lines, "postgres")
    ran += [line for line in _of(lines, "engines") if line["parameters"]["load"] == "shared"]
    if not ran:
        return []
    rows = [row("per unit", *(_title(line) for line in ran)), row("---", *["---:"] * len(ran))]
    return rows + [row(name, *(number(line[figure]) for line in ran)) for figure, name in _FIGURES.items()]


def engines(lines: list[Line]) -> list[str]:
    """How throughput and costs go with the number of engines."""
    figures = {
        "value": "steps per second",
        "times_one_engine": "in times of one engine",
        "cpu_us_per_unit": "engines' CPU per step, µs",
        "server_cpu_us_per_unit": "server's CPU per step, µs",
        "commits_per_unit": "commits per step",
        "wal_bytes_per_unit": "WAL bytes per step",
        "busy_cores": "cores in use, of all of this machine's",
    }
    ran = [line for line in _of(lines, "engines") if line["parameters"]["load"] == "local"]
    return transposed(ran, figures, "engines", "engine processes")


def takeover(lines: list[Line]) -> list[str]:
    """What a SIGKILL of one of two engines costs."""
    figures = {
        "lease_seconds": "lease, s",
        "take_over_seconds": "from the kill until the other engine has all partitions, s",
        "seconds_until_all_done": "until all instances have completed, s",
        "seconds_until_all_callers_told": "until all callers know, s",
        "completed_before_kill": "activities completed before the kill, of 4,000",
        "completed_activities_lost": "completed activities lost",
        "instances_lost": "instances lost",
        "activities_run_twice": "activities run twice",
    }
    return transposed(_of(lines, "takeover"), figures, "instances", "instances")


def idle(lines: list[Line]) -> list[str]:
    """What processes cost that have nothing to do."""
    figures = {
        "queries_per_unit": "queries",
        "cpu_us_per_unit": "its CPU, µs",
        "server_cpu_us_per_unit": "server's CPU, µs",
        "wal_bytes_per_unit": "WAL bytes",
    }
    ran = [line for line in _of(lines, "engines") if line["parameters"]["load"] == "none"]
    return transposed(ran, figures, "engines", "per process and second; processes:")


def model(lines: list[Line]) -> list[str]:
    """Costs of a chained step in two parts."""
    found = Model.of(lines)
    if found is None:
        return []
    figures = {
        "cpu_us_per_unit": "engine's CPU, µs",
        "server_cpu_us_per_unit": "server's CPU, µs",
        "wal_bytes_per_unit": "WAL, bytes",
        "sent_bytes_per_unit": "sent to the server, bytes",
    }
    rows = [row("chained activity, run by the instance's owner", "per commit", "per step"), row("---", "---:", "---:")]
    for figure, name in figures.items():
        split = found.split(figure)
        rows.append(row(name, number(split.per_commit), number(split.per_step)))
    return rows


def loads(lines: list[Line]) -> list[str]:
    """The model, drawn out to loads that no single machine makes."""
    found = Model.of(lines)
    if found is None:
        return []
    busy, shared = found.together, found.shared
    batched = busy["commits_per_unit"]
    rows: list[tuple[str, Callable[[float], float]]] = [
        ("cores for engines", lambda rate: rate * busy["cpu_us_per_unit"] / 1e6),
        (f"engine processes, each {_BUSY:.0%} busy", lambda rate: rate * busy["cpu_us_per_unit"] / 1e6 / _BUSY),
        ("server cores, steps in large commits", lambda rate: found.server_cores(rate, batched)),
        ("server cores, ten steps in a commit", lambda rate: found.server_cores(rate, 0.1)),
        ("server cores, each step a commit", lambda rate: found.server_cores(rate, 1)),
        ("server cores, all activities through the shared queue", lambda rate: rate * shared["server_cpu_us_per_unit"] / 1e6),
        ("WAL, MB/s", lambda rate: rate * busy["wal_bytes_per_unit"] / 1e6),
        ("WAL through the shared queue, MB/s", lambda rate: rate * shared["wal_bytes_per_unit"] / 1e6),
        ("to the server, MB/s", lambda rate: rate * busy["sent_bytes_per_unit"] / 1e6),
        ("tables and indexes, TB/day until purged", lambda rate: rate * busy["file_bytes_per_unit"] * _DAY / 1e12),
    ]
    header = [row("steps per second", *(f"{rate:,}" for rate in _RATES)), row("---", *["---:"] * len(_RATES))]
    return header + [row(name, *(number(figure(rate)) for rate in _RATES)) for name, figure in rows]


def _of(lines: list[Line], workload: str) -> list[Line]:
    return [line for line in lines if line.get("workload") == workload and line.get("variant") == "perdure"]


def _title(line: Line) -> str:
    match line["parameters"]:
        case {"load": "shared"}:
            return "chain of 20, x 200, shared queue (step)"
        case {"scenario": "chain", "instances": instances, "steps": steps}:
            return f"chain of {steps}, x {instances} (step)"
        case {"scenario": "fan_out", "width": width}:
            return f"fan-out, {width:,} wide (activity)"
        case _:
            return f"HelloCities ({line['unit']})"


TABLES: dict[str, Callable[[list[Line]], list[str]]] = {
    "postgres_budgets": budgets,
    "postgres_machine": where,
    "postgres": one_engine,
    "engines": engines,
    "takeover": takeover,
    "postgres_idle": idle,
    "model": model,
    "loads": loads,
}
