"""The clients and worker of the managed service over TLS with a credential: ``python -m tests.e2e.sdk_managed ADDRESS TOKEN``.

A process of its own, since gRPC reads the environment for the authorities that it trusts once.
"""

import asyncio
import json
import logging
import sys
import time
from typing import Any

from azure.core.credentials import AccessToken
from durabletask.azuremanaged.client import AsyncDurableTaskSchedulerClient, DurableTaskSchedulerClient
from durabletask.azuremanaged.worker import DurableTaskSchedulerWorker

from tests.e2e import sdk_programs as programs

SILENT = logging.getLogger("tests.durabletask")
SILENT.setLevel(logging.CRITICAL + 1)


class Credential:
    """As azure-identity has many."""

    def __init__(self, token: str) -> None:
        self.token = AccessToken(token, int(time.time()) + 3600)

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return self.token


class AsyncCredential(Credential):
    async def get_token(self, *_: str, **__: Any) -> AccessToken:  # type: ignore[override]
        return self.token


async def ask(credential: Any, **options: Any) -> Any:
    client = AsyncDurableTaskSchedulerClient(token_credential=credential, **options)
    try:
        instance_id = await client.schedule_new_orchestration("chain", input=4)
        state = await client.wait_for_orchestration_completion(instance_id, timeout=30)
        return None if state is None else state.get_output()
    finally:
        await client.close()


def main() -> None:
    """Prints what came of a chain for each client, or the error of the first call."""
    address, token = sys.argv[1:]
    options: Any = {"host_address": address, "taskhub": "secured", "secure_channel": True, "logger": SILENT}
    client = DurableTaskSchedulerClient(token_credential=Credential(token), **options)  # type: ignore[arg-type]
    worker = DurableTaskSchedulerWorker(token_credential=Credential(token), **options)  # type: ignore[arg-type]
    programs.register(worker)
    try:
        client.get_orchestration_state("nobody")
        worker.start()
        state = client.wait_for_orchestration_completion(client.schedule_new_orchestration("chain", input=3), timeout=30)
        outputs = [None if state is None else state.get_output(), asyncio.run(ask(AsyncCredential(token), **options))]
        print(json.dumps(outputs))
    except Exception as error:  # noqa: BLE001 - that is what the test looks at
        print(error)
    finally:
        worker.stop()
        client.close()


if __name__ == "__main__":
    main()
