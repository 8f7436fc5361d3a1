"""One measurement in a process of its own: ``python -m benchmarks.child WORKLOAD PARAMETERS LOOP DIRECTORY``."""

import json
import sys
from pathlib import Path

from benchmarks.hubs import run_on
from benchmarks.workloads import WORKLOADS


def main() -> None:
    """Prints the measurements as one JSON list."""
    workload, parameters, loop, directory = sys.argv[1:]
    measurements = run_on(loop, WORKLOADS[workload].run(json.loads(parameters), Path(directory)))
    print(json.dumps([measurement.as_json() for measurement in measurements]))


if __name__ == "__main__":
    main()
