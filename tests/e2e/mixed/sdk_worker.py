"""The part of a mixed hub that Microsoft's Python SDK runs: ``python sdk_worker.py ADDRESS``."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from durabletask import task, worker


def sdk_add(_: task.ActivityContext, value: int) -> int:
    return value + 1


def sdk_flaky(_: task.ActivityContext, name: str) -> str:
    if not Path(f"{name}.works").exists():
        raise ValueError("not yet")
    return "works"


def sdk_hold(_: task.ActivityContext, name: str) -> str:
    Path(f"{name}.sdk").write_text(str(os.getpid()))
    while not Path(f"{name}.release").exists():
        time.sleep(0.02)
    return "sdk"


def sdk_child(context: task.OrchestrationContext, value: int) -> Any:
    return (yield context.call_activity(sdk_add, input=value))


def main() -> None:
    with worker.TaskHubGrpcWorker(host_address=sys.argv[1]) as served:
        for activity in (sdk_add, sdk_flaky, sdk_hold):
            served.add_activity(activity)
        served.add_orchestrator(sdk_child)
        served.use_work_item_filters()
        served.start()
        signal.sigwait({signal.SIGTERM})


main()
