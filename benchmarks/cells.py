"""Rows of Markdown tables."""

from collections.abc import Iterable

from benchmarks.budgets import Budget, Line


def kept(budgets: Iterable[Budget], lines: list[Line]) -> list[str]:
    """Budgets against the measured figures; nothing where none was measured."""
    rows: list[str] = []
    for budget in budgets:
        line = next((line for line in lines if _is_of(line, budget)), None)
        if line is not None:
            figure = budget.figure(line)
            measured = f"{number(figure)} {budget.unit}".strip()
            rows.append(row(budget.what, budget.promised, measured, "yes" if budget.kept(figure) else "**no**"))
    return [row("what", "budget", "measured", "kept"), row("---", "---", "---:", "---"), *rows] if rows else []


def transposed(lines: list[Line], figures: dict[str, str], parameter: str, title: str) -> list[str]:
    """One column for each line, one row for each figure."""
    if not lines:
        return []
    rows = [row(title, *(str(line["parameters"][parameter]) for line in lines)), row("---", *["---:"] * len(lines))]
    return rows + [row(name, *(number(line[key]) for line in lines)) for key, name in figures.items()]


def number(value: float) -> str:
    """Three digits that count, and no exponent for what is large."""
    if value == 0 or abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def row(*cells: object) -> str:
    """One row."""
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _is_of(line: Line, budget: Budget) -> bool:
    if line.get("workload") != budget.workload or line.get("variant") != "perdure":
        return False
    return all(line["parameters"].get(name) == value for name, value in budget.parameters.items())
