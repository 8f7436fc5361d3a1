"""No ``async`` anywhere: a script that goes on where it stopped, when it is started again after a crash.

``python -m examples.blocking_script``
"""

import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import perdure as df

app = df.DFApp()


@app.activity_trigger(input_name="step")
def work(step: int) -> str:
    """One step."""
    return f"step {step} done"


@app.orchestration_trigger(context_name="context")
def three_steps(context: df.DurableOrchestrationContext) -> Generator[df.Task[Any], Any, list[str]]:
    """A chain."""
    first = yield context.call_activity(work, 1)
    second = yield context.call_activity(work, 2)
    third = yield context.call_activity(work, 3)
    return [first, second, third]


def run(database: Path) -> None:
    """Starts the chain, or finds it where an earlier run has left it: the id says which."""
    with df.BlockingTaskHub(app, f"sqlite:///{database}") as hub:
        instance_id = hub.client.start_new(three_steps, "the-one-run", reuse_policy=df.ReusePolicy.RETURN_EXISTING)
        status = hub.client.wait_for_completion(instance_id, timeout=30)
        print(f"{instance_id}: {status.runtime_status}, {status.output}, created {status.created_time:%H:%M:%S.%f}")


def main() -> None:
    """Opens the hub twice: the second time the result is already there."""
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            run(Path(folder) / "hub.db")


if __name__ == "__main__":
    main()
