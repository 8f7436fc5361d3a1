"""A worker without a wire: runs an app's functions in answer to work items, with nothing but what the items say.

Its orchestrators are replayed from the item's history by the same code that runs them in process; so a program has to come to the
same end either way, and a history that a worker couldn't replay fails it.
"""

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import perdure as df
from perdure.app.registry import RegisteredFunctions
from perdure.core.answers import (
    Continuation,
    EntityAnswer,
    OperationResult,
    OrchestrationSent,
    OrchestratorAnswer,
)
from perdure.core.codec import encode_segment
from perdure.core.converter import JsonConverter
from perdure.core.entity import Entity
from perdure.core.errors import PerdureError
from perdure.core.events import (
    AnyEvent,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    EntityOperationSignaled,
    EntityStateSaved,
    EventRaised,
    ExecutionCompleted,
    ExecutionRewound,
    ExecutionStarted,
    OrchestratorStarted,
    ParentLink,
)
from perdure.core.failures import failure_from_exception
from perdure.core.functions import Functions
from perdure.core.messages import Message
from perdure.core.orchestration import Orchestration
from perdure.engine.activities.context import ActivityContext, CancellationToken, current
from perdure.engine.remote.remote import RemoteWork
from perdure.engine.remote.work import ActivityWork, EntityWork, OrchestratorWork, Work, WorkerLimits, WorkFilter
from perdure.engine.replaying import replay
from perdure.store.contract import HubStore


class Replayed(Orchestration):
    """An orchestration that decides once and doesn't go on by itself."""

    def decide(self, new: Sequence[AnyEvent], at: int) -> OrchestratorAnswer:
        """What the code asks for after ``new``."""
        events = self._begin_turn(OrchestratorStarted(at))
        carried: list[AnyEvent] = []
        for event in new:
            self._accept(Message(self.instance_id, event), events, carried)  # type: ignore[arg-type]
        continuation = None
        if self._continuing and not self.ended:
            assert self._context is not None
            assert self._context.next_generation is not None
            input_, save, version = self._context.next_generation
            kept = [*(self._recorder.unprocessed_events() if save else ()), *self._parked, *carried]
            continuation = Continuation(input_, version, tuple(event for event in kept if isinstance(event, EventRaised)))
        if self._doomed is not None:
            failed = ExecutionCompleted("Failed", None, failure_from_exception(self._doomed))
            return OrchestratorAnswer((failed,))
        return OrchestratorAnswer(tuple(self._recorder.actions), self.custom_status, continuation)


def decide(work: OrchestratorWork, functions: Functions) -> OrchestratorAnswer:
    """A worker's answer to an orchestrator item."""
    orchestration = Replayed(work.instance_id, functions, JsonConverter(), 0)
    turns: list[list[AnyEvent]] = []
    for event in work.past.past[: work.past_count]:
        if isinstance(event, ExecutionRewound):
            continue
        if isinstance(event, OrchestratorStarted):
            turns.append([])
        turns[-1].append(event)
    with replay():
        orchestration.replay(((seq, encode_segment(turn)) for seq, turn in enumerate(turns)), None)
    answer = orchestration.decide(work.new, work.at)
    with replay():
        orchestration.close()
    return answer


def operate(work: EntityWork, functions: Functions) -> EntityAnswer:
    """A worker's answer to an entity item."""
    entity = Entity(work.instance_id, functions, JsonConverter(), 0, f"worker-{work.token}")
    if work.state is not None:
        entity.replay([(0, encode_segment([EntityStateSaved(work.state)]))], None)
    results: list[OperationResult] = []
    sent: list[EntityOperationSignaled | OrchestrationSent] = []
    for number, operation in enumerate(work.operations):
        asked = EntityOperationCalled(
            operation.entity, operation.operation, number, operation.input, ParentLink("worker", "", 0, number)
        )
        turn = entity.turn([Message(work.instance_id, asked)], 0)
        for message in turn.messages:
            event = message.event
            if isinstance(event, EntityOperationCompleted):
                results.append(OperationResult(event.result))
            elif isinstance(event, EntityOperationFailed):
                results.append(OperationResult(None, event.failure))
            elif isinstance(event, EntityOperationSignaled):
                sent.append(event)
            elif isinstance(event, ExecutionStarted):
                sent.append(OrchestrationSent(event.name, message.instance_id, event.input, event.version))
    return EntityAnswer(tuple(results), entity.durable.state, tuple(sent))


class FakeWorker:
    """Connected to a hub until it is stopped. Items are answered at the same time, each in its own task."""

    def __init__(
        self,
        remote: RemoteWork,
        functions: Functions,
        limits: WorkerLimits | None = None,
        filter_: WorkFilter | None = None,
    ) -> None:
        self._remote = remote
        self.functions = functions
        self.worker = remote.connect(limits or WorkerLimits(), filter_)
        self.done: list[Work] = []
        self.errors: list[BaseException] = []
        self.pause = 0.0
        """Seconds before it begins with an item."""
        self._tasks: dict[asyncio.Task[None], None] = {}  # in order, so that runs can be repeated
        self._main = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Vanishes, whatever it is doing."""
        self.worker.disconnect()
        self._main.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(self._main, *self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        while works := await self.worker.next():
            for work in works:
                task = asyncio.create_task(self._answer(work))
                self._tasks[task] = None
                task.add_done_callback(self._tasks.pop)

    async def _answer(self, work: Work) -> None:
        try:
            if self.pause:
                await asyncio.sleep(self.pause)
            if isinstance(work, OrchestratorWork):
                await self._remote.answer_orchestrator(work.token, decide(work, self.functions))
            elif isinstance(work, EntityWork):
                await self._remote.answer_entity(work.token, operate(work, self.functions))
            else:
                await self._run_activity(work)
        except PerdureError as error:
            self.errors.append(error)
        else:
            self.done.append(work)

    async def _run_activity(self, work: ActivityWork) -> None:
        converter = JsonConverter()
        call = work.call
        current.set(
            ActivityContext(call.name, call.instance_id, call.task_id, call.attempt, call.idempotency_key, CancellationToken())
        )
        function = self.functions.activities[call.name.casefold()]
        try:
            arguments = (converter.decode(call.input, function.input_type, "input", call.name),) if function.takes_input else ()
            made: Any = function.call(*arguments)
            value = await made if function.pool == "loop" else made
            result = converter.encode(value, "result", call.name)
        except Exception as error:  # noqa: BLE001 - the user's
            self._remote.answer_activity(work.token, failure=failure_from_exception(error))
        else:
            self._remote.answer_activity(work.token, result)


class Here:
    """An app of which some kinds of functions are in another process."""

    def __init__(self, app: df.DFApp, elsewhere: frozenset[str]) -> None:
        self._app = app
        self._elsewhere = elsewhere

    def functions(self) -> Functions:
        """Those that aren't."""
        every = self._app.functions()
        return RegisteredFunctions(
            {} if "orchestrators" in self._elsewhere else every.orchestrators,
            {} if "activities" in self._elsewhere else every.activities,
            {} if "entities" in self._elsewhere else every.entities,
        )


class HubWithWorker(df.TaskHub):
    """A hub that leaves ``elsewhere`` to one worker, which is connected as long as the hub is open."""

    def __init__(
        self, app: df.DFApp, store: HubStore, elsewhere: frozenset[str], settings: df.EngineSettings, **options: Any
    ) -> None:
        settings = dataclasses.replace(settings, remote=settings.remote or df.RemoteSettings())
        super().__init__(Here(app, elsewhere), store, settings=settings, **options)
        self._all = app.functions()
        self.worker: FakeWorker | None = None

    async def start(self) -> None:
        """See ``TaskHub``."""
        await super().start()
        self.connect()

    def connect(self) -> None:
        """Connects the worker."""
        if self._engine.remote is not None:
            self.worker = FakeWorker(self._engine.remote, self._all)

    async def close(self) -> None:
        """See ``TaskHub``."""
        await super().close()
        if self.worker is not None:
            await self.worker.stop()
