"""Everything that connected workers do for a hub: what is due is offered to them, and their answers are passed on.

Workers keep nothing that matters. What is durable says which work is open; a work item is only a way of getting it done, and a
token only good for one answer, by a worker that has the item when nobody has answered for it.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from perdure.core.answer_checks import InvalidAnswerError
from perdure.core.answers import EntityAnswer, OrchestratorAnswer
from perdure.core.effects import Asked, DispatchActivity, OfferWork, WithdrawWork
from perdure.core.entity_id import is_entity
from perdure.core.failures import FailureDetails
from perdure.core.hydrated import Hydrated
from perdure.engine.activities import ActivityOutcome
from perdure.engine.clock import Clock
from perdure.engine.envelopes import WorkerAnswer
from perdure.engine.errors import EngineStoppedError
from perdure.engine.recovery import activity_key
from perdure.engine.remote.giving import Giving
from perdure.engine.remote.items import Item, Phase
from perdure.engine.remote.unwanted import Report
from perdure.engine.remote.work import Kind, WorkerLimits, WorkFilter
from perdure.engine.remote.worker import Worker
from perdure.engine.settings import RemoteSettings


class RemoteWork:
    """The work items of one engine, and the workers that are connected to it. Belongs to the engine's event loop."""

    def __init__(
        self,
        settings: RemoteSettings,
        clock: Clock,
        *,
        instance: Callable[[str], Hydrated | None],
        wake: Callable[[Iterable[str]], None],
        decide: Callable[[str, WorkerAnswer], Awaitable[None]],
        report: Callable[[ActivityOutcome], None],
        unwanted: Report,
    ) -> None:
        """``instance`` gives a hot one; ``wake`` has instances say again what they want; ``unwanted`` hears what nobody takes.

        The others pass answers on.
        """
        self._giving = Giving(settings, clock, instance=instance, wake=wake, unwanted=unwanted)
        self._wake = wake
        self._decide = decide
        self._report = report
        self._calls: dict[str, dict[object, Item]] = {}
        """The activities of an instance, by key."""

    # --- for workers ----------------------------------------------------------------------------------------------

    @property
    def workers(self) -> int:
        """How many are connected."""
        return len(self._giving.workers)

    @property
    def waiting(self) -> int:
        """Items that no worker has."""
        return len(self._giving.items) - self.out

    @property
    def out(self) -> int:
        """Items that workers have."""
        return sum(bool(item.grants) or item.phase is Phase.ANSWERED for item in self._giving.items.values())

    def connect(self, limits: WorkerLimits, filter_: WorkFilter | None = None) -> Worker:
        """A worker that gets work from now on; everything, unless ``filter_`` says less.

        Raises:
            EngineStoppedError: the hub is closing.
        """
        if not self._giving.open:
            raise EngineStoppedError("the hub is closing; connect again when it is back.")
        return self._giving.connect(limits, filter_)

    async def answer_orchestrator(self, token: str, answer: OrchestratorAnswer) -> None:
        """Returns once the decision is taken. If it doesn't become durable, another one is asked for.

        Raises:
            StaleAnswerError: it was answered before, by this worker or another one, or is obsolete.
            InvalidAnswerError: the answer can't be applied. The item is offered again after a while.
            EngineStoppedError: the hub is closed; the item is offered again when it is back.
        """
        await self._answer_instance(token, Kind.ORCHESTRATOR, answer)

    async def answer_entity(self, token: str, answer: EntityAnswer) -> None:
        """Returns once what the operations did is taken. Raises as ``answer_orchestrator``."""
        await self._answer_instance(token, Kind.ENTITY, answer)

    def answer_activity(self, token: str, result: str | None = None, failure: FailureDetails | None = None) -> None:
        """Takes the outcome. If it is lost with the process before it is durable, the activity is done again.

        Raises:
            StaleAnswerError: it was answered before, by this worker or another one, or nobody waits for it.
            EngineStoppedError: the hub is closed; the activity is done again when it is back.
        """
        item = self._giving.answered(self._giving.grant(token, Kind.ACTIVITY))
        assert isinstance(item.asked, DispatchActivity)
        self._forget(item)
        self._report(ActivityOutcome(item.asked, result, failure))

    def parts(self, token: str) -> list[Any]:
        """What a protocol has kept of a decision that comes in several parts; goes with the item.

        Raises:
            StaleAnswerError: as ``answer_orchestrator``.
        """
        return self._giving.grant(token, Kind.ORCHESTRATOR).parts

    def abandon(self, token: str) -> None:
        """The worker gives an item back, undone. Others get it first; each return makes it rest for longer.

        Raises:
            StaleAnswerError: as ``answer_orchestrator``.
        """
        self._giving.give_back(self._giving.grant(token))

    async def _answer_instance(self, token: str, kind: Kind, answer: OrchestratorAnswer | EntityAnswer) -> None:
        grant = self._giving.grant(token, kind)
        item = self._giving.answered(grant)
        asked = item.asked
        assert isinstance(asked, OfferWork)
        try:
            await self._decide(asked.instance_id, WorkerAnswer(asked.ticket, grant.at, grant.offered, answer))
        except InvalidAnswerError:
            self._giving.refused(item, grant.worker)
            raise
        except BaseException:  # also where the worker waits no longer, whatever becomes of its answer
            if item.phase in (Phase.ANSWERED, Phase.HELD):
                self._forget(item)
            if self._giving.open:
                self._wake((asked.instance_id,))  # it knows best what it wants
            raise
        self._forget(item)

    # --- for the engine -------------------------------------------------------------------------------------------

    def ask(self, asked: Asked) -> None:
        """An instance wants a decision, or doesn't (any more)."""
        if isinstance(asked, WithdrawWork):
            self._withdraw(asked.instance_id)
        elif self._giving.open:
            self._offer(asked)

    def _offer(self, asked: OfferWork) -> None:
        item = self._giving.items.get(asked.instance_id)
        if item is not None and isinstance(item.asked, OfferWork) and item.asked.ticket == asked.ticket:
            item.asked = asked  # there may be more events now
            self._giving.still_wanted(item)
            return
        if item is not None:
            self._forget(item)
        kind = Kind.ENTITY if is_entity(asked.instance_id) else Kind.ORCHESTRATOR
        self._giving.add(Item(kind, asked.instance_id, asked))

    def _withdraw(self, instance_id: str) -> None:
        item = self._giving.items.get(instance_id)
        if item is not None:
            self._giving.hold(item)

    def dispatch(self, call: DispatchActivity) -> None:
        """An activity is to run; once, however often it is dispatched before its outcome is there."""
        key = activity_key(call)
        if self._giving.open and key not in self._giving.items:
            item = Item(Kind.ACTIVITY, key, call)
            self._calls.setdefault(call.instance_id, {})[key] = item
            self._giving.add(item)

    def cancel_activities(self, instance_id: str) -> None:
        """Nobody wants the outcomes of the instance's activities any more."""
        for item in list(self._calls.get(instance_id, {}).values()):
            self._forget(item)

    def ended(self, instance_id: str, execution_id: str) -> None:
        """Nobody wants a decision of this execution any more. A new instance of the same id may be asking for one already."""
        item = self._giving.items.get(instance_id)
        if item is not None and isinstance(item.asked, OfferWork) and item.asked.ticket[0] == execution_id:
            self._forget(item)

    def forget(self, lost: Callable[[str], bool]) -> None:
        """The instances that are ``lost`` are another engine's now; so is their work."""
        for item in list(self._giving.items.values()):
            if lost(item.asked.instance_id):
                self._forget(item)

    def reset(self) -> None:
        """What was asked may not have become durable: the store says what is open. Activities were; those that run go on."""
        for item in list(self._giving.items.values()):
            if item.kind is not Kind.ACTIVITY or not item.grants:
                self._forget(item)

    def _forget(self, item: Item) -> None:
        self._giving.forget(item)
        calls = self._calls.get(item.asked.instance_id)
        if calls is not None and calls.get(item.key) is item:
            del calls[item.key]
            if not calls:
                del self._calls[item.asked.instance_id]

    async def close(self, grace: float) -> None:
        """Gives nothing more to workers, waits for what they have, for ``grace`` seconds at most, and lets them go."""
        self._giving.open = False
        await self._giving.idle(grace)
        self._giving.stop()

    def stop(self) -> None:
        """Lets all workers go at once."""
        self._giving.stop()

    def hurry(self) -> None:
        """Ends the wait of ``close``."""
        self._giving.hurry()
