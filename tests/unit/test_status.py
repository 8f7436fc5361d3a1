"""The status table, exhaustively."""

import itertools

import pytest

from perdure.core.errors import EngineInvariantError
from perdure.core.status import TERMINAL_STATUSES, TRANSITIONS, Cause, OrchestrationRuntimeStatus, next_status

STATUSES = [None, *OrchestrationRuntimeStatus]
# Written out a second time, so that an edit of the table needs two.
ALLOWED = """
none      created    Pending
Pending   begun      Running
Pending   suspended  Suspended
Pending   terminated Terminated
Pending   failed     Failed
Running   suspended  Suspended
Running   completed  Completed
Running   failed     Failed
Running   terminated Terminated
Suspended resumed    Pending
Suspended completed  Completed
Suspended failed     Failed
Suspended terminated Terminated
"""
EXPECTED = {(before, cause): after for before, cause, after in (line.split() for line in ALLOWED.strip().splitlines())}


@pytest.mark.parametrize(("status", "cause"), list(itertools.product(STATUSES, Cause)))
def test_every_pair_of_status_and_cause(status: OrchestrationRuntimeStatus | None, cause: Cause):
    after = EXPECTED.get((str(status or "none"), str(cause)))
    if after is None:
        with pytest.raises(EngineInvariantError, match=f"an instance in status {status} can't be {cause}"):
            next_status(status, cause)
    else:
        assert next_status(status, cause) is OrchestrationRuntimeStatus(after)


def test_the_table_has_nothing_but_that():
    assert len(TRANSITIONS) == len(EXPECTED)


def test_nothing_leaves_a_terminal_status_and_everything_else_leads_to_one():
    assert {status for status, _ in TRANSITIONS} & TERMINAL_STATUSES == set()
    shown = set(TRANSITIONS.values()) - TERMINAL_STATUSES
    for status in shown:
        assert TRANSITIONS[status, Cause.TERMINATED] in TERMINAL_STATUSES
        assert TRANSITIONS[status, Cause.FAILED] in TERMINAL_STATUSES


def test_statuses_of_clients_that_never_show():
    assert not {OrchestrationRuntimeStatus.Canceled, OrchestrationRuntimeStatus.ContinuedAsNew} & set(TRANSITIONS.values())
