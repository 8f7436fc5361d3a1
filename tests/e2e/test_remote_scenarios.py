"""The scenarios of code in this process, with code in another one: what a user sees must not differ."""

import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.e2e import test_entities, test_rewind, test_scenarios
from tests.e2e.lab import Kind, Lab

ALL = frozenset({"orchestrators", "activities", "entities"})
KINDS = [Kind(store, cold, elsewhere=ALL) for store in ("memory", "sqlite") for cold in (False, True)]
KINDS += [Kind("memory", cold, elsewhere=frozenset({kind})) for kind in sorted(ALL) for cold in (False, True)]
NOT_THE_SAME = {
    "test_version_tags_custom_status_and_unique_ids": "looks at the custom status before a worker can have set it",
    "test_a_log_record_appears_once_however_often_the_code_is_replayed": "logging is the SDK's",
    "test_lists_have_pages_and_filters_and_orchestration_lists_show_no_entities": "reads before a worker can have written",
    "test_what_is_for_orchestrations_is_refused_for_entities": "likewise",
    "test_a_deleted_entity_is_gone_and_can_begin_anew": "likewise",
    "test_a_passive_hub_records_signals_and_an_active_one_applies_them": "likewise",
}


def _scenarios(*modules: ModuleType) -> list[Callable[[Lab], None]]:
    found: list[Callable[[Lab], None]] = []
    for module in modules:
        for name, test in vars(module).items():
            if name.startswith("test_") and inspect.isfunction(test) and name not in NOT_THE_SAME:
                wrapped = inspect.unwrap(test)
                if list(inspect.signature(wrapped).parameters) == ["lab"]:
                    found.append(test)
    return found


@pytest.fixture(params=KINDS, ids=str)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    """One cell of the matrix."""
    kind: Kind = request.param
    return Lab(kind, tmp_path)


@pytest.mark.parametrize("scenario", _scenarios(test_scenarios, test_entities, test_rewind), ids=lambda test: test.__name__)
def test_it_comes_out_the_same(lab: Lab, scenario: Callable[[Lab], None]):
    scenario(lab)
