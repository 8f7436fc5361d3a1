from pathlib import Path

import pytest

from perdure.store.errors import StoreUrlError
from perdure.store.memory import MemoryStore
from perdure.store.opening import open_store
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


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hub",
        "hub.sqlite",
        "mysql://host/db",
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
