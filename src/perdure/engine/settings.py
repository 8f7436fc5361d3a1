"""Bounds of one engine. Everything that could grow has one here."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

Role = Literal["all", "worker", "owner", "http"]
"""What one engine of a shared hub does: everything; only activities that others offer; only orchestrations and entities, while
all activities go to workers; or only what clients ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSettings:
    """Bounds of work for code in other processes."""

    max_orchestrators_per_worker: int = 200
    """Decisions that a worker may have at a time, where it doesn't say itself."""
    max_activities_per_worker: int = 200
    """Activities, likewise."""
    max_entities_per_worker: int = 200
    """Entities, likewise."""
    decision_lease: timedelta = timedelta(minutes=2)
    """How long an orchestrator or entity may take for one answer before others get the item too. Doubles with each of them."""
    activity_lease: timedelta = timedelta(hours=24)
    """The same for an activity."""
    max_rest: timedelta = timedelta(seconds=30)
    """Longest pause before an item that a worker has given back is offered again."""
    unwanted_after: timedelta = timedelta(seconds=30)
    """Work that no connected worker has taken for so long is reported, within twice that time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """All bounds have defaults that suit one process on an ordinary machine."""

    max_concurrent_activities: int = 1000
    """Activities running at the same time, of all kinds."""
    max_activity_threads: int = 32
    """Of those, ``def`` activities."""
    max_activity_processes: int = 2
    """Of those, activities with ``pool="process"``."""
    max_batch_turns: int = 1000
    """Turns that go into one commit before it has to be written."""
    max_queued_messages: int = 20_000
    """Client calls wait while more messages and activities than this are queued."""
    max_sessions: int = 10_000
    """Instances kept in memory; 0 dehydrates every instance after every turn."""
    max_session_bytes: int = 256 * 1024 * 1024
    """The same bound in (roughly estimated) bytes."""
    session_idle_timeout: timedelta = timedelta(seconds=30)
    """An instance that had no turn for this long is dehydrated."""
    max_payload_bytes: int = 8 * 1024 * 1024
    """Largest input, result, event payload or custom status, as JSON."""
    drain_grace: timedelta = timedelta(seconds=10)
    """How long running activities may go on after ``close``."""
    kill_grace: timedelta = timedelta(seconds=5)
    """How long a cancelled process activity may take before it is killed."""
    blocked_after: timedelta = timedelta(seconds=1)
    """An orchestrator that keeps a turn for longer is reported with its stack."""
    role: Role = "all"
    """Anything but ``all`` needs a store that engines can share."""
    lease_duration: timedelta = timedelta(seconds=10)
    """How long an engine of a shared hub may be silent before others take over what it owns and runs."""
    remote: RemoteSettings | None = None
    """Leaves functions that aren't registered to workers that connect. Without it, nobody has them."""
    passive: bool = False
    """Only record what clients send. Code, activities, timers and stored messages are left to a later engine."""
    max_retry_delay: timedelta = timedelta(seconds=5)
    """Longest pause between attempts to recover from a store that is unavailable."""

    @property
    def seeks_partitions(self) -> bool:
        """Whether the engine owns partitions."""
        return self.role in ("all", "owner") and not self.passive

    @property
    def runs_activities(self) -> bool:
        """Whether the engine runs activities."""
        return self.role in ("all", "worker") and not self.passive
