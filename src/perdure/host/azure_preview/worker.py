"""Does the work of an app's own orchestrators and entities, connected to the hub like any worker, but without a wire."""

import asyncio
import inspect
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any

from azure.functions import EntityContext, OrchestrationContext

from perdure.core.answer_checks import InvalidAnswerError, StaleAnswerError
from perdure.core.answers import EntityAnswer, OrchestratorAnswer
from perdure.core.entity import EntityNotRegisteredError
from perdure.core.entity_id import entity_name
from perdure.core.errors import PerdureError
from perdure.core.functions import OrchestratorNotRegisteredError
from perdure.engine.errors import EngineStoppedError
from perdure.engine.remote.remote import RemoteWork
from perdure.engine.remote.work import ActivityWork, EntityWork, OrchestratorWork, Work, WorkerLimits, WorkFilter
from perdure.engine.remote.worker import Worker
from perdure.host.azure_preview.missing import all_failed, failed, no_activity, no_entity, no_orchestrator
from perdure.host.azure_preview.requests import entity_answer, entity_text, orchestrator_answer, orchestrator_text
from perdure.host.model import LoadedApp, WorkFunction, WorkFunctions
from perdure.host.triggers.invoke import InvocationContext, is_async

_log = logging.getLogger("perdure.functions")


class AppWorker:
    """Works from ``start`` until its hub closes. What fails outside of the user's code is offered again after a while."""

    def __init__(self, app: LoadedApp, functions: WorkFunctions, *, others: bool) -> None:
        """``others``: workers of other processes may have what the app hasn't; else whoever asks for that is told so."""
        self._app = app
        self._functions = functions
        self._others = others
        self._serving: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: set[str] = set()
        """What has been logged about functions that are missing."""

    def start(self, remote: RemoteWork) -> None:
        """Begins to work.

        Raises:
            EngineStoppedError: the hub is closing.
        """
        own = WorkFilter(_AnyCase(self._functions.orchestrators), {}, _AnyCase(self._functions.entities))
        worker = remote.connect(WorkerLimits(), own if self._others else None)
        self._serving = asyncio.get_running_loop().create_task(self._serve(remote, worker))

    async def stop(self) -> None:
        """Waits for nothing: whatever isn't answered when its hub has closed is done again later."""
        tasks = [*self._tasks, *(() if self._serving is None else (self._serving,))]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, remote: RemoteWork, worker: Worker) -> None:
        try:
            while works := await worker.next():
                for work in works:
                    task = asyncio.get_running_loop().create_task(self._do(remote, work))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        finally:
            worker.disconnect()

    async def _do(self, remote: RemoteWork, work: Work) -> None:
        try:
            await self._answer(remote, work)
        except (StaleAnswerError, EngineStoppedError):
            pass  # the instance has ended meanwhile, or the hub has: what is open comes again
        except InvalidAnswerError as error:
            _log.error("%s Its work will be offered again.", error)
        except OrchestratorNotRegisteredError as error:
            self._tell("instances that run already can't go on: %s Register it again, or terminate them.", error)
            self._give_back(remote, work.token)
        except EntityNotRegisteredError as error:
            self._tell("what is sent to entities that exist has to wait: %s Register it again.", error)
            self._give_back(remote, work.token)
        except Exception:  # noqa: BLE001 - what the user's code raises is in its answer; this is the SDK's, or of what it reaches
            _log.exception("the work for %s has failed outside of its own code, and will be tried again", _what(work))
            self._give_back(remote, work.token)

    def _tell(self, consequence: str, error: PerdureError) -> None:
        if error.message not in self._told:
            self._told.add(error.message)
            _log.error(consequence, error)

    async def _answer(self, remote: RemoteWork, work: Work) -> None:
        if isinstance(work, OrchestratorWork):
            await remote.answer_orchestrator(work.token, await self._orchestrate(work))
        elif isinstance(work, EntityWork):
            await remote.answer_entity(work.token, await self._operate(work))
        else:
            known = [function.name for function in self._app.functions.activities.values()]
            remote.answer_activity(work.token, failure=no_activity(work.call.name, known))

    async def _orchestrate(self, work: OrchestratorWork) -> OrchestratorAnswer:
        function = self._functions.orchestrators.get(work.started.name.casefold())
        if function is None:
            missing = no_orchestrator(work.started.name, [known.name for known in self._functions.orchestrators.values()])
            if work.past_count:
                raise missing  # the app had it once, and may have it again
            return failed(missing)
        return orchestrator_answer(await self._call(function, OrchestrationContext(orchestrator_text(work))), work)

    async def _operate(self, work: EntityWork) -> EntityAnswer:
        function = self._functions.entities.get(entity_name(work.instance_id).casefold())
        if function is None:
            missing = no_entity(entity_name(work.instance_id), [known.name for known in self._functions.entities.values()])
            if work.state is not None:
                raise missing  # the app had it once, and may have it again
            return all_failed(work, missing)
        return entity_answer(await self._call(function, EntityContext(entity_text(work))))

    async def _call(self, function: WorkFunction, request: object) -> object:
        arguments: dict[str, Any] = {function.parameter: request}
        if function.context_parameter is not None:
            arguments[function.context_parameter] = InvocationContext(function.name, str(self._app.folder), "")
        if is_async(function.call):
            return await function.call(**arguments)
        result = await asyncio.to_thread(function.call, **arguments)
        return await result if inspect.isawaitable(result) else result

    @staticmethod
    def _give_back(remote: RemoteWork, token: str) -> None:
        with suppress(StaleAnswerError, EngineStoppedError):
            remote.abandon(token)


def _what(work: Work) -> str:
    return f"activity '{work.call.name}'" if isinstance(work, ActivityWork) else f"instance '{work.instance_id}'"


class _AnyCase(Mapping[str, Collection[str]]):
    """Names in any case, all versions of each."""

    def __init__(self, folded: Collection[str]) -> None:
        self._folded = folded

    def __getitem__(self, name: str) -> Collection[str]:
        if name.casefold() not in self._folded:
            raise KeyError(name)
        return ()

    def __iter__(self) -> Iterator[str]:
        return iter(self._folded)

    def __len__(self) -> int:
        return len(self._folded)
