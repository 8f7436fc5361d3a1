"""One measurement in a process of its own: ``python -m benchmarks.child VARIANT WORKLOAD PARAMETERS LOOP DIRECTORY``."""

import json
import sys
from pathlib import Path


def main() -> None:
    """Prints the measurements as one JSON list. ``VARIANT`` is ``perdure`` (whichever is on the path) or a peer's name."""
    variant, workload, parameters_text, loop, directory = sys.argv[1:]
    parameters = json.loads(parameters_text)
    if variant == "perdure":
        from benchmarks.hubs import run_on
        from benchmarks.workloads import WORKLOADS

        measurements = run_on(loop, WORKLOADS[workload].run(parameters, Path(directory)))
    else:
        from benchmarks.peers import peer

        measurements = [peer(variant).run(workload, parameters)]
    print(json.dumps([measurement.as_json() for measurement in measurements]))


if __name__ == "__main__":
    main()
