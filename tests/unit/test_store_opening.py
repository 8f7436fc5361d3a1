import sys
from pathlib import Path

import pytest

from perdure.store.errors import StoreUrlError
from perdure.store.memory import MemoryStore
from perdure.store.opening import open_store
from perdure.store.postgres import PostgresStore
from perdure.store.sqlite import SqliteStore


def test_memory() -> None:
    assert isinstance(open_store("memory://"), MemoryStore)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///hub.db", "hub.db"),
        ("sqlite:///folder/my%20hub.db", "folder/my hub.db"),
        ("SQLITE:///hub.db", "hub.db"),
        ("hub.db", "hub.db"),
        ("./some folder/hub.db", "some folder/hub.db"),
    ],
)
async def test_sqlite_paths_are_relative_to_the_working_directory(
    url: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / path).parent.mkdir(exist_ok=True)
    store = open_store(url)
    assert isinstance(store, SqliteStore)
    # Where the file goes is settled now, not when the working directory has changed.
    monkeypatch.chdir("/")
    await store.open()
    await store.close()
    assert (tmp_path / path).is_file()


async def test_a_fourth_slash_makes_the_path_absolute(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/hub.db")
    await store.open()
    await store.close()
    assert (tmp_path / "hub.db").is_file()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "POSTGRESQL"])
def test_postgresql(scheme: str) -> None:
    assert isinstance(open_store(f"{scheme}://me:secret@db.example.org/app?schema=hub"), PostgresStore)


def test_without_the_driver_of_postgresql_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "perdure.store.postgres", None)
    with pytest.raises(StoreUrlError, match=r"pip install 'perdure\[postgres\]'") as caught:
        open_store("postgresql://me:secret@db.example.org/app")
    assert "secret" not in str(caught.value)


def test_of_a_url_with_an_unknown_scheme_only_the_scheme_is_shown() -> None:
    with pytest.raises(StoreUrlError, match=r"unknown scheme 'mysql'\. Use .*sqlite:///relative/path\.db") as caught:
        open_store("mysql://me:secret@host/db")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hub",
        "hub.sqlite",
        "sqlite://",
        "sqlite://hub.db",
        "sqlite:///",
        "sqlite:///a.db?mode=ro",
        "memory://x",
    ],
)
def test_anything_else_is_refused_with_the_forms_that_work(url: str) -> None:
    with pytest.raises(StoreUrlError, match=r"sqlite:///relative/path\.db") as caught:
        open_store(url)
    assert f"'{url}'" in str(caught.value)
