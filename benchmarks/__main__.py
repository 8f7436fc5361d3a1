"""The command line: ``python -m benchmarks [--short] [names...]``. Results go to standard output, progress to standard error."""

import argparse
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.hubs import loop_name
from benchmarks.peers import WORKLOADS as PEER_WORKLOADS
from benchmarks.peers import peer
from benchmarks.runs import Variant, checked_out, results
from benchmarks.workloads import ON_POSTGRESQL, WORKLOADS, by_default, no_server


def main() -> None:
    """Runs the chosen workloads."""
    arguments = _arguments()
    loop = loop_name(arguments.loop)
    runs = arguments.runs or (1 if arguments.short else 3)
    peers = [Variant(name, name) for name in arguments.peer]
    with ExitStack() as stack:
        own = [Variant("perdure", "perdure")]
        if arguments.compare:
            own.append(Variant(f"perdure@{arguments.compare}", "perdure", stack.enter_context(checked_out(arguments.compare))))
        for name in arguments.names or by_default(short=arguments.short):
            for parameters in WORKLOADS[name].cases(short=arguments.short):
                begun = time.monotonic()
                taking_part = [
                    variant for variant in peers if name in PEER_WORKLOADS and peer(variant.kind).feasible(name, parameters)
                ]
                for line in results(name, parameters, [*own, *taking_part], runs, loop, arguments.directory):
                    print(json.dumps(line), flush=True)
                print(f"{name} {parameters}: {time.monotonic() - begun:.1f} s", file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures Perdure on SQLite (synchronous=FULL) and PostgreSQL, one JSON line per result. Each run has a "
        "process of its own, and a server of its own if it needs one.",
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"workloads, of {', '.join(WORKLOADS)}; default: all")
    parser.add_argument("--short", action="store_true", help="smaller sizes, one run of each, no PostgreSQL unless named")
    parser.add_argument("--runs", type=int, help="how many runs the medians are of; default 3, or 1 with --short")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop", help="uvloop is used if it is installed")
    parser.add_argument("--compare", metavar="REV", help="alternate with this git revision, and print ratios")
    parser.add_argument("--peer", action="append", default=[], choices=("durabletask",), help="run this engine too, if installed")
    parser.add_argument("--directory", type=Path, help="where the databases go: a disk (default: the temporary directory)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in WORKLOADS]
    if unknown:
        parser.error(f"unknown workload {unknown[0]!r}; choose from {', '.join(WORKLOADS)}")
    missing = no_server()
    if missing and set(arguments.names) & set(ON_POSTGRESQL):
        parser.error(missing)
    if not arguments.names and (missing or arguments.short):
        print(f"PostgreSQL is left out: {missing or 'name its workloads to have them in a short run'}", file=sys.stderr)
    for name in arguments.peer:
        try:
            peer(name)
        except ImportError as error:
            parser.error(f"the peer {name!r} isn't installed: {error}")
    return arguments


if __name__ == "__main__":
    main()
