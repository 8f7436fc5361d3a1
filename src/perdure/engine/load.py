"""How much there is to do in a hub, and how many processes that needs."""

import msgspec

from perdure.store.contract import Backlog


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a hub, as all of its processes see it."""

    messages: int
    """Stored and not handled."""
    activities: int
    """Waiting for somebody to run them."""
    oldest_age_us: int
    """Since when the oldest of both waits; 0 where nothing does."""
    running: int
    """Activities that processes have taken."""
    capacity: int
    """How many they can run at once."""
    processes: int
    """Those that run activities."""
    most_processes: int
    """More would find nothing to own."""

    @classmethod
    def of(cls, backlog: Backlog, now: int, most_processes: int) -> "Load":
        """What a store's backlog means at the moment ``now``."""
        oldest = min((moment for moment in (backlog.oldest_message, backlog.oldest_activity) if moment is not None), default=now)
        runners = [member for member in backlog.members if member.runs_activities]
        return cls(
            messages=backlog.messages,
            activities=backlog.activities,
            oldest_age_us=max(now - oldest, 0),
            running=sum(member.running for member in runners),
            capacity=sum(member.capacity for member in runners),
            processes=len(runners),
            most_processes=most_processes,
        )

    @property
    def recommended_processes(self) -> int:
        """So many that all that waits and runs finds a place at once, each having as many places as those that are there.

        At least 1, since instances wait for timers and events, too; at most ``most_processes``. Where nobody runs activities, it
        isn't known how many places one would have: then 1, and more once it is there.
        """
        work = self.messages + self.activities + self.running
        # In whole numbers: as floating-point numbers, large ones could be rounded over the edge.
        needed = -(-work * self.processes // self.capacity) if self.capacity else 1
        return max(1, min(needed, self.most_processes))
