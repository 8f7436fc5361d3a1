"""What other processes run for the scenarios."""

import asyncio
import os
import sys
import time
from pathlib import Path

import perdure as df


def write_pid_and_sleep(value: str) -> None:
    """Says who runs it, and deaf to all requests stays."""
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(value).write_text(str(os.getpid()))
    time.sleep(60)


def square(value: int) -> int:
    """Something for a core of its own."""
    return value * value


async def hold(path: str) -> None:
    """Has a hub open until somebody writes a line."""
    async with df.TaskHub(df.DFApp(), f"sqlite:///{path}"):
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(hold(sys.argv[1]))
