"""Opens a hub in a fresh process, wakes one instance if its id is given, and prints what that took."""

import asyncio
import json
import sys
import time
from pathlib import Path

from benchmarks.apps import make_app
from benchmarks.hubs import bench
from benchmarks.measuring import settled_bytes


async def _measure(database: Path, instance_id: str) -> dict[str, float]:
    begun = time.perf_counter()
    async with bench(make_app(), database, with_shapes=False) as opened:
        told = {"hub": time.perf_counter() - begun, "ready_at": time.time(), "wake": 0.0}
        await asyncio.sleep(1)  # what the engine still reads after it has started counts as memory
        told["rss"] = settled_bytes()
        if instance_id:
            begun = time.perf_counter()
            await opened.hub.client.raise_event(instance_id, "go")
            await opened.hub.client.wait_for_completion(instance_id, timeout=60)
            told["wake"] = time.perf_counter() - begun
    return told


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure(Path(sys.argv[1]), sys.argv[2]))))
