"""The pages that come from the source say what the source says."""

from collections import Counter
from dataclasses import MISSING, fields
from importlib import import_module
from pkgutil import walk_packages

import pytest

import perdure
from docs import _generate
from perdure.core.entity_lock import FATES
from perdure.core.events import AnyEvent
from perdure.core.status import TRANSITIONS
from tests.docs import pages


@pytest.mark.parametrize("page", _generate.pages(), ids=pages.name_of)
def test_a_generated_page_is_current(page) -> None:
    assert page.read_text(encoding="utf-8") == _generate.pages()[page], "run: python docs/_generate.py"


def test_the_api_page_has_every_public_name() -> None:
    grouped = [name for names in _generate.GROUPS.values() for name in names]
    errors = [name for name in perdure.__all__ if name in _generate.error_classes()]
    assert sorted(grouped + errors) == sorted(perdure.__all__)
    text = (pages.DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    assert [name for name in perdure.__all__ if f"`{name}`" not in text] == []


def test_the_settings_page_has_every_setting_with_its_meaning() -> None:
    text = (pages.DOCS / "reference" / "settings.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    settings = fields(perdure.EngineSettings)
    assert [row[0] for row in rows] == [f"| `{setting.name}`" for setting in settings]
    assert all(setting.default is not MISSING for setting in settings)
    assert [row[0] for row in rows if not row[3].strip(" |")] == []


def _imported_errors() -> list[type[perdure.PerdureError]]:
    for module in walk_packages(perdure.__path__, "perdure."):
        import_module(module.name)
    found: list[type[perdure.PerdureError]] = [perdure.PerdureError]
    for error in found:
        found.extend(error.__subclasses__())
    return [error for error in dict.fromkeys(found) if error.__module__.startswith("perdure.")]


def test_the_errors_page_has_every_error_with_its_code() -> None:
    text = (pages.DOCS / "reference" / "errors.md").read_text(encoding="utf-8")
    missing = [error.__name__ for error in _imported_errors() if not _row_of(text, error)]
    assert missing == []


def _row_of(text: str, error: type[perdure.PerdureError]) -> str:
    rows = (line for line in text.splitlines() if line.startswith(f"| `{error.code}` |"))
    return next((row for row in rows if f"{error.__name__}`" in row.split(" | ")[1]), "")


def test_every_error_has_a_code_of_its_own() -> None:
    codes = {name: _generate.error_code(node) for name, (_, node) in _generate.error_classes().items()}
    assert [name for name, code in codes.items() if not code.startswith("PD") or not code[2:].isdigit()] == []
    assert [code for code, number in Counter(codes.values()).items() if number > 1] == []


def test_every_event_has_its_section() -> None:
    text = (pages.DOCS / "reference" / "history-events.md").read_text(encoding="utf-8")
    assert [event.__name__ for event in AnyEvent.__args__ if f"### `{event.__name__}`" not in text] == []


def test_the_status_page_is_the_tables() -> None:
    text = (pages.DOCS / "reference" / "status.md").read_text(encoding="utf-8")
    instances, entities = (_table(part) for part in text.split("## Entities"))
    assert instances == {(str(old or "(none)"), str(cause)): new for (old, cause), new in TRANSITIONS.items()}
    assert entities == {(str(holder), str(asks)): fate for (holder, asks), fate in FATES.items()}


def _table(text: str) -> dict[tuple[str, str], str]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {(row[0], column): cell for row in rows[2:] for column, cell in zip(rows[0][1:], row[1:], strict=True) if cell}
