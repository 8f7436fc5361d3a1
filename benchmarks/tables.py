"""Writes measured figures into a document: ``python -m benchmarks.tables RESULTS.jsonl docs/explanation/performance.md``.

A table goes between ``<!-- table: NAME -->`` and ``<!-- end of table -->``; everything else is left as it is. A table whose
figures the results don't have stays too, so that a run of a few workloads can refresh their rows' tables only.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import postgres_tables
from benchmarks.budgets import BUDGETS, Line
from benchmarks.cells import kept, number, row, transposed


def budgets(lines: list[Line]) -> list[str]:
    """The design's budgets against the measured figures."""
    return kept(BUDGETS, lines)


def results(lines: list[Line]) -> list[str]:
    """Every workload's medians."""
    header = (
        "workload",
        "parameters",
        "unit",
        "per second",
        "µs",
        "CPU µs",
        "commits",
        "payload bytes",
        "bytes to disk",
        "of the floor",
        "of its CPU",
    )
    rows = [row(*header), row("---", "---", "---", *["---:"] * 8)]
    rows += [
        row(
            line["workload"],
            _parameters(line),
            line["unit"],
            number(line["value"]),
            number(line["us_per_unit"]),
            number(line["cpu_us_per_unit"]),
            number(line["commits_per_unit"]),
            number(line["payload_bytes_per_unit"]),
            number(line["disk_bytes_per_unit"]),
            f"{line['ratio_to_floor']:.2f} x" if "ratio_to_floor" in line else "",
            f"{1 / line['cpu_ratio_to_floor']:.1f} x" if "cpu_ratio_to_floor" in line else "",
        )
        for line in lines
        if line.get("variant") == "perdure" and line["workload"] in ("chain", "starts", "hello_cities", "fan_out", "replay")
    ]
    return rows if len(rows) > 2 else []


def dormant(lines: list[Line]) -> list[str]:
    """What waiting instances cost, and a restart with them."""
    figures = {
        "rss_bytes_per_instance_dehydrated": "RSS that stays in the process that started them, bytes per instance",
        "python_objects_per_instance_dehydrated": "of that, Python objects alive per instance",
        "restart_rss_bytes_per_instance": "RSS after a restart, above that of an empty hub, bytes per instance",
        "disk_bytes_per_instance": "on disk, bytes per instance",
        "restart_process_seconds": "fresh process until the hub is open, s",
        "restart_hub_seconds": "of that, opening the hub, s",
        "wake_one_ms": "waking one: from `raise_event` to its completion, ms",
    }
    return transposed(
        [line for line in lines if line.get("workload") == "dormant"], figures, "waiting_for", "100,000 instances waiting for"
    )


def recovery(lines: list[Line]) -> list[str]:
    """What a SIGKILL costs."""
    figures = {
        "seconds_until_all_done": "from the restart to all done, s (start of Python included)",
        "completed_before_kill": "activities completed before the kill, of 4,000",
        "completed_activities_lost": "completed activities lost",
        "instances_lost": "instances lost",
        "activities_run_twice": "activities run twice",
    }
    return transposed([line for line in lines if line.get("workload") == "recovery"], figures, "instances", "instances")


def http(lines: list[Line]) -> list[str]:
    """What callers of a host see, and what it costs the host."""
    ran = [line for line in lines if line.get("workload") == "http" and line.get("variant") == "perdure"]
    if not ran:
        return []
    clients = {"perdure": "Perdure", "azure": "azure-functions-durable", "none": "none: management API"}
    header = (
        "unit",
        "client of the app",
        "load",
        "per second",
        "host's CPU µs",
        "p50 ms",
        "p99 ms",
        "poll p50 ms",
        "poll p99 ms",
    )
    rows = [row(*header), row("---", "---", "---", *["---:"] * 6)]
    for line in ran:
        parameters = line["parameters"]
        load = f"{number(parameters['rate'])} /s" if parameters.get("rate") else f"{parameters['clients']} callers"
        asked = line["unit"]
        figures = [line.get(name) for name in (f"{asked}_p50_ms", f"{asked}_p99_ms", "poll_p50_ms", "poll_p99_ms")]
        rows.append(
            row(
                asked,
                clients[parameters["client"]],
                load,
                number(line["value"]),
                number(line["cpu_us_per_unit"]),
                *("" if figure is None else number(figure) for figure in figures),
            )
        )
    return rows


def cold_start(lines: list[Line]) -> list[str]:
    """Where the time of a start goes."""
    line = next((line for line in lines if line.get("workload") == "cold_start" and line.get("variant") == "perdure"), None)
    if line is None:
        return []
    imports = {key.removeprefix("import_ms_"): value for key, value in line.items() if key.startswith("import_ms_")}
    rows = [row("`perdure start`", "ms"), row("---", "---:")]
    rows.append(row("**process begun until first answer**", f"**{number(line['us_per_unit'] / 1e3)}**"))
    rows.append(row("CPU of it", number(line["cpu_us_per_unit"] / 1e3)))
    rows.append(row("all imports", number(sum(imports.values()))))
    rows += [row(f"imports: {name}", number(value)) for name, value in sorted(imports.items(), key=lambda item: -item[1])]
    return rows


def peers(lines: list[Line]) -> list[str]:
    """Other engines that ran in turns with Perdure."""
    ran = [line for line in lines if "perdure_over_this" in line and not line["variant"].startswith("perdure@")]
    if not ran:
        return []
    rows = [
        row("workload", "parameters", "engine", "its rate /s", "its CPU µs", "Perdure is faster by"),
        row("---", "---", "---", *["---:"] * 3),
    ]
    for line in ran:
        figures = (number(line["value"]), number(line["cpu_us_per_unit"]), f"{number(line['perdure_over_this'])} x")
        rows.append(row(line["workload"], _parameters(line), line["variant"], *figures))
    return rows


def protocol(lines: list[Line]) -> list[str]:
    """The gRPC server beside the SDK's in-memory backend."""
    ran = [line for line in lines if line["workload"] == "protocol" and "memory_value" in line]
    if not ran:
        return []
    header = ("workload", "per second", "in-memory backend", "ratio", "server CPU µs", "backend's CPU µs")
    rows = [row(*header), row("---", *["---:"] * 5)]
    for line in ran:
        ratio = f"{line['over_memory']:.2f} x"
        cpu = (number(line["cpu_us_per_unit"]), number(line["memory_cpu_us_per_unit"]))
        rows.append(row(_parameters(line), number(line["value"]), number(line["memory_value"]), ratio, *cpu))
    return rows


def protocol_server(lines: list[Line]) -> list[str]:
    """The gRPC server with a worker that does nothing: what it takes by itself, and how that grows with the history."""
    ran = [line for line in lines if line["workload"] == "protocol" and "last_cpu_us_per_unit" in line]
    figures = {
        "value": "activities per second",
        "cpu_us_per_unit": "server CPU µs",
        "first_cpu_us_per_unit": "of the first fifth",
        "last_cpu_us_per_unit": "of the last fifth",
        "last_bytes_per_unit": "bytes of work items, last fifth",
    }
    rows = [row("per activity", *(_parameters(line) for line in ran)), row("---", *["---:"] * len(ran))]
    return rows + [row(name, *(number(line[key]) for line in ran)) for key, name in figures.items()] if ran else []


def costs(lines: list[Line]) -> list[str]:
    """The cost model: CPU by part, commits and bytes, per unit."""
    profiles = [line for line in lines if "profile" in line]
    if not profiles:
        return []
    parts = sorted({part for line in profiles for part in line["cpu_us_by_part"]}, key=lambda part: -_part(profiles[0], part))
    rows = [
        row("per unit", *(f"{line['profile']} ({line['unit']})" for line in profiles)),
        row("---", *["---:"] * len(profiles)),
    ]
    rows += [row(part, *(number(_part(line, part)) for line in profiles)) for part in parts]
    rows.append(row("**CPU µs, all threads**", *(f"**{number(line['cpu_us'])}**" for line in profiles)))
    for key, name in (
        ("commits_per_unit", "commits"),
        ("payload_bytes_per_unit", "payload bytes"),
        ("disk_bytes_per_unit", "bytes to disk"),
    ):
        rows.append(row(name, *(number(line[key]) for line in profiles)))
    return rows


def functions(lines: list[Line]) -> list[str]:
    """The dearest functions of a chained step under load."""
    line = next((line for line in lines if line.get("profile") == "chain"), None)
    if line is None:
        return []
    rows = [row("function", "calls per step", "own µs (profiled)", "with callees"), row("---", "---:", "---:", "---:")]
    rows += [
        row(f"`{entry['function']}`", entry["calls_per_unit"], entry["own_us"], entry["with_callees_us"]) for entry in line["top"]
    ]
    return rows


def where(lines: list[Line]) -> list[str]:
    """The machine and the code; ``postgres_tables`` has another one, with the server."""
    ran = (line for line in lines if "machine" in line and "revision" in line)
    line = next((line for line in ran if "postgresql" not in line.get("parameters", {})), None)
    if line is None:
        return []
    machine = line["machine"]
    return [
        (
            f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, {machine['file_system']}, one fdatasync of 4 KiB "
            f"{machine['fdatasync_us']} µs; Python {machine['python']}, SQLite {machine['sqlite']}, {line['loop']}; revision "
            f"{line['revision']}; load at the beginning {machine['load']}."
        )
    ]


TABLES: dict[str, Callable[[list[Line]], list[str]]] = {
    "machine": where,
    "budgets": budgets,
    "results": results,
    "dormant": dormant,
    "recovery": recovery,
    "http": http,
    "cold_start": cold_start,
    "peers": peers,
    "protocol": protocol,
    "protocol_server": protocol_server,
    "costs": costs,
    "functions": functions,
    **postgres_tables.TABLES,
}


def fill(document: str, lines: list[Line]) -> str:
    """The document with fresh tables.

    Raises:
        KeyError: it asks for a table that doesn't exist.
    """

    def table(found: re.Match[str]) -> str:
        rows = TABLES[found["name"]](lines)
        return "\n".join([found["begin"], "", *rows, "", found["end"]]) if rows else found[0]

    marked = re.compile(r"(?P<begin><!-- table: (?P<name>\w+) -->)\n.*?(?P<end><!-- end of table -->)", re.DOTALL)
    return marked.sub(table, document)


def _parameters(line: Line) -> str:
    return ", ".join(
        f"{name} {value:,}" if isinstance(value, int) and value is not True else f"{name} {value}"
        for name, value in line["parameters"].items()
    )


def _part(line: Line, part: str) -> float:
    return line["cpu_us_by_part"].get(part, 0.0)


def main() -> None:
    """Rewrites the document in place."""
    if len(sys.argv) != 3:
        raise SystemExit("usage: python -m benchmarks.tables RESULTS.jsonl DOCUMENT.md")
    lines = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    document = Path(sys.argv[2])
    document.write_text(fill(document.read_text(encoding="utf-8"), lines), encoding="utf-8")


if __name__ == "__main__":
    main()
