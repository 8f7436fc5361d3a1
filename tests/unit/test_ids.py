"""Identifiers: the same from the same parts, for ever."""

from uuid import NAMESPACE_OID, NAMESPACE_URL, UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.ids import (
    MAX_INSTANCE_ID_LENGTH,
    InvalidInstanceIdError,
    check_instance_id,
    child_execution_id,
    child_instance_id,
    deterministic_guid,
    deterministic_uuid,
    jitter_fraction,
    partition_of,
)


@pytest.mark.parametrize("good", ["a", "x" * 256, "with space", "a@b", "ünï:cödé-1_2.3", "0", "日本語", "a%2Fb"])
def test_ids_that_may_be_used(good: str):
    check_instance_id(good)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("", "it is empty"),
        ("x" * 257, "it has 257 characters; the limit is 256"),
        ("@counter@a", "it starts with '@', which marks entities"),
        ("a/b", "it has '/' at position 1"),
        ("a\\b", "it has '\\\\' at position 1"),
        ("ab#", "it has '#' at position 2"),
        ("?a", "it has '?' at position 0"),
        ("a\n", "it has '\\n' at position 1"),
        ("a\x7f", "it has '\\x7f' at position 1"),
        ("a\x9f", "it has '\\x9f' at position 1"),
        ("a\ud800", "it has '\\ud800' at position 1"),
    ],
)
def test_ids_that_may_not_be_used_and_why(bad: str, problem: str):
    with pytest.raises(InvalidInstanceIdError) as caught:
        check_instance_id(bad)
    assert problem in caught.value.message
    assert "Choose another id" in caught.value.message


@given(st.text(max_size=300))
def test_an_id_that_passes_can_be_stored_and_has_a_partition(text: str):
    try:
        check_instance_id(text)
    except InvalidInstanceIdError:
        return
    assert 0 <= partition_of(text, 16) < 16
    assert not set(text) & set("/\\#?\n\r\t\0")


def test_partitions_never_move():
    """Written down once: another function would lose every stored instance."""
    assert [partition_of(text, 16) for text in ("a", "order-1", "日本語", "i:0:0001")] == [3, 15, 5, 7]


def test_child_ids_are_readable_while_they_fit():
    assert child_instance_id("order", 0, 0) == "order:0:0000"
    assert child_instance_id("order", 26, 70_000) == "order:1a:11170"
    longest = "x" * (MAX_INSTANCE_ID_LENGTH - 7)
    assert len(child_instance_id(longest, 0, 1)) == 256
    assert len(child_instance_id(longest + "x", 0, 1)) == 32


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(["p", "p" * 256]))
def test_child_ids_of_any_depth_may_be_used(generation: int, task_id: int, parent: str):
    child = child_instance_id(child_instance_id(parent, generation, task_id), generation, task_id)
    check_instance_id(child)


def test_child_executions_differ_by_parent_generation_and_task():
    made = {child_execution_id(parent, generation, task) for parent in ("a", "b") for generation in (0, 1) for task in (0, 1)}
    assert len(made) == 8
    assert {len(one) for one in made} == {32}
    assert child_execution_id("a", 0, 0) == "f9d05387cecf513d9cd460165f9b3081"


def test_unique_ids_have_the_formula_of_azure_functions_durable():
    """Written out here as in its 1.7: instances that are moved over go on with the ids they had."""
    namespace = uuid5(NAMESPACE_OID, "9e952958-5e33-4daf-827f-2fa12937b875")
    name = "i_2030-01-01T00:00:00.000000Z_0"
    assert deterministic_uuid("i", "2030-01-01T00:00:00.000000Z", 0) == str(uuid5(namespace, name))
    assert deterministic_uuid("i", "2030-01-01T00:00:00.000000Z", 0) == "ad054ec4-5f05-5b05-9055-32a91a1f3826"
    guid = deterministic_guid("i", "2030-01-01 00:00:00+00:00", 1)
    assert isinstance(guid, UUID)
    assert guid == uuid5(NAMESPACE_URL, "i_2030-01-01 00:00:00+00:00_1")


@given(st.text())
def test_jitter_is_a_fraction_of_its_seed(seed: str):
    assert 0 <= jitter_fraction(seed) < 1
    assert jitter_fraction(seed) == jitter_fraction(seed)


def test_jitter_spreads():
    tenths = {int(jitter_fraction(f"execution:{number}") * 10) for number in range(200)}
    assert tenths == set(range(10))
