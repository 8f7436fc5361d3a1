"""A pool, and the activities that wait for it."""

from collections import deque
from typing import Protocol

from perdure.engine.activities.job import Job, Phase


class ActivityPool(Protocol):
    """A place where activities run. It starts every submitted job at once; the executor bounds how many. Loop thread only.

    A job comes back through the executor's queue of finished jobs, when it has finished or when it was stopped and its slot may
    be used again. Only its first return counts.
    """

    @property
    def capacity(self) -> int:
        """How many jobs it may be given at a time."""
        ...

    def submit(self, job: Job) -> None:
        """Starts a job."""
        ...

    def stop(self, job: Job) -> None:
        """Makes a submitted job come back soon, by whatever force the pool has. A second time changes nothing."""
        ...

    def release(self, job: Job) -> None:
        """Says that the executor has taken a job back."""
        ...

    async def close(self, patience: float) -> list[str]:
        """Ends everything idle; gives the names of what still hangs in user code, after ``patience`` seconds at most."""
        ...


class Lane:
    """A pool with its backlog."""

    __slots__ = ("backlog", "cancelled", "pool", "running")

    def __init__(self, pool: ActivityPool) -> None:
        self.pool = pool
        self.backlog: deque[Job] = deque()
        """In order of dispatch."""
        self.cancelled = 0
        """How many in the backlog are over. They leave it when their turn comes, or when they are the most of it."""
        self.running = 0

    def start(self, job: Job) -> None:
        """Gives the job a slot."""
        job.phase = Phase.RUNNING
        self.running += 1
        self.pool.submit(job)

    def release(self, job: Job) -> None:
        """Frees the slot of a job that has come back."""
        job.phase = Phase.ENDED
        self.running -= 1
        self.pool.release(job)

    def next(self) -> Job | None:
        """Takes the first of the backlog; ``None`` if it was cancelled."""
        job = self.backlog.popleft()
        if job.phase is Phase.QUEUED:
            return job
        self.cancelled -= 1
        return None

    def cancel(self, job: Job) -> None:
        """Makes sure that a queued job never starts."""
        job.phase = Phase.ENDED
        self.cancelled += 1
        if self.cancelled * 2 > len(self.backlog):
            self.backlog = deque(job for job in self.backlog if job.phase is Phase.QUEUED)
            self.cancelled = 0
