"""Instances in a store that no host runs: they can be asked and steered; what is sent waits for the next host.

No code of theirs runs meanwhile: the engine is passive.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from perdure.app import DFApp
from perdure.cli.errors import CommandError
from perdure.cli.store_urls import refuse_memory
from perdure.client.local import DurableClient
from perdure.client.models import DurableOrchestrationStatus
from perdure.core.context import function_name
from perdure.core.functions import Functions
from perdure.engine.clock import SystemClock
from perdure.engine.engine import Engine
from perdure.engine.hooks import EngineHooks
from perdure.engine.settings import EngineSettings
from perdure.store.errors import HubInUseError
from perdure.store.opening import open_store


class StoredInstances(DurableClient):
    """The client of a hub whose code isn't there."""

    async def start_new(self, orchestration_function_name: str | Callable[..., Any], *args: Any, **options: Any) -> str:
        """See ``DurableClient.start_new``; but any name will do: only the host that runs it can tell whether it exists."""
        self.starts.functions = _named(function_name(orchestration_function_name))
        return await super().start_new(orchestration_function_name, *args, **options)

    async def wait_for_completion(
        self, instance_id: str, timeout: Any = None, *, show_input: bool = False
    ) -> DurableOrchestrationStatus:
        """Gives the status of an instance that has ended; nothing here could make another one end.

        Raises:
            CommandError: it has not ended.
        """
        status = await self.get_status(instance_id, show_input=show_input)
        if status and not status.is_terminal:
            raise CommandError(
                f"instance '{instance_id}' is {status.runtime_status}, and nothing runs it: start its host with 'perdure start', "
                "then wait with --url."
            )
        return status


@asynccontextmanager
async def open_stored(url: str) -> AsyncGenerator[StoredInstances, None]:
    """The hub at ``url``, as long as the context lasts.

    Raises:
        CommandError: it is in memory.
        HubMissingError: there is none.
        HubInUseError: a host has it open; the message names the process and what to do.
        StoreError: it can't be opened.
    """
    refuse_memory(url)
    store = open_store(url, make=False)
    engine = Engine(store, _named(), settings=EngineSettings(passive=True), clock=SystemClock(), hooks=EngineHooks())
    try:
        await engine.start()
    except HubInUseError as error:
        raise HubInUseError(
            f"{error.message} Or work through the host that has it, with the address of its management API as --url."
        ) from error
    try:
        yield StoredInstances(engine, store, _named(), engine.clock)
    finally:
        await engine.close()


def _named(*names: str) -> Functions:
    """Orchestrators of which only the names are known."""
    app = DFApp()
    for name in names:

        def not_here(context: Any) -> None:
            raise AssertionError("a passive engine runs no code")

        app.orchestration_trigger(context_name="context", orchestration=name)(not_here)
    return app.functions()
