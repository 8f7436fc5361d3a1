"""How an orchestration talks to entities, and what it may not do while it has some of them to itself."""

from datetime import datetime, timedelta
from typing import Any

from perdure.core.critical_section import CriticalSection, CriticalSectionError, LockTask
from perdure.core.entity_id import EntityId
from perdure.core.events import (
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationSignaled,
    ExecutionStarted,
)
from perdure.core.functions import Functions
from perdure.core.ids import child_execution_id
from perdure.core.recorder import Recorder
from perdure.core.tasks import LeafTask, Task
from perdure.core.times import duration_us, to_us


class EntityCalls:
    """The entity side of one generation's context."""

    __slots__ = ("_functions", "_recorder", "_started", "section")

    def __init__(self, recorder: Recorder, started: ExecutionStarted, functions: Functions) -> None:
        self._recorder = recorder
        self._started = started
        self._functions = functions
        self.section: CriticalSection | None = None
        """The one that was asked for last."""

    def call(self, entity: EntityId, operation: str, input_: str | None, expected_type: object) -> Task[Any]:
        """See ``DurableOrchestrationContext.call_entity``; ``input_`` is JSON text."""
        target = str(entity)
        section = self._active_section()
        if section is not None:
            self._check_call(section, target)
        if expected_type is None:
            function = self._functions.entities.get(entity.name)
            expected_type = function.result_type(operation) if function is not None else None
        recorder = self._recorder
        task_id = recorder.next_task_id
        recorder.add(EntityOperationCalled(target, operation, task_id, input_))
        recorder.next_task_id = task_id + 1
        task: LeafTask[Any] = LeafTask(task_id, f"{target}.{operation}", expected_type)
        recorder.tasks[task_id] = task
        if section is not None:
            section.calls[target] = task
        return task

    def signal(self, entity: EntityId, operation: str, input_: str | None, signal_time: datetime | timedelta | None) -> None:
        """See ``DurableOrchestrationContext.signal_entity``; ``input_`` is JSON text."""
        target = str(entity)
        section = self._active_section()
        if section is not None and target in section.entities:
            raise CriticalSectionError(
                f"'{target}' can't be signaled from within a critical section that has it locked: the signal would only be "
                "taken up behind the lock. Use call_entity, or signal it after the block."
            )
        recorder = self._recorder
        task_id = recorder.next_task_id
        due = None if signal_time is None else moment_us(signal_time, recorder.now_us)
        recorder.add(EntityOperationSignaled(target, operation, task_id, input_, due))
        recorder.next_task_id = task_id + 1

    def lock(self, entities: tuple[EntityId, ...]) -> LockTask:
        """See ``DurableOrchestrationContext.lock_entities``."""
        if not entities:
            raise CriticalSectionError("lock_entities was called without any entity. Pass the ids of those to lock.")
        section = self._active_section()
        if section is not None:
            raise CriticalSectionError(
                "critical sections can't be nested: this orchestration has locked (or asked to lock) "
                f"{', '.join(section.entities)}. Lock all that you need at once, or leave the first block before."
            )
        recorder, started = self._recorder, self._started
        lock_set = tuple(sorted({str(entity) for entity in entities}))
        task_id = recorder.next_task_id
        section_id = child_execution_id(started.execution_id, started.generation, task_id)
        recorder.add(EntityLockRequested(task_id, section_id, lock_set))
        recorder.next_task_id = task_id + 1
        self.section = CriticalSection(recorder, section_id, lock_set)
        task = LockTask(task_id, self.section)
        recorder.tasks[task_id] = task
        return task

    def check_sub_orchestration(self) -> None:
        """Refuses sub-orchestrations while locks are held: one that wants the same entities would wait for ever.

        Raises:
            CriticalSectionError: there is a critical section.
        """
        section = self._active_section()
        if section is not None:
            raise CriticalSectionError(
                f"no sub-orchestration can be called while {', '.join(section.entities)} are locked: if it wanted one of "
                "them, both would wait for ever. Call it before or after the critical section."
            )

    def _active_section(self) -> CriticalSection | None:
        section = self.section
        return None if section is None or section.released else section

    def _check_call(self, section: CriticalSection, target: str) -> None:
        if not section.granted:
            raise CriticalSectionError(
                f"'{target}' can't be called before the lock is granted: await (or yield) lock_entities first, then call."
            )
        if target not in section.entities:
            raise CriticalSectionError(
                f"'{target}' can't be called from within this critical section, which has only {', '.join(section.entities)} "
                "locked. Name it in lock_entities too, or call it outside of the block."
            )
        before = section.calls.get(target)
        if before is not None and not before.is_completed:
            raise CriticalSectionError(
                f"'{target}' can't be called while an earlier call of it from this critical section is still open. "
                "Await (or yield) that one first."
            )


def moment_us(moment: datetime | timedelta, now_us: int) -> int:
    """A moment (naive means UTC), or how long from now, as microseconds."""
    return now_us + duration_us(moment) if isinstance(moment, timedelta) else to_us(moment)
