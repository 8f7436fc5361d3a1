"""Activities that worker processes can import."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from perdure.engine.activities import activity_context


@dataclass
class Point:
    x: int
    y: int


def process_id() -> int:
    return os.getpid()


def add_up(point: Point) -> int:
    return point.x + point.y


def deep_context(_: object) -> list[object]:
    def deeper() -> list[object]:
        context = activity_context()
        return [context.name, context.instance_id, context.task_id, context.attempt, context.idempotency_key]

    return deeper()


def fail_in_child(text: str) -> None:
    raise LookupError(text)


def exit_politely() -> None:
    raise SystemExit(7)


def exit_hard(code: int) -> None:
    os._exit(code)


def signal_self(number: int) -> None:
    os.kill(os.getpid(), number)


def repeat(count: int) -> str:
    return "x" * count


def wait_for_token(fifo: str) -> str:
    token = activity_context().cancellation
    Path(fifo).write_text(str(os.getpid()))
    token.wait()
    Path(fifo).write_text("obeyed")
    return "late"


def ignore_token(fifo: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(fifo).write_text(str(os.getpid()))
    while True:
        signal.pause()


def survive_interrupt() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "alive"


def fork_and_die(fifo: str) -> None:
    """Leaves a child behind that keeps this process's pipes open."""
    if os.fork():
        os._exit(9)
    Path(fifo).read_text()
    os._exit(0)


def hold_open(fifo: str) -> None:
    """Goes on for ever; whoever reads the FIFO comes to its end when this process does."""
    with Path(fifo).open("w") as file:
        file.write(f"{os.getppid()}\n")
        file.flush()
        while True:
            signal.pause()
