import gc
import sqlite3
import threading
from collections.abc import Iterator

import pytest

# The suite isn't a test module, but its assertions should explain themselves as if it were.
pytest.register_assert_rewrite("perdure.testing.store_checks")


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    yield
    gc.collect()
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("perdure-")]
    assert threads == []
    assert [found for found in gc.get_objects() if isinstance(found, sqlite3.Connection) and _is_open(found)] == []


def _is_open(connection: sqlite3.Connection) -> bool:
    try:
        connection.total_changes  # noqa: B018 - raises where the connection is closed
    except sqlite3.ProgrammingError as error:
        return "closed" not in str(error)
    return True
