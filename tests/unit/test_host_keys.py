"""Keys: made once, for their owner alone, and compared as they should be."""

import json
import stat
from pathlib import Path

import pytest

from perdure.host.keys import HostKeys, KeysFileError, load_or_create_keys


def test_the_first_start_makes_keys_that_only_the_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys.json"
    keys = load_or_create_keys(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(json.loads(path.read_text())) == {"masterKey", "functionKeys", "systemKeys"}
    values = [keys.master_key, keys.function_keys["default"], keys.durable_task_key]
    assert len(set(values)) == 3
    assert all(len(value) >= 40 for value in values)
    assert [file.name for file in path.parent.iterdir()] == ["keys.json"]
    assert load_or_create_keys(path) == keys


def test_a_host_that_starts_at_the_same_time_gets_the_same_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.json"
    first = load_or_create_keys(path)
    monkeypatch.setattr(Path, "exists", lambda self: False)  # as it was when the other looked
    assert load_or_create_keys(path) == first
    assert [file.name for file in tmp_path.iterdir()] == ["keys.json"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_file_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys.json"
    load_or_create_keys(path)
    path.chmod(mode)
    with pytest.raises(KeysFileError, match=f"chmod 600 {path}"):
        load_or_create_keys(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "malformed"),
        ("{", "malformed"),
        ("[]", "malformed"),
        ('{"masterKey": "m", "functionKeys": {}}', "systemKeys"),
        ('{"masterKey": 1, "functionKeys": {}, "systemKeys": {}}', "masterKey"),
        ('{"masterKey": "m", "functionKeys": {}, "systemKeys": {"durabletask": "d"}, "more": 1}', "more"),
        ('{"masterKey": "m", "functionKeys": {}, "systemKeys": {}}', "durabletask"),
        ('{"masterKey": "", "functionKeys": {}, "systemKeys": {"durabletask": "d"}}', "empty"),
        ('{"masterKey": "m", "functionKeys": {"default": ""}, "systemKeys": {"durabletask": "d"}}', "empty"),
        ('{"masterKey": "m", "functionKeys": {}, "systemKeys": {"durabletask": ""}}', "empty"),
    ],
)
def test_a_damaged_file_is_refused_and_kept(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(KeysFileError, match=told):
        load_or_create_keys(path)
    assert path.read_text() == text


def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeysFileError, match="can't be used"):
        load_or_create_keys(tmp_path / "file" / "keys.json")


KEYS = HostKeys(master_key="m", function_keys={"default": "f", "other": "ö"}, system_keys={"durabletask": "d", "x": "x"})


@pytest.mark.parametrize(
    ("level", "opening"),
    [("anonymous", {None, "", "m", "f", "ö", "d", "x", "\udcff"}), ("function", {"m", "f", "ö"}), ("admin", {"m"})],
)
def test_who_may_call_which_route(level, opening: set[str | None]) -> None:
    assert {key for key in (None, "", "m", "f", "ö", "d", "x", "\udcff") if KEYS.opens_route(level, key)} == opening


def test_who_may_use_the_management_api() -> None:
    assert {key for key in (None, "", "m", "f", "ö", "d", "x", "\udcff") if KEYS.opens_management(key)} == {"m", "d"}
