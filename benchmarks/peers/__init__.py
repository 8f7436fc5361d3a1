"""Other engines, run on the same workloads in the same run. None is a dependency: install what you want to compare with."""

from types import ModuleType


def peer(name: str) -> ModuleType:
    """The module with ``run(workload, parameters)``.

    Raises:
        ImportError: that engine isn't installed here.
    """
    if name == "durabletask":
        from benchmarks.peers import durabletask_memory

        return durabletask_memory
    raise ImportError(f"there is no peer {name!r}; known: durabletask")


WORKLOADS = ("chain", "starts", "fan_out")
"""What peers run."""
