"""The process that does the work: opens the hub, starts the backup or finds where the last worker left it, sees it through.

``python -m examples.backup.worker HUB REQUEST``, where REQUEST is a ``BackupRequest`` as JSON. It stops when its standard
input ends, so that it never outlives whoever started it.
"""

import asyncio
import json
import signal
import sys

import perdure as df
from examples.backup.files import COPIES_AT_ONCE
from examples.backup.function_app import app, backup
from examples.backup.model import BackupRequest

INSTANCE_ID = "backup"


async def work(hub_file: str, request: BackupRequest) -> None:
    """Returns when the backup has ended, or when this process is asked to stop; all that was finished is durable by then."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    loop.add_reader(sys.stdin.fileno(), stopped.set)
    async with df.TaskHub(app, hub_file, settings=df.EngineSettings(max_activity_threads=COPIES_AT_ONCE)) as hub:
        await hub.client.start_new(backup, INSTANCE_ID, request, reuse_policy=df.ReusePolicy.RETURN_EXISTING)
        completion = asyncio.ensure_future(hub.client.wait_for_completion(INSTANCE_ID))
        stop = asyncio.ensure_future(stopped.wait())
        await asyncio.wait((completion, stop), return_when=asyncio.FIRST_COMPLETED)
        completion.cancel()
        stop.cancel()
        await asyncio.gather(completion, stop, return_exceptions=True)


def main() -> None:
    """Reads the command line."""
    hub_file, request = sys.argv[1:]
    asyncio.run(work(hub_file, BackupRequest(**json.loads(request))))


if __name__ == "__main__":
    main()
