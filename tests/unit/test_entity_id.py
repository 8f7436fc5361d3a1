"""Entity ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import perdure as df
from perdure.core.entity_id import EntityId, entity_id, is_entity
from perdure.core.ids import check_instance_id

_NAMES = st.text(st.characters(blacklist_categories=("Cc", "Cs"), blacklist_characters="@"), min_size=1, max_size=20)
_KEYS = st.text(st.characters(blacklist_categories=("Cc", "Cs")), max_size=20)


@given(_NAMES, _KEYS)
def test_the_text_of_an_id_is_the_id(name: str, key: str) -> None:
    made = EntityId(name, key)
    assert EntityId.parse(str(made)) == made
    assert is_entity(str(made))
    with pytest.raises(df.InvalidInstanceIdError):
        check_instance_id(str(made))


def test_the_case_of_names_does_not_matter_and_that_of_keys_does() -> None:
    assert EntityId("Counter", "A") == EntityId("counter", "A")
    assert EntityId("counter", "A") != EntityId("counter", "a")
    assert str(EntityId("Counter", "A")) == "@counter@A"
    assert len({EntityId("X", "1"), EntityId("x", "1")}) == 1


@pytest.mark.parametrize(
    ("name", "key", "problem"),
    [("", "k", "empty"), ("a@b", "k", "contains '@'"), ("n", "k" * 300, "303 characters"), ("n", "a\x00", "control characters")],
)
def test_what_cannot_be_an_id(name: str, key: str, problem: str) -> None:
    with pytest.raises(df.InvalidEntityIdError, match=problem):
        EntityId(name, key)


@pytest.mark.parametrize("text", ["", "@", "counter", "counter@a", "@counter", "@@a"])
def test_text_that_is_no_id(text: str) -> None:
    with pytest.raises(df.InvalidEntityIdError):
        EntityId.parse(text)


def test_a_key_may_be_empty_or_contain_anything_that_is_text() -> None:
    assert EntityId.parse("@counter@") == EntityId("counter", "")
    assert EntityId.parse("@counter@a@b/c#ü").key == "a@b/c#ü"


def test_ids_of_other_sdks_are_understood() -> None:
    class Azure:
        name, key = "Counter", "a"

    class DurableTask:
        entity, key = "counter", "a"

    assert entity_id(Azure()) == entity_id(DurableTask()) == entity_id("@counter@a") == EntityId("counter", "a")
    with pytest.raises(df.InvalidEntityIdError, match="isn't an entity id"):
        entity_id(3)
