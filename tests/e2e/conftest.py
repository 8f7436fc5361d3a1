"""Every scenario runs on every store, with hot and with evicted sessions, as a generator and as a coroutine."""

from pathlib import Path

import pytest

from tests.e2e.lab import ALL_KINDS, Kind, Lab


@pytest.fixture(params=ALL_KINDS, ids=str)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    """One cell of the matrix."""
    kind: Kind = request.param
    url: str = request.getfixturevalue("postgres_url") if kind.store == "postgres" else ""
    return Lab(kind, tmp_path, url)
