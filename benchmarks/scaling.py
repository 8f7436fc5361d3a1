"""What measured costs mean for loads that weren't measured: a straight line, for looking where it ends."""

from dataclasses import dataclass

from benchmarks.budgets import Line


@dataclass(frozen=True, slots=True)
class Split:
    """A cost as a part for each commit, whatever is in it, and a part for each step."""

    per_commit: float
    per_step: float

    @classmethod
    def of(cls, alone: Line, together: Line, figure: str) -> "Split":
        """From two lines of the same work: one with a commit for each step, and one where many steps share a commit."""
        commits = alone["commits_per_unit"], together["commits_per_unit"]
        per_commit = (alone[figure] - together[figure]) / (commits[0] - commits[1])
        return cls(per_commit, together[figure] - per_commit * commits[1])

    def at(self, commits_per_step: float) -> float:
        """The cost of a step."""
        return self.per_step + self.per_commit * commits_per_step


@dataclass(frozen=True, slots=True)
class Model:
    """Costs of chained activities, per step."""

    alone: Line
    """One chain: each step is a commit."""
    together: Line
    """As many chains as keep an engine busy."""
    shared: Line
    """All activities through the shared queue."""

    @classmethod
    def of(cls, lines: list[Line]) -> "Model | None":
        """From the results, if all that it needs is among them."""
        found = (
            _find(lines, "postgres", scenario="chain", instances=1),
            _find(lines, "postgres", scenario="chain", instances=200),
            _find(lines, "engines", load="shared"),
        )
        alone, together, shared = found
        return cls(alone, together, shared) if alone and together and shared else None

    def split(self, figure: str) -> Split:
        """A cost in its two parts."""
        return Split.of(self.alone, self.together, figure)

    def server_cores(self, rate: float, commits_per_step: float) -> float:
        """At so many steps per second."""
        return rate * self.split("server_cpu_us_per_unit").at(commits_per_step) / 1e6


def _find(lines: list[Line], workload: str, **parameters: object) -> Line | None:
    def fits(line: Line) -> bool:
        asked = line["parameters"]
        return line["variant"] == "perdure" and all(asked.get(name) == value for name, value in parameters.items())

    return next((line for line in lines if line.get("workload") == workload and fits(line)), None)
