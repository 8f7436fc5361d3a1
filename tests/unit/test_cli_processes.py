"""What of ``perdure start --processes`` and of store URLs can be told without a process."""

import pytest

from perdure.cli.processes import Pauses
from perdure.cli.store_urls import same_store, without_password


def test_a_process_that_dies_early_again_and_again_is_started_less_and_less_often() -> None:
    pauses = Pauses()
    assert [pauses.after(3) for _ in range(8)] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert pauses.after(60) == 1
    assert pauses.after(59) == 2


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://user@host:5432/db?schema=s", "postgresql://user@host:5432/db?schema=s"),
        ("postgresql://user:s3cret@host:5432/db?schema=s", "postgresql://user:***@host:5432/db?schema=s"),
        ("postgresql://:s3cret@host/db", "postgresql://:***@host/db"),
        ("postgresql://user:s3/c?:r@t@host/db", "postgresql://user:***@host/db"),
        ("postgresql://host/db?user=u&password=s3cret&schema=s", "postgresql://host/db?user=u&password=***&schema=s"),
        ("postgresql://u:s3cret@host/db?password=s3cret", "postgresql://u:***@host/db?password=***"),
    ],
)
def test_urls_are_shown_without_their_passwords(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a.db", "sqlite:///a.db", True),
        ("sqlite:///x/../a.db", "a.db", True),
        ("a.db", "b.db", False),
        ("a.db", "postgresql://h/a.db", False),
        ("postgresql://h/a", "postgresql://h/a", True),
        ("postgresql://h/a?schema=a", "postgresql://h/a?schema=b", False),
    ],
)
def test_two_urls_of_one_store_are_found_out(one: str, other: str, same: bool) -> None:
    assert same_store(one, other) is same
