"""The client of an engine in the same process. Names and defaults are those of azure-functions-durable 1.7."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import msgspec

from perdure.client import entities
from perdure.client.history import project
from perdure.client.models import (
    CleanEntityStorageResult,
    DurableOrchestrationStatus,
    EntityPage,
    EntityStateResponse,
    InstancePage,
    PurgeHistoryResult,
)
from perdure.client.starts import Starts
from perdure.client.waiting import until_ended
from perdure.core.codec import decode_segment
from perdure.core.converter import readable
from perdure.core.entity_calls import moment_us
from perdure.core.entity_id import EntityId, entity_id, is_entity
from perdure.core.events import (
    EventRaised,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    IncomingEvent,
)
from perdure.core.functions import Functions
from perdure.core.messages import Message, ReusePolicy
from perdure.core.status import TERMINAL_STATUSES, OrchestrationRuntimeStatus
from perdure.core.times import from_us, to_us
from perdure.engine.clock import Clock
from perdure.engine.engine import Engine
from perdure.engine.errors import InstanceFinishedError, InstanceNotFoundError, InstanceRunningError
from perdure.store.contract import InstanceQuery, InstanceRecord, Queries

_PAGE = 200


class DurableClient:
    """Starts, asks, and steers orchestrations. Every call that changes something returns once the change is durable."""

    def __init__(
        self,
        engine: Engine,
        queries: Queries,
        functions: Functions,
        clock: Clock,
        *,
        default_version: str | None = None,
        default_reuse_policy: ReusePolicy = ReusePolicy.ONLY_IF_TERMINAL,
    ) -> None:
        self._engine = engine
        self._queries = queries
        self._functions = functions
        self._clock = clock
        self.starts = Starts(engine, functions, clock, default_version, default_reuse_policy)

    async def start_new(
        self,
        orchestration_function_name: str | Callable[..., Any],
        instance_id: str | None = None,
        client_input: Any = None,
        version: str | None = None,
        *,
        start_at: datetime | timedelta | None = None,
        tags: dict[str, str] | None = None,
        reuse_policy: ReusePolicy | None = None,
        connection: object | None = None,
    ) -> str:
        """Starts an orchestration.

        Args:
            orchestration_function_name: the orchestrator's name, in any case, or its decorated function.
            instance_id: its id; by default a new one.
            client_input: its input; anything that serializes to JSON.
            version: what ``context.version`` shows; by default the hub's ``default_version``.
            start_at: not before then: a moment (naive means UTC), or how long from now.
            tags: kept with the instance and its sub-orchestrations.
            reuse_policy: what to do when ``instance_id`` is taken; by default what the hub was opened with, which is usually to
                replace an instance that has ended only.
            connection: a connection to the hub's database with a transaction open: the start is written in it, and becomes real
                when you commit it, together with your own rows, or never. The call returns at once. Whether the id is taken is
                only looked at afterwards, so that a conflict is logged, not raised. ``sqlite3``, ``asyncpg`` or
                ``psycopg.AsyncConnection``.

        Returns:
            The instance id.

        Raises:
            OrchestratorNotRegisteredError: the app has no orchestrator of that name.
            InvalidInstanceIdError: the id breaks the rules.
            InvalidNameError: name or version has a NUL character.
            InstanceAlreadyExistsError: the id is taken and the policy forbids to replace what is there.
            SerializationError, PayloadTooLargeError: the input can't be stored.
            CommitFailedError: the store failed; the outcome is unknown.
            UnusableConnectionError: ``connection`` leads to another database, has no transaction open, or is of no known kind.
            TransactionsUnsupportedError: the hub is in memory, where no transaction of yours could be.
        """
        message = self.starts.message(
            orchestration_function_name,
            instance_id,
            client_input,
            version,
            start_at=start_at,
            tags=tags,
            reuse_policy=reuse_policy,
        )
        if connection is not None:
            await self._engine.enlist_async(message, connection)
        elif instance_id is not None:
            await self._engine.send(message)
        else:
            new_id = self._engine.new_instance_id(message.instance_id)
            message = msgspec.structs.replace(message, instance_id=new_id)
            await self._engine.send(message, fresh=True)
        return message.instance_id

    async def get_status(
        self, instance_id: str, show_history: bool = False, show_history_output: bool = False, show_input: bool = False
    ) -> DurableOrchestrationStatus:
        """The instance's status; a falsy one if there is no such instance."""
        record = await self._orchestration(instance_id)
        if record is None:
            return DurableOrchestrationStatus(instance_id)
        history = None
        if show_history:
            history = project(await self._queries.history(instance_id), show_input=show_input, show_output=show_history_output)
        return _status(record, show_input=show_input, history=history)

    async def get_status_all(self) -> list[DurableOrchestrationStatus]:
        """All instances, ordered by id, with their outputs."""
        return await self.get_status_by()

    async def get_status_by(
        self,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Sequence[OrchestrationRuntimeStatus] | None = None,
        instance_id_prefix: str | None = None,
        *,
        names: Sequence[str] = (),
    ) -> list[DurableOrchestrationStatus]:
        """The instances that match all filters, ordered by id, with their outputs."""
        found: list[DurableOrchestrationStatus] = []
        token: str | None = None
        while True:
            page = await self.list_page(
                created_time_from,
                created_time_to,
                runtime_status,
                instance_id_prefix,
                names=names,
                page_size=_PAGE,
                continuation_token=token,
            )
            found += page.instances
            token = page.continuation_token
            if token is None:
                return found

    async def list_page(
        self,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Sequence[OrchestrationRuntimeStatus] | None = None,
        instance_id_prefix: str | None = None,
        *,
        names: Sequence[str] = (),
        page_size: int = 100,
        continuation_token: str | None = None,
        show_input: bool = False,
    ) -> InstancePage:
        """One page of what ``get_status_by`` gives; an instance that exists throughout the paging is on exactly one page.

        Args:
            created_time_from: not created before then.
            created_time_to: not created after then.
            runtime_status: any of these.
            instance_id_prefix: how the ids begin.
            names: any of these orchestrators, in the case in which they were registered.
            page_size: at most so many.
            continuation_token: of the page before.
            show_input: also give the inputs.
        """
        query = InstanceQuery(
            statuses=[str(status) for status in runtime_status or ()],
            names=names,
            created_from=to_us(created_time_from) if created_time_from else None,
            created_to=to_us(created_time_to) if created_time_to else None,
            id_prefix=instance_id_prefix or "",
            limit=page_size + 1,  # one more tells whether there is another page
            after=continuation_token or "",
            entities=False,
            with_payloads=True,
        )
        records = await self._queries.list(query)
        shown = records[:page_size]
        return InstancePage(
            [_status(record, show_input=show_input, history=None) for record in shown],
            shown[-1].row.instance_id if len(records) > page_size else None,
        )

    async def count(self) -> dict[OrchestrationRuntimeStatus, int]:
        """The number of instances per status; statuses that no instance has are left out."""
        return {OrchestrationRuntimeStatus(status): number for status, number in (await self._queries.count()).items()}

    async def wait_for_completion(
        self,
        instance_id: str,
        timeout: float | timedelta | None = None,
        *,
        show_input: bool = False,
    ) -> DurableOrchestrationStatus:
        """Returns the instance's status once it has ended. Does not poll.

        Args:
            instance_id: whom to wait for.
            timeout: seconds or a timedelta; ``None`` waits for ever.
            show_input: also give the input.

        Raises:
            InstanceNotFoundError: there is no such instance.
            TimeoutError: it has not ended in time; it goes on nevertheless.
            EngineStoppedError: the hub was closed.
        """
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        try:
            record = await until_ended(self._engine, self._queries, instance_id, seconds)
        except TimeoutError:
            raise TimeoutError(f"instance '{instance_id}' has not ended after {seconds} s; it goes on") from None
        if show_input:
            return await self.get_status(instance_id, show_input=True)
        return _status(record, show_input=False, history=None)

    async def raise_event(self, instance_id: str, event_name: str, event_data: Any = None) -> None:
        """Sends an external event. An instance that isn't waiting for it yet keeps it.

        Raises:
            InstanceNotFoundError, InstanceFinishedError: nobody could ever get it.
            SerializationError, PayloadTooLargeError: the data can't be stored.
            CommitFailedError: the store failed; the outcome is unknown.
        """
        await self._send(
            instance_id, EventRaised(event_name, self._engine.converter.encode(event_data, "payload of event", event_name))
        )

    async def terminate(self, instance_id: str, reason: str | None = None, *, recursive: bool = False) -> None:
        """Ends the instance at once; its running activities are cancelled. One that has ended stays as it is.

        Args:
            instance_id: whom to end.
            reason: becomes the instance's output.
            recursive: its running sub-orchestrations too.

        Raises:
            InstanceNotFoundError: there is no such instance.
            CommitFailedError: the store failed; the outcome is unknown.
        """
        with suppress(InstanceFinishedError):
            await self._send(instance_id, ExecutionTerminated(reason, recursive))

    async def suspend(self, instance_id: str, reason: str | None = None) -> None:
        """Pauses the instance: what arrives is kept until ``resume``. Running activities go on.

        Raises:
            InstanceNotFoundError, InstanceFinishedError: it can't be paused.
            CommitFailedError: the store failed; the outcome is unknown.
        """
        await self._send(instance_id, ExecutionSuspended(reason))

    async def resume(self, instance_id: str, reason: str | None = None) -> None:
        """Lets a suspended instance go on.

        Raises:
            InstanceNotFoundError, InstanceFinishedError: it can't go on.
            CommitFailedError: the store failed; the outcome is unknown.
        """
        await self._send(instance_id, ExecutionResumed(reason))

    async def rewind(self, instance_id: str, reason: str | None = None) -> None:
        """Lets a failed instance try again from just before it failed: what failed is done again, all else stays as it was.

        Failed sub-orchestrations that it waits for are rewound too. An orchestrator that handled a failure and failed later
        for another reason keeps what it did with the first.

        Raises:
            InstanceNotFoundError: there is no such instance.
            InstanceFinishedError: it has completed, or was terminated.
            InstanceRunningError: it has not ended.
            CommitFailedError: the store failed; the outcome is unknown.
        """
        await self._send(instance_id, ExecutionRewound(reason))

    async def restart(self, instance_id: str, restart_with_new_instance_id: bool = True) -> str:
        """Starts the same orchestrator with the same input again. Version and tags aren't taken over, as in Durable Functions.

        Args:
            instance_id: what to repeat.
            restart_with_new_instance_id: whether under a new id; else the ended instance is replaced.

        Returns:
            The id of the new instance.

        Raises:
            InstanceNotFoundError: there is no such instance.
            InstanceAlreadyExistsError: it has not ended, and was to be replaced.
            OrchestratorNotRegisteredError: the app has no orchestrator of its name any more.
            CommitFailedError: the store failed; the outcome is unknown.
        """
        record = await self._orchestration(instance_id)
        if record is None or (started := _execution_started(record)) is None:
            raise InstanceNotFoundError(f"there is no instance '{instance_id}' that could be started again")
        text = started.input
        return await self.start_new(
            started.name,
            None if restart_with_new_instance_id else instance_id,
            None if text is None else msgspec.Raw(text.encode()),
        )

    async def purge_instance_history(self, instance_id: str) -> PurgeHistoryResult:
        """Deletes an instance that has ended, with everything stored of it.

        Raises:
            InstanceRunningError: it has not ended.
            CommitFailedError: the store failed; the outcome is unknown.
        """
        if is_entity(instance_id):
            return PurgeHistoryResult(0)  # it has no history; its operation ``delete`` is what ends it
        try:
            await self._engine.purge(instance_id)
        except InstanceNotFoundError:
            return PurgeHistoryResult(0)
        return PurgeHistoryResult(1)

    async def purge_instance_history_by(
        self,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Sequence[OrchestrationRuntimeStatus] | None = None,
    ) -> PurgeHistoryResult:
        """Deletes the ended instances that match. Statuses other than terminal ones are ignored, as in Durable Functions."""
        statuses = TERMINAL_STATUSES if runtime_status is None else TERMINAL_STATUSES & set(runtime_status)
        if not statuses:
            return PurgeHistoryResult(0)
        matching = await self.get_status_by(created_time_from, created_time_to, sorted(statuses))
        deleted = 0
        for start in range(0, len(matching), _PAGE):
            page = matching[start : start + _PAGE]
            results = await asyncio.gather(*(self._purge_if_ended(status.instance_id) for status in page))
            deleted += sum(results)
        return PurgeHistoryResult(deleted)

    # --- entities -------------------------------------------------------------------------------------------------

    async def signal_entity(
        self,
        entityId: EntityId | str,  # noqa: N803 - as in azure-functions-durable
        operation_name: str,
        operation_input: Any = None,
        *,
        signal_time: datetime | timedelta | None = None,
    ) -> None:
        """Sends an operation to an entity. Returns once it can't get lost, and usually before its outcome is known.

        Args:
            entityId: whom to tell.
            operation_name: what it shall do.
            operation_input: with what; anything that serializes to JSON.
            signal_time: not before then: a moment (naive means UTC), or how long from now.

        Raises:
            EntityNotRegisteredError: the app has no entity of that name.
            InvalidEntityIdError: ``entityId`` isn't one.
            SerializationError, PayloadTooLargeError: the input can't be stored.
            CommitFailedError: the store failed; the outcome is unknown.
        """
        due = None if signal_time is None else moment_us(signal_time, self._clock.now_us())
        await entities.signal(self._engine, self._functions, entity_id(entityId), operation_name, operation_input, due)

    async def read_entity_state(
        self,
        entityId: EntityId | str,  # noqa: N803 - as in azure-functions-durable
        expected_type: Any = None,
    ) -> EntityStateResponse:
        """The entity's state, as the operations that are durable have left it.

        Raises:
            InvalidEntityIdError: ``entityId`` isn't one.
            DeserializationError: the state doesn't fit ``expected_type``.
        """
        return await entities.read_state(self._queries, self._engine.converter, entity_id(entityId), expected_type)

    async def list_entities(
        self,
        name: str | None = None,
        *,
        last_operation_from: datetime | None = None,
        last_operation_to: datetime | None = None,
        fetch_state: bool = False,
        page_size: int = 100,
        continuation_token: str | None = None,
    ) -> EntityPage:
        """One page of the entities that exist, ordered by id. A page may be shorter than asked for, and yet not be the last.

        Args:
            name: those of this name only.
            last_operation_from: not changed before then.
            last_operation_to: not changed after then.
            fetch_state: also give their states.
            page_size: at most so many.
            continuation_token: of the page before.
        """
        return await entities.list_page(
            self._queries,
            self._engine.converter,
            name=name,
            last_operation_from=last_operation_from,
            last_operation_to=last_operation_to,
            fetch_state=fetch_state,
            page_size=page_size,
            continuation_token=continuation_token,
        )

    async def clean_entity_storage(
        self, remove_empty_entities: bool = True, release_orphaned_locks: bool = True
    ) -> CleanEntityStorageResult:
        """Releases entities that are locked by orchestrations that don't exist any more.

        Args:
            remove_empty_entities: without effect: an entity without state leaves nothing behind that could be removed.
            release_orphaned_locks: whether to release locks. Perdure does so by itself whenever an orchestration ends; this
                is for what was left by a restored backup, for example.

        Raises:
            CommitFailedError: the store failed; the outcome is unknown.
        """
        if not release_orphaned_locks:
            return CleanEntityStorageResult(0, 0)
        return await entities.release_orphaned_locks(self._engine, self._queries)

    async def _purge_if_ended(self, instance_id: str) -> int:
        try:
            return (await self.purge_instance_history(instance_id)).instances_deleted
        except InstanceRunningError:
            return 0  # its id was used again meanwhile

    async def _orchestration(self, instance_id: str) -> InstanceRecord | None:
        return None if is_entity(instance_id) else await self._queries.get(instance_id, with_payloads=True)

    async def _send(self, instance_id: str, event: IncomingEvent) -> None:
        if is_entity(instance_id):
            raise InstanceNotFoundError(f"'{instance_id}' is an entity, not an orchestration; it takes signals only")
        await self._engine.send(Message(instance_id, event))


def _status(record: InstanceRecord, *, show_input: bool, history: list[dict[str, Any]] | None) -> DurableOrchestrationStatus:
    row = record.row
    output = failure = input_ = None
    if record.last is not None:
        last = decode_segment(record.last.events)[-1]
        if isinstance(last, ExecutionCompleted):
            failure = last.failure
            output = _json(last.result) if failure is None else f"{failure.type}: {failure.message}"
    if show_input and (started := _execution_started(record)) is not None:
        input_ = _json(started.input)
    return DurableOrchestrationStatus(
        instance_id=row.instance_id,
        name=row.name,
        runtime_status=OrchestrationRuntimeStatus(row.status),
        created_time=from_us(row.created_at),
        last_updated_time=from_us(record.updated_at),
        input_=input_,
        output=output,
        custom_status=_json(row.custom_status),
        history=history,
        version=row.version,
        tags=dict(row.tags),
        failure=failure,
    )


def _execution_started(record: InstanceRecord) -> ExecutionStarted | None:
    if record.first is None:
        return None
    return next((event for event in decode_segment(record.first.events) if isinstance(event, ExecutionStarted)), None)


def _json(text: str | None) -> Any:
    return readable(text) if text is not None else None
