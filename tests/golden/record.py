"""Records golden histories: ``python -m tests.golden.record`` writes those that are missing, and never touches another.

Each release that changes how histories are written adds files under its own version; old files stay as they are (rule 12).
"""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import perdure.core.times
from perdure.core.events import (
    EntityLockGranted,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
)
from perdure.core.failures import FailureDetails
from perdure.core.messages import Message
from tests.golden import orchestrators
from tests.unit.driver import EPOCH, World, without_tracebacks

RELEASE = "0.1"
FOLDER = Path(__file__).parent
SECOND = timedelta(seconds=1)


def run_fan_out(world: World) -> None:
    world.start("fan_out", tags={"team": "red"})
    for _ in range(2):
        world.settle() if not world.pending else world.deliver(*reversed(world.pending))
    slow, fast = world.pending
    world.deliver(fast)
    world.deliver(slow)


def run_approval(world: World) -> None:
    world.start("approval", start_at=perdure.core.times.to_us(EPOCH + SECOND))
    world.raise_event("early", {"by": "mail"})
    world.pass_time(2 * SECOND)
    world.raise_event("ANSWER", "yes")
    world.run()


def run_retries(world: World) -> None:
    world.start("retries")
    world.run()


def run_family(world: World) -> None:
    world.start("family", version="1", tags={"team": "red"})
    world.run()


def run_eternal(world: World) -> None:
    world.start("eternal", [], version="1")
    for number in range(4):
        world.raise_event("n", number)
    world.suspend()
    world.raise_event("N", 4)
    world.raise_event("other", 5)
    world.settle()
    world.resume()
    world.raise_event("n", 6)
    world.settle()


def run_interrupted(world: World) -> None:
    world.start("interrupted")
    world.suspend()
    world.pass_time(2 * SECOND)
    world.settle()
    world.raise_event("n", [1])
    world.resume()
    world.settle()
    world.terminate("enough", recursive=True)
    world.settle()


def run_bank(world: World) -> None:
    """What entities would answer."""
    instance = world.start("bank")

    def answer(make: Callable[[Any], Any]) -> None:
        asked = world.pending.pop()
        assert isinstance(asked, Message)
        world.pending.clear()
        assert isinstance(asked.event, EntityLockRequested | EntityOperationCalled)
        parent = asked.event.parent
        assert parent is not None
        event = make(asked.event)
        world.turn("i", Message("i", event, parent.execution_id, parent.generation))

    answer(lambda asked: EntityLockGranted(asked.task_id, asked.critical_section_id, asked.lock_set))
    answer(lambda asked: EntityOperationCompleted(asked.task_id, "5"))
    answer(lambda asked: EntityOperationFailed(asked.task_id, FailureDetails("ValueError", "not enough")))
    assert instance.output == [5, "not enough"]


RUNS: dict[str, Callable[[World], None]] = {
    name.removeprefix("run_"): run for name, run in list(globals().items()) if name.startswith("run_")
}


def recorded(run: Callable[[World], None]) -> dict[str, list[list[Any]]]:
    """Of each instance, the segments of each generation."""
    world = World()
    world.describe = without_tracebacks
    orchestrators.register(world)
    run(world)
    histories: dict[str, list[list[Any]]] = {}
    for instance_id, segments in world.written.items():
        generations = histories[instance_id] = []
        for reset, data in segments:
            if reset:
                generations.append([])
            generations[-1].append(json.loads(data))
    return histories


def main() -> None:
    """Writes what is missing."""
    for name, run in RUNS.items():
        path = FOLDER / f"{RELEASE}-{name}.json"
        if not path.exists():
            path.write_text(json.dumps(recorded(run), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
