"""What autoscalers are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.engine.load import Load
from perdure.store.contract import Backlog, Member

NOW = 1_800_000_000_000_000


def _load(**changes: int) -> Load:
    known = {
        "messages": 0,
        "activities": 0,
        "oldest_age_us": 0,
        "running": 0,
        "capacity": 20,
        "processes": 2,
        "most_processes": 16,
    }
    return Load(**(known | changes))


@pytest.mark.parametrize(
    ("load", "processes"),
    [
        (_load(), 1),
        (_load(running=10), 1),
        (_load(running=11), 2),
        (_load(running=20), 2),
        (_load(running=20, activities=1), 3),
        (_load(running=20, messages=10), 3),
        (_load(running=5, activities=3, messages=3), 2),
        (_load(activities=1_000_000), 16),
        (_load(activities=1_000_000, most_processes=1), 1),
        # The first look at a hub whose processes have all gone.
        (_load(activities=500, processes=0, capacity=0), 1),
        # Processes that run no activities have no places to count with.
        (_load(activities=500, processes=3, capacity=0), 1),
        (_load(activities=31, processes=3, capacity=30), 4),
    ],
)
def test_so_many_that_everything_has_a_place(load: Load, processes: int) -> None:
    assert load.recommended_processes == processes


counts = st.integers(0, 10**15)


@given(counts, counts, counts, st.integers(1, 10**9), st.integers(1, 1000), st.integers(1, 1000))
def test_the_recommendation_is_the_least_that_fits_within_its_bounds(
    messages: int, activities: int, running: int, capacity: int, processes: int, most: int
) -> None:
    load = _load(
        messages=messages, activities=activities, running=running, capacity=capacity, processes=processes, most_processes=most
    )
    wanted = load.recommended_processes
    work = messages + activities + running
    assert 1 <= wanted <= most
    assert wanted == most or wanted * capacity >= work * processes
    assert wanted == 1 or (wanted - 1) * capacity < work * processes


def _member(owner: str, *, runs: bool = True, owns: bool = True) -> Member:
    return Member(owner=owner, owns_partitions=owns, runs_activities=runs, running=3, capacity=8)


def test_only_processes_that_run_activities_count() -> None:
    members = [_member("a"), _member("b", owns=False), _member("c", runs=False), _member("d", runs=False, owns=False)]
    backlog = Backlog(messages=4, oldest_message=NOW - 7, activities=5, oldest_activity=NOW - 9, members=members)
    load = Load.of(backlog, NOW, 16)
    assert load == _load(messages=4, activities=5, oldest_age_us=9, running=6, capacity=16, processes=2)


@pytest.mark.parametrize(
    ("message", "activity", "age"), [(None, None, 0), (NOW - 5, None, 5), (None, NOW - 6, 6), (NOW + 3, None, 0)]
)
def test_the_age_is_that_of_whatever_waits_longest(message: int | None, activity: int | None, age: int) -> None:
    backlog = Backlog(messages=1, oldest_message=message, activities=1, oldest_activity=activity, members=())
    assert Load.of(backlog, NOW, 16).oldest_age_us == age
