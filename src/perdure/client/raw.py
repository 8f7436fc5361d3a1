"""The client for callers whose payloads are texts already and whose functions may be in other processes.

It neither reads nor writes payloads: what it takes is stored as it is, ``None`` and the empty text apart. Names of
orchestrators and entities needn't be registered here.
"""

import os
from collections.abc import Collection

from perdure.client import entities
from perdure.client.models import CleanEntityStorageResult
from perdure.client.waiting import until_begun, until_ended
from perdure.core import features
from perdure.core.entity_id import EntityId, is_entity
from perdure.core.events import (
    EntityOperationSignaled,
    EventRaised,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    IncomingEvent,
    TraceContext,
)
from perdure.core.functions import Functions
from perdure.core.ids import check_instance_id, check_name
from perdure.core.messages import Message, ReusePolicy
from perdure.engine.engine import Engine
from perdure.engine.errors import InstanceNotFoundError
from perdure.store.contract import InstanceRecord, Queries


class RawClient:
    """Starts and steers instances by text. Every call that changes something returns once the change is durable.

    Times are microseconds since the Unix epoch. All methods raise ``CommitFailedError`` where the store fails, and
    ``PayloadTooLargeError`` for a text over the limit of the hub.
    """

    def __init__(self, engine: Engine, queries: Queries, functions: Functions, *, default_version: str | None = None) -> None:
        self._engine = engine
        self.queries = queries
        self._functions = functions
        self._default_version = default_version

    async def start(
        self,
        name: str,
        instance_id: str | None = None,
        *,
        input_: str | None = None,
        version: str | None = None,
        start_at: int | None = None,
        tags: dict[str, str] | None = None,
        reuse_policy: ReusePolicy = ReusePolicy.RAISE,
        replaceable: Collection[str] | None = None,
        execution_id: str | None = None,
        trace: TraceContext | None = None,
    ) -> str:
        """Starts an orchestration, whether or not its code is here. Returns its instance id.

        Args:
            name: the orchestrator's.
            instance_id: by default a new one.
            input_: its input.
            version: by default the hub's.
            start_at: not before then.
            tags: kept with the instance and its sub-orchestrations.
            reuse_policy: what to do when ``instance_id`` is taken.
            replaceable: the statuses of an instance that may be replaced; goes before ``reuse_policy``.
            execution_id: how the caller wants its first execution to be called.
            trace: the caller's place in a distributed trace.

        Raises:
            InvalidInstanceIdError: the id breaks the rules.
            InvalidNameError: name or version has a NUL character.
            InstanceAlreadyExistsError: it is taken by what mustn't be replaced.
        """
        fresh = instance_id is None
        random = os.urandom(32).hex()
        if instance_id is None:
            instance_id = random[:32]
        else:
            check_instance_id(instance_id)
        check_name(name, version)
        registered = self._functions.orchestrators.get(name.casefold())
        event = ExecutionStarted(
            name=name if registered is None else registered.name,
            execution_id=named_execution(execution_id, random[32:]),
            input=self._checked(input_, "input of orchestrator", name),
            version=self._default_version if version is None else version,
            tags=tags or {},
            start_at=start_at,
            features=features.CURRENT,
            trace=trace,
        )
        message = Message(
            instance_id, event, reuse=reuse_policy, replaceable=None if replaceable is None else tuple(sorted(replaceable))
        )
        await self._engine.send(message, fresh=fresh)
        return instance_id

    async def get(self, instance_id: str, *, with_payloads: bool = False) -> InstanceRecord | None:
        """The orchestration, if there is one of that id."""
        return None if is_entity(instance_id) else await self.queries.get(instance_id, with_payloads=with_payloads)

    async def until_begun(self, instance_id: str, seconds: float | None) -> InstanceRecord:
        """See ``waiting.until_begun``."""
        return await until_begun(self._engine, self.queries, instance_id, seconds)

    async def until_ended(self, instance_id: str, seconds: float | None) -> InstanceRecord:
        """See ``waiting.until_ended``."""
        return await until_ended(self._engine, self.queries, instance_id, seconds)

    async def raise_event(self, instance_id: str, name: str, input_: str | None) -> None:
        """Sends an external event.

        Raises:
            InstanceNotFoundError, InstanceFinishedError: nobody could ever get it.
        """
        await self._send(instance_id, EventRaised(name, self._checked(input_, "payload of event", name)))

    async def terminate(self, instance_id: str, output: str | None, *, recursive: bool) -> None:
        """Ends the instance at once, with ``output``; if ``recursive``, its running sub-orchestrations too.

        Raises:
            InstanceNotFoundError, InstanceFinishedError: there is nothing to end.
        """
        checked = self._checked(output, "output of instance", instance_id)
        await self._send(instance_id, ExecutionTerminated(recursive=recursive, output=checked))

    async def suspend(self, instance_id: str, reason: str | None) -> None:
        """Pauses the instance. One that is paused already stays so.

        Raises:
            InstanceNotFoundError, InstanceFinishedError: it can't be paused.
        """
        await self._send(instance_id, ExecutionSuspended(self._checked(reason, "reason of suspending", instance_id)))

    async def resume(self, instance_id: str, reason: str | None) -> None:
        """Lets a suspended instance go on.

        Raises:
            InstanceNotFoundError, InstanceFinishedError: it can't go on.
        """
        await self._send(instance_id, ExecutionResumed(self._checked(reason, "reason of resuming", instance_id)))

    async def rewind(self, instance_id: str, reason: str | None) -> None:
        """See ``DurableClient.rewind``, also for its errors."""
        await self._send(instance_id, ExecutionRewound(self._checked(reason, "reason of rewinding", instance_id)))

    async def purge(self, instance_id: str) -> None:
        """Deletes an instance that has ended.

        Raises:
            InstanceNotFoundError, InstanceRunningError: as its state says.
        """
        self._refuse_entity(instance_id)
        await self._engine.purge(instance_id)

    async def signal(self, entity: EntityId, operation: str, input_: str | None, scheduled_time: int | None) -> None:
        """Sends an operation to an entity, whether or not its code is here. Returns once it can't get lost."""
        target = str(entity)
        text = self._checked(input_, "input of entity operation", f"{target}.{operation}")
        await self._engine.send(
            Message(target, EntityOperationSignaled(target, operation, input=text, scheduled_time=scheduled_time))
        )

    async def release_orphaned_locks(self) -> CleanEntityStorageResult:
        """See ``DurableClient.clean_entity_storage``."""
        return await entities.release_orphaned_locks(self._engine, self.queries)

    async def _send(self, instance_id: str, event: IncomingEvent) -> None:
        self._refuse_entity(instance_id)
        await self._engine.send(Message(instance_id, event))

    def _checked(self, text: str | None, what: str, name: str) -> str | None:
        self._engine.converter.check_size(text, what, name)
        return text

    @staticmethod
    def _refuse_entity(instance_id: str) -> None:
        if is_entity(instance_id):
            raise InstanceNotFoundError(f"'{instance_id}' is an entity, not an orchestration; it takes signals only")


def named_execution(asked: str | None, random: str) -> str:
    """An execution id that is unique in the hub, whatever the caller asks for; ``shown_execution`` gives that back."""
    return random if not asked else f"{asked}~{random[:16]}"


def shown_execution(execution_id: str) -> str:
    """What callers see of the id of a first execution."""
    return execution_id.partition("~")[0]
