"""Engines that don't talk to each other come to equal shares of the partitions."""

from collections import Counter
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from perdure.engine.balance import Move, balance

NAMES = [f"engine{number}" for number in range(6)]
hubs = st.integers(1, 20).flatmap(
    lambda partitions: st.tuples(
        st.sets(st.sampled_from(NAMES), min_size=1).map(sorted),
        st.lists(st.sampled_from(["", *NAMES]), min_size=partitions, max_size=partitions),
    )
)


def apply(owners: list[str], me: str, move: Move) -> None:
    """As a store would: what is taken already is not given a second time."""
    for partition in move.give:
        assert owners[partition] == me
        owners[partition] = ""
    for partition in move.take:
        if not owners[partition]:
            owners[partition] = me


def wants(me: str, members: list[str], owners: list[str]) -> bool:
    move = balance(me, members, owners)
    return bool(move.take or move.give)


def at_rest(owners: list[str], members: list[str]) -> bool:
    return not any(wants(me, members, owners) for me in members)


def settle(owners: list[str], members: list[str], *, at_once: bool) -> int:
    """Moves until nobody wants to move any more; gives the number of rounds."""
    for rounds in range(50):
        if at_rest(owners, members):
            return rounds
        seen = list(owners)
        for me in members:
            apply(owners, me, balance(me, members, seen if at_once else owners))
    raise AssertionError(f"no end: {owners}")


@given(hubs, st.booleans())
def test_shares_come_to_be_equal_in_a_few_rounds(hub: tuple[list[str], list[str]], at_once: bool) -> None:
    members, owners = hub
    owners = [owner if owner in members else "" for owner in owners]
    assert settle(owners, members, at_once=at_once) <= 2 * len(members) + 2
    held = Counter(owners)
    assert "" not in held
    assert max(held[me] for me in members) - min(held[me] for me in members) <= 1


@given(hubs)
def test_what_an_engine_holds_that_leaves_is_left_to_it(hub: tuple[list[str], list[str]]) -> None:
    members, owners = hub
    leaving = {place: owner for place, owner in enumerate(owners) if owner and owner not in members}
    settle(owners, members, at_once=True)
    assert {place: owners[place] for place in leaving} == leaving
    assert "" not in owners


@given(hubs)
def test_no_more_is_given_than_equal_shares_need(hub: tuple[list[str], list[str]]) -> None:
    members, owners = hub
    owners = [owner if owner in members else members[0] for owner in owners]
    held = Counter(owners)
    share, odd = divmod(len(owners), len(members))
    least = min(sum(max(0, held[me] - share - (me in lucky)) for me in members) for lucky in combinations(members, odd))
    assert sum(len(balance(me, members, owners).give) for me in members) == least


@given(hubs)
def test_nobody_reaches_for_what_isnt_free(hub: tuple[list[str], list[str]]) -> None:
    members, owners = hub
    for me in members:
        move = balance(me, members, owners)
        assert all(owners[partition] == "" for partition in move.take)
        assert all(owners[partition] == me for partition in move.give)
        assert not (move.take and move.give)


def test_engines_that_look_at_the_same_moment_begin_at_different_partitions() -> None:
    moves = [balance(me, ["a", "b", "c"], [""] * 9) for me in "abc"]
    assert [list(move.take) for move in moves] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_where_engines_are_more_than_partitions_the_owner_keeps_its_own() -> None:
    assert not wants("b", ["a", "b"], ["b"])
    assert not wants("a", ["a", "b"], ["b"])
    assert balance("a", ["a", "b"], [""]).take == [0]
    assert not wants("b", ["a", "b"], [""])
